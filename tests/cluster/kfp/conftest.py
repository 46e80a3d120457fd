"""Kubeflow Pipelines on the one-node cluster, with the pipelines of this tree uploaded; brought up once a session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.datasets import banking77
from components.datasets.generator import generate
from components.datasets.intents import BASE_INTENTS
from components.datasets.readers import GENERATED_MAPPING
from components.datasets.rows import write_csv
from tests.cluster.kfp.backend import Backend, start, stop
from tests.cluster.kfp.command import Command
from tests.cluster.kfp.first import First, fine_tune
from tests.cluster.kfp.jobs import Make, compute_of
from tests.cluster.kfp.platform import Platform, install, remove
from tests.cluster.kfp.runs import Data
from tests.cluster.kfp.served import serve
from tests.cluster.node import CannotRun, Node
from tests.cluster.services import Services, services_or_skip, told
from tidegate.adapters.rayjob_compute import RayJobCompute
from tidegate.domain.node_pools import NodePool

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
def stands_on(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """One set of servers for all of these tests."""
    with services_or_skip(tmp_path_factory.mktemp("services")) as made:
        yield made


@pytest.fixture(scope="session")
def platform(backend: Backend, stands_on: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A release, and what it needs in the namespace of the runs."""
    made = install(backend, stands_on, tmp_path_factory.mktemp("platform"))
    yield made
    remove(backend, made)


@pytest.fixture
def environment(platform: Platform) -> Iterator[None]:
    """This process is told what commands are."""
    with told(platform.environment):
        yield


@pytest.fixture(scope="session")
def tidegate(platform: Platform) -> Command:
    """The command, told of this cluster; the pipelines are uploaded."""
    command = Command(platform)
    command.ok("pipelines", "upload", "--site", str(platform.site))
    return command


@pytest.fixture
def compute(backend: Backend, platform: Platform, environment: None, tmp_path: Path) -> Make:
    """What a step follows its jobs with; keywords are the site file's `training`, without pools nothing else is."""

    def make(pools: Mapping[str, NodePool] | None = None, **training: Any) -> RayJobCompute:
        site = yaml.safe_load(platform.site.read_text()) if pools else {}
        file = tmp_path / "site.yaml"
        file.write_text(yaml.safe_dump(site | {"training": {**site.get("training", {}), **training}}))
        return compute_of(backend, file, pools or {})

    return make


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
    with told(platform.environment):
        serve(backend, platform, first.model, first.version)
