"""The receiver's retrainings on Kubeflow Pipelines: one run each, tried again only when that helps."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines import schedules
from pipelines.publish import find_version, not_run, start, upload
from tests.kfp_api import KfpStandIn, Refused
from tests.unit.pipelines.kfp import DATABASE_AWAY, NOW, SERVER_AWAY, retrain_request
from tidegate.adapters.job_folder import JobFolder, Outcome, folder_uri
from tidegate.adapters.kfp_client import KfpApi
from tidegate.adapters.kfp_launcher import KfpRunLauncher
from tidegate.adapters.kfp_packages import Package, read_package
from tidegate.adapters.retrain_runs import ImpossibleRequest
from tidegate.clock import ManualClock
from tidegate.errors import ContractBroken, Denied, GateFailed, InvalidInput, NotFound, TidegateError, Unavailable
from tidegate.kfp_settings import KfpSettings
from tidegate.plane_settings import RetrainingSettings
from tidegate.wire import error_to_line


def test_a_request_is_one_run_whoever_starts_it(kfp: KfpApi, stand_in: KfpStandIn, retrain: Package) -> None:
    upload(kfp, retrain, "1")
    launchers = [KfpRunLauncher(KfpSettings(url=stand_in.url)) for _ in range(2)]
    assert [one.start(retrain_request()) for one in launchers] == ["retrain-1", "retrain-1"]
    assert len(stand_in.runs) == 1
    (made,) = stand_in.runs.values()
    assert made["runtime_config"]["parameters"] == {
        "deployment": "d",
        "model_name": "m",
        "trigger": "retrain-1",
        "run_name": "retrain-1",
    }
    assert launchers[1].state("retrain-1") == "running"
    assert launchers[1].since("retrain-1") is not None
    assert launchers[0].start(retrain_request(attempts=1)) == "retrain-1.2"


def test_a_deployment_s_own_parameters_are_given(kfp: KfpApi, stand_in: KfpStandIn, retrain: Package) -> None:
    upload(kfp, retrain, "1")
    parameters = {"*": {"max_steps": 200, "seed": 3}, "d": {"max_steps": 400}, "other": {"batch_size": 1}}
    retraining = RetrainingSettings(parameters=json.dumps(parameters))
    KfpRunLauncher(KfpSettings(url=stand_in.url), retraining=retraining).start(retrain_request())
    (made,) = stand_in.runs.values()
    given = made["runtime_config"]["parameters"]
    assert (given["max_steps"], given["seed"]) == (400, 3)
    assert "batch_size" not in given


@pytest.mark.parametrize(
    ("parameters", "said", "then"),
    [
        ('{"*": {"max_step": 200}}', "no parameter 'max_step'", "max_steps"),
        ('{"*": {"max_steps": "many"}}', "'max_steps' of pipeline 'retrain' is 'many'", "JSON"),
        ('{"max_steps": 200}', "no mapping of deployments", "any deployment"),
        ('{"*": {"max_steps": 200}', "no JSON", "any deployment"),
        ('{"*": {"run_name": "mine"}}', "'run_name' = 'mine' is what retraining request", "Leave it out"),
    ],
)
def test_parameters_that_cannot_be_taken_start_nothing_until_they_are_mended(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, parameters: str, said: str, then: str
) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url), retraining=RetrainingSettings(parameters=parameters))
    with pytest.raises(InvalidInput, match=re.escape(said)) as caught:
        launcher.start(retrain_request())
    assert then in caught.value.next_step
    assert not isinstance(caught.value, ImpossibleRequest), "that would end the request"
    assert stand_in.runs == {}


def test_a_run_is_made_only_by_who_may_and_found_by_everybody(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package
) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url))

    def refused() -> None:
        assert ("GET", "/apis/v2beta1/experiments") in stand_in.asked, "all that may take long comes before"
        raise InterruptedError

    with pytest.raises(InterruptedError):
        launcher.start(retrain_request(), claim=refused)
    assert stand_in.runs == {}
    launcher.start(retrain_request())
    assert launcher.start(retrain_request(), claim=refused) == "retrain-1"


def test_after_a_roll_back_the_pinned_version_runs(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, tmp_path: Path
) -> None:
    newer = tmp_path / "newer.yaml"
    newer.write_text(retrain.path.read_text().replace("defaultValue: 60.0", "defaultValue: 61.0"))
    assert not_run(upload(kfp, retrain, "0.1.0")) == ""
    assert not_run(upload(kfp, read_package(newer), "0.2.0")) == ""
    back = upload(kfp, retrain, "0.1.0")
    assert (back.result, back.runs) == ("unchanged", "0.2.0")
    assert "TIDEGATE_KFP__VERSION=0.1.0" in not_run(back)

    pinned = KfpSettings(url=stand_in.url, version="0.1.0")
    assert not_run(upload(KfpApi(pinned), retrain, "0.1.0")) == ""
    assert find_version(KfpApi(pinned), "retrain").name == "0.1.0"
    assert find_version(KfpApi(pinned), "retrain", "0.2.0").name == "0.2.0"
    KfpRunLauncher(pinned).start(retrain_request())
    (made,) = stand_in.runs.values()
    assert made["pipeline_version_reference"]["pipeline_version_id"] == find_version(kfp, "retrain", "0.1.0").id
    with pytest.raises(NotFound, match=r"no version '0\.3\.0', which TIDEGATE_KFP__VERSION names"):
        KfpRunLauncher(KfpSettings(url=stand_in.url, version="0.3.0")).start(retrain_request(key="retrain-2"))


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (GateFailed("no"), False),
        (InvalidInput("few"), False),
        (Denied("the registry"), False),
        (Unavailable("lost"), True),
    ],
)
def test_only_what_the_infrastructure_failed_is_tried_again(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, error: Any, transient: bool
) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url))
    launcher.start(retrain_request())
    stand_in.end(next(iter(stand_in.runs)), "FAILED", step="evaluate", log=error_to_line(error))
    assert launcher.state("retrain-1") == "failed"
    failure = launcher.failure("retrain-1")
    assert failure is not None
    assert failure.transient is transient
    assert error.problem in failure.reason


def test_a_failure_is_judged_when_kfp_has_told_its_step(kfp: KfpApi, stand_in: KfpStandIn, retrain: Package) -> None:
    upload(kfp, retrain, "1")
    clock = ManualClock(NOW)
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url), clock=clock)
    launcher.start(retrain_request())
    (run,) = stand_in.runs
    lost = error_to_line(Unavailable("the node was lost"))
    stand_in.end(run, "FAILED", step="evaluate", log=lost, told="RUNNING")
    assert launcher.state("retrain-1") == "running"
    stand_in.tell(run, "FAILED")
    assert launcher.state("retrain-1") == "failed"
    assert (failure := launcher.failure("retrain-1")) is not None
    assert failure.transient
    stand_in.tell(run, "RUNNING")
    for seconds in (0, 600):
        clock.advance(seconds)
        assert launcher.state("retrain-1") == "running"
    clock.advance(301)
    assert launcher.state("retrain-1") == "failed", "what KFP never wrote is not waited for"
    assert launcher.failure("retrain-1") == failure


def test_a_verdict_that_cannot_be_read_now_is_read_later(kfp: KfpApi, stand_in: KfpStandIn, retrain: Package) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url))
    launcher.start(retrain_request())
    stand_in.end(
        next(iter(stand_in.runs)), "FAILED", step="evaluate", log=error_to_line(GateFailed("0.4 is below 0.6"))
    )
    for what, refusal in (
        ("/versions/", DATABASE_AWAY),
        ("/log", Refused(503, "upstream", page=True)),
        ("/runs/", SERVER_AWAY),
    ):
        stand_in.away = {what: refusal}
        with pytest.raises(Unavailable):
            launcher.failure("retrain-1")
    stand_in.away = {}
    failure = launcher.failure("retrain-1")
    assert failure is not None
    assert not failure.transient
    assert "0.4 is below 0.6" in failure.reason


@pytest.mark.parametrize(
    ("left", "transient", "said"),
    [
        (GateFailed("0.4 is below 0.6"), False, "0.4 is below 0.6"),
        (Unavailable("the registry is away"), True, "the registry is away"),
        (None, True, "was lost before it came to an end"),
    ],
)
def test_where_the_log_is_gone_the_artifact_store_has_the_verdict(
    kfp: KfpApi,
    stand_in: KfpStandIn,
    retrain: Package,
    tmp_path: Path,
    left: TidegateError | None,
    transient: bool,
    said: str,
) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url), artifacts_uri=str(tmp_path / "artifacts"))
    launcher.start(retrain_request())
    folder = JobFolder(folder_uri(str(tmp_path / "artifacts"), "retrain-1/evaluate"))
    if left is not None:
        folder.end(1, Outcome.of_error(Unavailable("lost"), NOW))
        folder.end(2, Outcome.of_error(left, NOW))
    stand_in.end(next(iter(stand_in.runs)), "FAILED", step="evaluate")
    stand_in.logs.clear()
    failure = launcher.failure("retrain-1")
    assert failure is not None
    assert failure.transient is transient
    assert said in failure.reason


@pytest.mark.parametrize("artifacts_uri", ["", "nothing-of-this-kind://bucket"])
def test_a_failure_that_nothing_explains_starts_no_second_training(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, artifacts_uri: str
) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url), artifacts_uri=artifacts_uri)
    launcher.start(retrain_request())
    stand_in.end(next(iter(stand_in.runs)), "FAILED", step="evaluate")
    stand_in.logs.clear()
    failure = launcher.failure("retrain-1")
    assert failure is not None
    assert not failure.transient
    assert "nothing says why" in failure.reason


@pytest.mark.parametrize("when", ["between two steps", "within one"])
def test_a_retraining_that_somebody_ended_is_not_begun_again(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, tmp_path: Path, when: str
) -> None:
    upload(kfp, retrain, "1")
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url), artifacts_uri=str(tmp_path / "artifacts"))
    launcher.start(retrain_request())
    (run,) = stand_in.runs
    if when == "within one":
        stand_in.end(run, "RUNNING", step="fine-tune", log="step 3 of 12\n")
    kfp.terminate(run)
    failure = launcher.failure("retrain-1")
    assert failure is not None
    assert not failure.transient
    assert "was ended by somebody" in failure.reason


def test_a_version_that_caches_is_run_by_nobody(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, tmp_path: Path
) -> None:
    path = tmp_path / "cached.yaml"
    path.write_text(retrain.path.read_text().replace("cachingOptions: {}", "cachingOptions: {enableCache: true}"))
    upload(kfp, read_package(path), "1")
    with pytest.raises(ContractBroken, match="caches"):
        KfpRunLauncher(KfpSettings(url=stand_in.url)).start(retrain_request())
    version = find_version(kfp, "retrain")
    with pytest.raises(ContractBroken, match=r"'1' of pipeline 'retrain' caches .*new-rows") as caught:
        start(kfp, "r", "retrain", version, {"deployment": "d"})
    assert "tidegate pipelines upload" in caught.value.next_step
    with pytest.raises(ContractBroken, match="caches"):
        schedules.ensure(kfp, "nightly", "30 2 * * *", "retrain", version, {"deployment": "d"})
    assert (stand_in.runs, stand_in.schedules) == ({}, {})


def test_a_launcher_without_its_pipeline_says_what_to_do(stand_in: KfpStandIn) -> None:
    launcher = KfpRunLauncher(KfpSettings(url=stand_in.url))
    with pytest.raises(NotFound, match="no pipeline 'retrain'"):
        launcher.start(retrain_request())
    assert launcher.state("retrain-9") == "failed"
