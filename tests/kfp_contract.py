"""What tidegate relies on of Kubeflow Pipelines. A module that has a fixture `kfp` (a `KfpApi` of an installation
that the tests may write to) takes the tests over by importing the class:

    from tests.kfp_contract import KfpContract

    class TestRealBackend(KfpContract): ...

Without postponed annotations: KFP reads the types of parameters themselves.
"""

import time
from pathlib import Path

import pytest
import yaml

from pipelines import schedules
from pipelines.publish import find_version, start, upload
from tidegate.adapters.kfp_client import KfpApi, Schedule
from tidegate.adapters.kfp_packages import Package, content_digest, read_package
from tidegate.errors import Conflict, InvalidInput, NotFound
from tidegate.ids import new_id


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A package of one step under a name of its own; the image is in no registry, and nothing has to run."""
    from kfp import compiler, dsl, kubernetes  # noqa: PLC0415

    @dsl.container_component  # type: ignore[untyped-decorator]
    def wait(seconds: int, words: list, more: dict) -> dsl.ContainerSpec:  # type: ignore[type-arg]
        return dsl.ContainerSpec(image="registry.invalid/nothing:1", command=["sleep"], args=[seconds])

    @dsl.pipeline(name=f"contract-{new_id().lower()}", description="of a test")  # type: ignore[untyped-decorator]
    def one(seconds: int, words: list = ["a"], more: dict = {"b": 1.5}) -> None:  # type: ignore[type-arg]  # noqa: B006
        task = wait(seconds=seconds, words=words, more=more)
        task.set_caching_options(enable_caching=False)
        kubernetes.add_pod_label(task, "tidegate.dev/step", "wait")

    path = tmp_path / "package.yaml"
    compiler.Compiler().compile(one, str(path))
    return read_package(path)


class KfpContract:
    """Every test makes things of its own names."""

    def test_the_same_content_is_uploaded_once(self, kfp: KfpApi, package: Package) -> None:
        assert upload(kfp, package, "1.0-abc").result == "uploaded"
        assert upload(kfp, package, "1.0-abc").result == "unchanged"
        pipeline = kfp.must_have(package.name)
        assert [item.name for item in kfp.versions(pipeline.id)] == ["1.0-abc"]

    def test_what_comes_back_is_what_was_sent(self, kfp: KfpApi, package: Package) -> None:
        upload(kfp, package, "1.0-abc")
        assert content_digest(find_version(kfp, package.name).spec) == package.digest

    def test_other_content_under_a_name_that_is_taken_is_refused(
        self, kfp: KfpApi, package: Package, tmp_path: Path
    ) -> None:
        upload(kfp, package, "1.0-abc")
        parts = list(yaml.safe_load_all(package.path.read_text(encoding="utf-8")))
        container = next(iter(parts[0]["deploymentSpec"]["executors"].values()))["container"]
        container["image"] = "registry.invalid/other:2"
        other = tmp_path / "other.yaml"
        other.write_text(yaml.safe_dump_all(parts), encoding="utf-8")
        with pytest.raises(Conflict, match=r"1\.0-abc.*other content"):
            upload(kfp, read_package(other), "1.0-abc")
        time.sleep(1.1)  # KFP keeps seconds: of two versions of one second neither is the newest
        assert upload(kfp, read_package(other), "1.0-def").result == "uploaded"
        assert find_version(kfp, package.name).name == "1.0-def", "the newest is the default"
        assert find_version(kfp, package.name, "1.0-abc").name == "1.0-abc"

    def test_a_run_is_found_by_its_name_and_made_once(self, kfp: KfpApi, package: Package) -> None:
        upload(kfp, package, "1.0-abc")
        version, name = find_version(kfp, package.name), f"run-{new_id().lower()}"
        made = start(kfp, name, package.name, version, {"seconds": 1, "words": ["x", "y"], "more": {"z": [1]}})
        try:
            found = kfp.runs_named(name)
            assert [item.id for item in found] == [made.id]
            assert not found[0].ended
            assert found[0].parameters == {"seconds": 1, "words": ["x", "y"], "more": {"z": [1]}}
            assert (found[0].pipeline, found[0].version) == (version.pipeline, version.id)
            assert kfp.log(made.id, "no-pod-of-this-name") is None, "and not what the server says instead"
            assert [item.id for item in kfp.runs(5, pipeline=version.pipeline)] == [made.id]
            with pytest.raises(Conflict, match=name):
                start(kfp, name, package.name, version, {"seconds": 1})
        finally:
            kfp.terminate(made.id)

    def test_an_ended_run_tells_how_its_tasks_ended_a_moment_later(self, kfp: KfpApi, package: Package) -> None:
        upload(kfp, package, "1.0-abc")
        version, name = find_version(kfp, package.name), f"run-{new_id().lower()}"
        made = start(kfp, name, package.name, version, {"seconds": 1})
        assert not kfp.stopped(made.id)
        kfp.terminate(made.id)
        limit = time.monotonic() + 120
        while not (run := kfp.run(made.id)).ended or run.awaits_tasks:
            assert time.monotonic() < limit, run
            time.sleep(0.1)
        assert run.finished is not None
        assert "failed" in {task.state for task in run.tasks}
        assert run.closed() == run, "none is told as running, and nothing has to be assumed"
        assert kfp.stopped(made.id), "which the run itself says for a second only"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [({}, "seconds"), ({"seconds": "1"}, "'1', which is no Integer"), ({"seconds": 1, "secs": 2}, "'secs'")],
    )
    def test_parameters_are_refused_before_anything_is_sent(
        self, kfp: KfpApi, package: Package, arguments: dict[str, object], said: str
    ) -> None:
        upload(kfp, package, "1.0-abc")
        name = f"run-{new_id().lower()}"
        with pytest.raises(InvalidInput, match=said):
            start(kfp, name, package.name, find_version(kfp, package.name), arguments)
        assert kfp.runs_named(name) == []

    def test_what_is_not_there_is_named(self, kfp: KfpApi, package: Package) -> None:
        with pytest.raises(NotFound, match="no pipeline 'nothing-of-this-name'"):
            find_version(kfp, "nothing-of-this-name")
        upload(kfp, package, "1.0-abc")
        with pytest.raises(NotFound, match="no version '9'"):
            find_version(kfp, package.name, "9")
        with pytest.raises(NotFound):
            kfp.run("00000000-0000-0000-0000-000000000000")
        pipeline = kfp.must_have(package.name)
        with pytest.raises(NotFound):  # the real one answers 500
            kfp.start("x", pipeline.id, "00000000-0000-0000-0000-000000000000", {})

    def test_a_pipeline_of_a_name_that_is_taken_is_a_conflict(self, kfp: KfpApi, package: Package) -> None:
        upload(kfp, package, "1.0-abc")
        with pytest.raises(Conflict):
            kfp.create_pipeline(package.name, "")

    def test_a_schedule_is_kept_replaced_switched_and_deleted(self, kfp: KfpApi, package: Package) -> None:
        upload(kfp, package, "1.0-abc")
        version, name = find_version(kfp, package.name), f"nightly-{new_id().lower()}"

        def ensure(line: str, seconds: int) -> str:
            return schedules.ensure(kfp, name, line, package.name, version, {"seconds": seconds, "more": {"a": 1}})

        assert ensure("30 2 * * *", 1) == "created"
        try:
            assert ensure("30 2 * * *", 1) == "unchanged"
            first = kfp.schedules(name)
            assert [(item.cron, item.enabled, item.no_catchup, item.max_concurrency) for item in first] == [
                ("0 30 2 * * *", True, True, 1)
            ]
            assert ensure("30 2 * * *", 2) == "replaced"
            assert ensure("45 2 * * *", 2) == "replaced"
            assert [item.cron for item in kfp.schedules(name)] == ["0 45 2 * * *"]
            assert schedules.switch(kfp, name, enabled=False) == "disabled"
            assert not kfp.schedules(name)[0].enabled
            assert schedules.switch(kfp, name, enabled=True) == "enabled"
            assert kfp.schedules(name)[0].enabled
        finally:
            assert schedules.delete(kfp, name) == "deleted"
        assert kfp.schedules(name) == []
        with pytest.raises(NotFound, match=name):
            schedules.delete(kfp, name)

    @pytest.mark.parametrize("other", ["somebody's own", "another experiment"])
    def test_a_recurring_run_of_somebody_else_is_left_alone(self, kfp: KfpApi, package: Package, other: str) -> None:
        upload(kfp, package, "1.0-abc")
        version, name = find_version(kfp, package.name), f"nightly-{new_id().lower()}"
        maker, description = kfp, "made by hand"
        if other == "another experiment":
            maker = KfpApi(kfp.settings.model_copy(update={"experiment": f"other-{new_id().lower()}"}))
            description = "tidegate: of another installation"
        foreign = maker.create_schedule(
            Schedule(
                id="",
                name=name,
                pipeline=version.pipeline,
                version=version.id,
                cron="0 30 2 * * *",
                enabled=False,
                max_concurrency=1,
                no_catchup=True,
                parameters={"seconds": 1},
                description=description,
                service_account="",
                experiment=maker.experiment(),
            )
        )
        try:
            with pytest.raises(Conflict, match=foreign.id) as caught:
                schedules.ensure(kfp, name, "45 2 * * *", package.name, version, {"seconds": 2})
            assert "another name" in caught.value.next_step
            with pytest.raises(Conflict, match=foreign.id):
                schedules.switch(kfp, name, enabled=True)
            with pytest.raises(Conflict, match=foreign.id):
                schedules.delete(kfp, name)
            assert [(item.id, item.enabled) for item in kfp.schedules(name)] == [(foreign.id, False)]
        finally:
            kfp.delete_schedule(foreign.id)
