"""Kubeflow Pipelines on the one-node cluster, with the pipelines of this tree uploaded; brought up once a session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.datasets import banking77
from components.datasets.generator import generate
from components.datasets.intents import BASE_INTENTS
from components.datasets.readers import GENERATED_MAPPING
from components.datasets.rows import write_csv
from tests.cluster.kfp.backend import Backend, start, stop
from tests.cluster.kfp.command import Command
from tests.cluster.kfp.first import First, fine_tune
from tests.cluster.kfp.platform import Platform, install, remove
from tests.cluster.kfp.runs import Data
from tests.cluster.kfp.served import serve
from tests.cluster.node import CannotRun, Node

_INTENTS = 6
_ROWS_PER_INTENT = 60


@pytest.fixture(scope="session")
def backend(node: Node) -> Iterator[Backend]:
    """Taken down again where this session brought it up."""
    try:
        found, was_up = start(node)
    except CannotRun as why:
        pytest.skip(f"no Kubeflow Pipelines: {why}")
    yield found
    if not was_up:
        stop()


@pytest.fixture(scope="session")
def platform(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """tidegate's configuration, secrets, accounts, volumes and MLflow, in the namespace of the runs."""
    made = install(backend, tmp_path_factory.mktemp("shared"))
    yield made
    remove(backend, made)


@pytest.fixture(scope="session")
def tidegate(platform: Platform) -> Command:
    """The command, told of this cluster; the pipelines are uploaded."""
    command = Command(platform)
    command.ok("pipelines", "upload", "--site", str(platform.site))
    return command


@pytest.fixture(scope="session")
def data(platform: Platform) -> Data:
    """Messages where the pods see them: of Banking77, or generated ones where it is not at hand."""
    folder = platform.data / "input"
    folder.mkdir(exist_ok=True)
    if source := os.environ.get(banking77.FOLDER_VARIABLE):
        for name in ("train.csv", "test.csv"):
            shutil.copy(Path(source) / name, folder / name)
        intents = list(banking77.BASE_INTENTS[:_INTENTS])
        return Data(
            uri=str(folder),
            parameters={"data_format": "banking77", "intents": intents, "per_label_cap": _ROWS_PER_INTENT},
        )
    rows = generate(7, _INTENTS * _ROWS_PER_INTENT, intents=BASE_INTENTS[:_INTENTS], customers=500)
    write_csv(rows, folder / "messages.csv")
    return Data(uri=str(folder / "messages.csv"), parameters={"column_mapping": GENERATED_MAPPING.model_dump()})


@pytest.fixture(scope="session")
def first(backend: Backend, tidegate: Command, data: Data, tmp_path_factory: pytest.TempPathFactory) -> First:
    """A fine-tuning whose step is killed in the middle of the training."""
    return fine_tune(backend, tidegate, data, tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="session")
def serving(backend: Backend, platform: Platform, first: First) -> None:
    """The first version serves, and was asked things that it never learned."""
    serve(backend, platform, first.model, first.version)
