"""GPUs that Ray counts and torch does not see, as with a wrong image or driver: no training falls to the CPUs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.integration.engines.platform import ray_head
from tests.integration.train.conftest import BASE, write_data
from tidegate.adapters.ray_compute import RayCompute
from tidegate.adapters.ray_connection import disconnect
from tidegate.errors import InvalidInput
from tidegate.ports import JobSpec

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU"),
]


@pytest.fixture(scope="module")
def compute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCompute]:
    with ray_head(tmp_path_factory.mktemp("home"), gpus=2) as settings:
        yield RayCompute(settings)
        disconnect()


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        (1, r"2 GPU\(s\) are reserved for this training, and torch sees 0"),
        (2, r"1 GPU\(s\) are reserved for this training worker, and torch sees 0"),
        (3, r"workers = 3, and 2 GPU\(s\) are reserved"),
    ],
)
def test_a_training_that_cannot_use_its_gpus_says_so_and_trains_nothing(
    workers: int, said: str, compute: RayCompute, tmp_path: Path
) -> None:
    payload = {
        "data_uri": str(write_data(tmp_path / "data")),
        "out_uri": str(tmp_path / "out"),
        "base": BASE,
        "training": {"max_steps": 1, "workers": workers},
        "mlflow_uri": "http://127.0.0.1:9",
        "run_name": f"run-{workers}",
    }
    entrypoint = "components.fine_tune.logic:run"
    compute.submit(JobSpec(key=f"gpus/{workers}", entrypoint=entrypoint, payload=payload, pool="train"))
    with pytest.raises(InvalidInput, match=said) as caught:
        compute.result(f"gpus/{workers}")
    assert caught.value.next_step
    assert not (tmp_path / "out" / "adapter").exists()
