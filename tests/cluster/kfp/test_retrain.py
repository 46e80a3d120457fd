"""A retraining on real Kubeflow Pipelines: equal parameters are trained again, and a gate that says no is heard.

KFP caches by default, and `enable_caching=False` of a run is not heard by it when the run names a version. A run that
is retried is the same run: what it did is found, and what it was told is told again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.kfp.backend import NAMESPACE, Backend
from tests.cluster.kfp.command import Command
from tests.cluster.kfp.platform import DEPLOYMENT, Platform
from tests.cluster.kfp.runs import RayJobs, parameters, pods_of, run_in
from tests.cluster.kfp.served import REQUESTS
from tidegate.adapters.job_folder import JobFolder, folder_uri
from tidegate.adapters.kfp_client import KfpApi
from tidegate.adapters.kfp_follow import follow
from tidegate.adapters.kfp_pods import RunPods
from tidegate.adapters.kube.api import KubeApi
from tidegate.errors import GateFailed
from tidegate.kfp_settings import KfpSettings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

_UNREACHABLE = {"checks": [{"check": "min_value", "metric": "exact_match", "limit": 1.5}]}
_PARAMETERS = {
    "deployment": DEPLOYMENT,
    "max_steps": 1,
    "eval_max_rows": 8,
    "replay_rows_per_label": 2,
    "replay_test_rows_per_label": 1,
    "gate": _UNREACHABLE,
}
_GATE_SAID_NO = 6


@pytest.fixture(scope="module")
def twice(
    backend: Backend, tidegate: Command, serving: None, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[str, int, str, dict[str, str]]]:
    """Two runs with equal parameters, one after the other: run, exit code, what was said, RayJobs."""
    folder: Path = tmp_path_factory.mktemp("retrain")
    told = []
    for number in range(2):
        log = folder / f"{number}.log"
        with RayJobs(backend, folder / f"{number}.rayjobs") as watched:
            process = tidegate.start(
                log, "pipelines", "run", "retrain", "--wait", "-n", "kubeflow", *parameters(_PARAMETERS)
            )
            try:
                code = process.wait(800)
            finally:
                process.kill()
        told.append((run_in(log.read_text()) or "", code, log.read_text(), watched.seen()))
    return told


def test_a_failing_gate_comes_back_with_its_reasons(twice: list[tuple[str, int, str, dict[str, str]]]) -> None:
    for _, code, said, _ in twice:
        assert code == _GATE_SAID_NO, said
        assert "exact_match" in said
        assert "1.5" in said
        assert "evaluate" in said


def test_a_retraining_starts_from_the_new_rows(twice: list[tuple[str, int, str, dict[str, str]]]) -> None:
    assert f"{REQUESTS} new labelled rows" in twice[0][2]


def test_equal_parameters_train_again(backend: Backend, twice: list[tuple[str, int, str, dict[str, str]]]) -> None:
    jobs = [{uid for uid, name in seen.items() if name.startswith("fine-tune")} for *_, seen in twice]
    assert jobs[0]
    assert jobs[1] - jobs[0], "the second run has trained nothing"
    for run, *_ in twice:
        assert pods_of(backend, run, "prepare"), "no step was taken from the cache"
        assert pods_of(backend, run, "fine-tune")


def test_a_retried_run_finds_its_work_and_is_told_the_gate_s_no_again(
    backend: Backend,
    platform: Platform,
    twice: list[tuple[str, int, str, dict[str, str]]],
    environment: None,
    tmp_path: Path,
) -> None:
    run = twice[-1][0]
    before = {step: _uids(backend, run, step) for step in ("fine-tune", "evaluate")}
    api = KfpApi(KfpSettings(url=backend.api))
    with RayJobs(backend, tmp_path / "retried.rayjobs") as watched:
        backend.retry(run)
        with pytest.raises(GateFailed, match=r"step 'evaluate'.*exact_match.*1\.5"):
            follow(api, run, lambda _: None, pods=RunPods(KubeApi.from_kubeconfig(backend.node.kubeconfig, NAMESPACE)))
    after = {step: _uids(backend, run, step) for step in before}
    assert after["fine-tune"] == before["fine-tune"], "what had succeeded is not asked again"
    assert after["evaluate"], "the step that had failed was tried again"
    assert not after["evaluate"] & before["evaluate"]
    assert watched.seen() == {}, "but its work was not"
    folder = JobFolder(folder_uri(platform.environment["TIDEGATE_ARTIFACTS_URI"], f"{run}/evaluate"))
    assert folder.outcome(1) is not None
    assert folder.outcome(2) is None


def _uids(backend: Backend, run: str, step: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods_of(backend, run, step)}
