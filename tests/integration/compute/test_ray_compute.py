"""Jobs on a real Ray head: they outlive their caller, survive their worker, and keep their errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.engines.adapter_files import adapter_digest
from tests.integration.engines.platform import ray_head
from tests.integration.train.conftest import BASE, write_data
from tidegate.adapters.cluster_compute import ClusterCompute
from tidegate.adapters.compute import compute_from_settings
from tidegate.adapters.ray_compute import RayCompute
from tidegate.adapters.ray_connection import disconnect
from tidegate.domain.training import TrainingResult
from tidegate.errors import GateFailed, TidegateError, Unavailable
from tidegate.ports import ComputePool, JobSpec
from tidegate.settings import Settings

pytestmark = pytest.mark.integration
FUNCTIONS = "tests.unit.train.job_functions"


def job(key: str, function: str, pool: ComputePool = "data", **payload: Any) -> JobSpec:
    return JobSpec(key=key, entrypoint=f"{FUNCTIONS}:{function}", payload=payload, pool=pool)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with ray_head(tmp_path_factory.mktemp("home")) as settings:
        yield settings
        disconnect()


@pytest.fixture(scope="module")
def compute(settings: Settings) -> RayCompute:
    compute = compute_from_settings(settings)
    assert isinstance(compute, RayCompute)
    return compute


def test_ray_refuses_whoever_has_no_token(settings: Settings) -> None:
    assert httpx.get(f"{settings.ray_dashboard_url}/api/version").status_code == 401
    assert httpx.get(f"{settings.ray_dashboard_url}/api/serve/applications/").status_code == 401
    assert settings.ray_token_path.stat().st_mode & 0o777 == 0o600


def test_progress_arrives_in_order_and_then_the_result(compute: RayCompute) -> None:
    compute.submit(job("a/count", "count", to=5))
    assert [line.message for line in compute.follow("a/count")] == [f"number {number}" for number in range(5)]
    assert compute.result("a/count")["sum"] == 10


def test_a_job_outlives_the_process_that_submitted_it(compute: RayCompute, settings: Settings) -> None:
    spec = job("b/long", "count", to=20, pause=0.05)
    program = (
        "import os, sys\n"
        "from tidegate.adapters.compute import compute_from_settings\n"
        "from tidegate.ports import JobSpec\n"
        "compute = compute_from_settings()\n"
        "compute.submit(JobSpec.model_validate_json(sys.argv[1]))\n"
        "next(compute.follow('b/long'))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = os.environ | {
        "TIDEGATE_HOME": str(settings.home),
        "TIDEGATE_RAY_ADDRESS": settings.ray_address,
    }
    lost = subprocess.run(
        [sys.executable, "-c", program, spec.model_dump_json()], env=environment, timeout=120, check=False
    )
    assert lost.returncode == -signal.SIGKILL
    compute.submit(spec)  # re-attaches
    assert len(list(compute.follow("b/long"))) == 20
    assert compute.result("b/long")["sum"] == 190


def test_errors_keep_their_class_and_next_step(compute: RayCompute, settings: Settings) -> None:
    compute.submit(job("c/gate", "refuse"))
    with pytest.raises(GateFailed) as refused:
        compute.result("c/gate")
    assert (refused.value.problem, refused.value.next_step) == ("exact_match 0.41 is below 0.6", "Train longer.")
    compute.submit(job("c/crash", "crash"))
    with pytest.raises(TidegateError, match="KeyError: 'absent'") as crashed:
        compute.result("c/crash")
    assert (settings.home / "logs" / "jobs" / "c_crash.log").is_file()
    assert "c_crash.log" in crashed.value.next_step


def test_a_killed_worker_is_told_and_comes_back_for_the_next_job(compute: RayCompute) -> None:
    compute.submit(job("d/long", "count", to=600, pause=0.1))
    follower = compute.follow("d/long")
    assert next(follower).message == "number 0"
    victim = compute.status("data")["pid"]
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(Unavailable) as caught:
        list(follower)
    assert "again" in caught.value.next_step
    compute.submit(job("d/next", "count", to=1))
    assert compute.result("d/next")["pid"] != victim
    with pytest.raises(Unavailable, match="d/long"):
        compute.result("d/long")


def test_an_unknown_key_is_told(compute: RayCompute) -> None:
    with pytest.raises(Unavailable, match="nobody/submitted"):
        compute.result("nobody/submitted")


def test_two_training_workers_make_the_step_that_one_makes(
    compute: RayCompute, tmp_path: Path, settings: Settings
) -> None:
    data = write_data(tmp_path / "data")
    losses, first = {}, {}
    for workers in (1, 2):
        key = f"e/{workers}"
        training = {"max_steps": 2, "batch_size": 6, "workers": workers, "precision": "float32"}
        payload = {
            "data_uri": str(data),
            "out_uri": str(tmp_path / str(workers)),
            "base": BASE,
            "training": training | {"lora": {"rank": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj"]}},
            "mlflow_uri": "http://127.0.0.1:9",
            "run_name": key,
        }
        compute.submit(JobSpec(key=key, entrypoint="components.fine_tune.logic:run", payload=payload, pool="train"))
        lines = list(compute.follow(key))
        first[workers] = lines[0].message
        losses[workers] = [line.numbers["loss"] for line in lines if "loss" in line.numbers]
    assert len(losses[1]) == 2
    assert losses[2] == pytest.approx(losses[1], rel=1e-3)
    assert first == {1: "training with 1 worker on CPUs", 2: "training with 2 workers on CPUs"}
    results = [
        TrainingResult.model_validate_json((tmp_path / str(workers) / "training_result.json").read_text())
        for workers in (1, 2)
    ]
    assert [result.device for result in results] == ["cpu", "2 x cpu"]
    assert adapter_digest(tmp_path / "2" / "adapter") == results[1].adapter_digest


def test_nobody_at_ray_s_address_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="tidegate up"):
        compute_from_settings(Settings(home=tmp_path, ray_address="127.0.0.1:9"))


def test_training_on_a_cluster_never_falls_back_to_the_ray_that_runs_here(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    compute = compute_from_settings(settings.model_copy(update={"profile": "cluster"}))
    assert isinstance(compute, ClusterCompute)
    with pytest.raises(TidegateError, match=r"Kubernetes|kubeconfig|cluster"):
        compute.submit(JobSpec(key="run/fine-tune", entrypoint="json:loads", payload={}, pool="train"))
