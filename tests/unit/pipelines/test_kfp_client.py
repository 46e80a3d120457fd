"""The client against the stand-in: the contract, what is uploaded, listed and scheduled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines import schedules
from pipelines.publish import find_version, upload
from tests.kfp_api import KfpStandIn
from tests.kfp_contract import KfpContract
from tidegate.adapters.kfp_client import KfpApi
from tidegate.adapters.kfp_packages import Package, read_package
from tidegate.cli.pipelines_list import rows
from tidegate.errors import InvalidInput, NotFound


class TestStandIn(KfpContract):
    """The stand-in keeps the contract that the real backend keeps."""


@pytest.mark.parametrize(
    "text", ["a: [", "just words", "pipelineInfo: {name: x}\nroot: {dag: {tasks: {}}}", "a: 1\n---\nb: 1"]
)
def test_a_malformed_package_is_refused_before_it_is_sent(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=re.escape(str(path))):
        read_package(path)


def test_the_runs_of_a_pipeline_are_found_among_all_the_others(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, package: Package
) -> None:
    upload(kfp, retrain, "1")
    upload(kfp, package, "2")
    ours, others = find_version(kfp, "retrain"), find_version(kfp, package.name)
    for number in range(3):
        kfp.start(f"ours-{number}", ours.pipeline, ours.id, {})
    (like,) = [run for run in stand_in.runs.values() if run["display_name"] == "ours-0"]
    for number in range(250):
        reference = {"pipeline_id": others.pipeline, "pipeline_version_id": others.id}
        added = {**like, "run_id": f"o{number}", "_order": 10 + number, "pipeline_version_reference": reference}
        stand_in.runs[f"o{number}"] = added
    stand_in.asked.clear()
    found = rows(kfp, "runs", "retrain", 2)
    assert [(row["run"], row["pipeline"], row["version"]) for row in found] == [
        ("ours-2", "retrain", "1"),
        ("ours-1", "retrain", "1"),
    ]
    assert [path for _, path in stand_in.asked if "/versions" in path] == [
        f"/apis/v2beta1/pipelines/{ours.pipeline}/versions/{ours.id}"
    ], "one version is shown, and one is asked for"
    assert len(rows(kfp, "runs", "", 20)) == 20
    assert {row["pipeline"] for row in rows(kfp, "pipelines", "", 20)} == {"retrain", package.name}
    assert [row["version"] for row in rows(kfp, "versions", package.name, 20)] == ["2"]
    with pytest.raises(NotFound, match="no pipeline 'nothing'"):
        rows(kfp, "runs", "nothing", 20)


def test_what_is_gone_has_no_name(kfp: KfpApi, stand_in: KfpStandIn, retrain: Package) -> None:
    upload(kfp, retrain, "1")
    version = find_version(kfp, "retrain")
    kfp.start("r", version.pipeline, version.id, {})
    assert schedules.ensure(kfp, "nightly", "30 2 * * *", "retrain", version, {"deployment": "d"}) == "created"
    stand_in.versions.clear()
    assert [row["version"] for row in rows(kfp, "runs", "", 20)] == [""]
    assert [(row["schedule"], row["version"]) for row in rows(kfp, "schedules", "retrain", 20)] == [("nightly", "")]


@pytest.mark.parametrize("parameter", ["run_name", "trigger"])
def test_a_schedule_whose_runs_would_all_be_the_first_is_refused(
    kfp: KfpApi, stand_in: KfpStandIn, retrain: Package, parameter: str
) -> None:
    upload(kfp, retrain, "1")
    version = find_version(kfp, "retrain")

    def ensure(value: str) -> str:
        arguments = {"deployment": "d", parameter: value}
        return schedules.ensure(kfp, "nightly", "30 2 * * *", "retrain", version, arguments)

    with pytest.raises(InvalidInput, match=f"'{parameter}' of schedule 'nightly' is always 'n1'") as caught:
        ensure("n1")
    assert "Leave 'run_name' out".replace("run_name", parameter) in caught.value.next_step
    assert stand_in.schedules == {}
    assert ensure("n-[[ScheduledTime]]") == "created"
    assert ensure("[[CurrentTime.20060102]]") == "replaced"
    assert ensure("") == "replaced"
