"""`tidegate rollout`, `apply` and `delete` on a platform with a rollout in it, on both substrates."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests.integration.controller.conftest import Make
from tests.integration.controller.kube_world import KubeWorld
from tests.integration.controller.people import controlled
from tests.integration.controller.world import NAME, RUNTIME, World, deployment
from tidegate.cli import asking, rollout
from tidegate.cli.main import app
from tidegate.domain.resources import AnyResource, to_manifest
from tidegate.errors import Conflict, InvalidInput, NotFound, Unavailable

pytestmark = pytest.mark.integration


@pytest.fixture
def world(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A platform that the commands find by their environment."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    made = make(tmp_path, None)
    if isinstance(made, KubeWorld):
        monkeypatch.setenv("TIDEGATE_PROFILE", "cluster")
        mine = tmp_path / "kubeconfig"  # a copy: the platform writes its own anew whenever it connects
        mine.write_text(made.api.kubeconfig("admin", made.namespace).read_text())
        monkeypatch.setenv("KUBECONFIG", str(mine))
    return made


@pytest.fixture
def shadowing(world: World) -> World:
    """Version 1 serves, version 2 is in the shadow with some pairs."""
    world.set_up()
    world.until("Succeeded")
    world.tick()
    world.nominate("2")
    world.until("Shadow")
    world.tick("+=+=+")
    world.tick()
    return world


def run(*arguments: str, command: str = "rollout", stdin: str = "") -> str:
    result = CliRunner().invoke(app, [command, *arguments], input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def apply(*resources: AnyResource, options: tuple[str, ...] = ()) -> list[str]:
    """What was done with each."""
    manifests = []
    for resource in resources:
        manifest = to_manifest(resource)
        del manifest["metadata"]["namespace"]
        manifests.append(manifest)
    said = run("-f", "-", "-o", "json", *options, command="apply", stdin=yaml.safe_dump_all(manifests))
    return [row["result"] for row in json.loads(said)]


def attempt(world: World) -> str:
    found = world.state.attempt
    assert found is not None
    return found.id


def pending(world: World) -> list[str]:
    world.look()
    return [action.action for action in world.parts.actions.pending(NAME)]


# --- looking ---------------------------------------------------------------------------------------------------------


def test_list_and_explain_say_how_a_rollout_goes(shadowing: World) -> None:
    listed = json.loads(run("list", "-o", "json"))
    assert [(row["name"], row["stable"], row["candidate"], row["phase"], row["pairs"]) for row in listed] == [
        (NAME, "1", "2", "Shadow", 5)
    ]
    said = json.loads(run("explain", "-o", "json"))
    assert "version 2 is in phase Shadow, step shadow with 0% of users" in said["explanation"]
    assert {verdict["metric"] for verdict in said["verdicts"]} == {"exact-match", "error-rate"}
    assert {item["type"]: item["status"] for item in said["conditions"]}["Progressing"] == "True"
    assert "exact-match" in run("explain")


def test_history_says_who_did_what(shadowing: World) -> None:
    shadowing.ask("abort", "cli:ada", "a drill")
    shadowing.until("RolledBack")
    rows = json.loads(run("history", NAME, "-o", "json"))
    assert [row["reason"] for row in rows][-2:] == ["Aborted", "Aborted"]
    assert rows[-2]["by"] == "cli:ada"
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    assert {"rollout", "from_phase", "to_phase", "step", "weight", "message"} <= set(rows[-1])


def test_watch_ends_with_the_rollout(shadowing: World) -> None:
    shadowing.until("RolledBack", outcomes="-----")
    assert "HarmFound" in shadowing.status["reason"] or "RejectedVersion" in shadowing.status["reason"]
    assert "RolledBack" in run("watch")


def test_watch_prints_a_line_for_every_change(shadowing: World, monkeypatch: pytest.MonkeyPatch) -> None:
    look_again, asked = rollout._look_again, list[str]()

    def after_the_first_line(name: str, rollouts: Any) -> Any:
        if not asked:
            asked.append(shadowing.ask("abort", "ada", "a drill"))
        return look_again(name, rollouts)

    monkeypatch.setattr(rollout, "_look_again", after_the_first_line)
    with controlled(shadowing):
        output = run("watch", NAME)
    lines = [
        line for line in output.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)
    ]  # the controller logs there, too
    assert "Shadow shadow 0%" in lines[0]
    assert "Aborted by ada (a drill)" in lines[-1]


def test_an_unknown_deployment_is_named_with_those_that_there_are(shadowing: World) -> None:
    with pytest.raises(NotFound) as caught:
        run("explain", "no-such")
    assert "'no-such' does not exist" in caught.value.problem
    assert caught.value.next_step == f"There are: {NAME}."


def test_without_a_look_of_the_controller_there_is_nothing_to_explain(world: World) -> None:
    apply(RUNTIME, deployment())
    with pytest.raises(Unavailable, match=f"has not looked at {NAME}"):
        run("explain")
    assert json.loads(run("history", "-o", "json")) == []


# --- asking ----------------------------------------------------------------------------------------------------------


def test_pause_resume_and_abort_are_answered(shadowing: World) -> None:
    with controlled(shadowing):
        assert "the weight stays at 0%" in run("pause", "-r", "lunch")
        assert "the deadline counts from now" in run("resume")
        with pytest.raises(Conflict, match="no step waits for an approval"):
            run("approve")
        assert "(wrong data)" in run("abort", NAME, "--reason", "wrong data")
    assert shadowing.state.candidate is None


def test_a_request_for_another_attempt_is_refused(shadowing: World) -> None:
    with controlled(shadowing), pytest.raises(Conflict, match=f"it is meant for rollout {NAME}-v9-9"):
        run("abort", "--rollout", f"{NAME}-v9-9")
    assert shadowing.state.candidate == "2"


def test_what_a_person_asks_means_the_attempt_that_they_see_and_an_abort_whatever_is_on(
    shadowing: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.0)
    seen = attempt(shadowing)
    meant = {}

    def look(*_: object) -> None:
        shadowing.look()
        meant.update({action.action: action.rollout for action in shadowing.parts.actions.pending(NAME)})

    monkeypatch.setattr(asking, "_wait", look)
    for action in ("approve", "promote", "pause", "resume", "abort"):
        with pytest.raises(Unavailable):
            run(action)
    assert meant == dict.fromkeys(("approve", "promote", "pause", "resume"), seen) | {"abort": None}


def test_an_abort_says_when_it_hit_an_attempt_that_began_meanwhile(shadowing: World, tmp_path: Path) -> None:
    seen = attempt(shadowing)
    shadowing.nominate("3")
    real = asking.ask

    with pytest.MonkeyPatch.context() as patch:
        # What is seen is read before the controller's round that starts version 3; the abort arrives after it.
        def late(*arguments: object) -> None:
            for _ in range(60):
                if attempt(shadowing) != seen:
                    break
                shadowing.tick()
            with controlled(shadowing):
                real(*arguments)  # type: ignore[arg-type]

        patch.setattr("tidegate.cli.rollout.ask", late)
        result = CliRunner().invoke(app, ["rollout", "abort"], catch_exceptions=False)
    assert "Aborted by" in result.stdout
    assert f"It hit rollout {NAME}-v3-" in result.stderr
    assert f"before, {seen} was on" in result.stderr


@pytest.mark.parametrize(("action", "left"), [("abort", ["abort"]), ("promote", [])])
def test_without_a_controller_only_an_abort_stays(
    shadowing: World, monkeypatch: pytest.MonkeyPatch, action: str, left: list[str]
) -> None:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.3)
    with pytest.raises(Unavailable, match="has not answered") as caught:
        run(action)
    assert caught.value.exit_code == 5
    assert pending(shadowing) == left
    shadowing.tick()
    assert shadowing.state.candidate == (None if left else "2")


def test_an_interrupted_wait_takes_the_request_back(shadowing: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asking, "_wait", interrupt)
    for action, left in (("promote", []), ("abort", ["abort"])):
        CliRunner().invoke(app, ["rollout", action])
        assert pending(shadowing) == left


# --- desired state ---------------------------------------------------------------------------------------------------


def test_apply_says_what_it_did(world: World) -> None:
    assert apply(deployment(), RUNTIME) == ["created", "created"]
    assert apply(deployment(), RUNTIME) == ["unchanged", "unchanged"]
    assert apply(deployment(bakeSeconds=5)) == ["configured"]
    assert [action["name"] for action in json.loads(run("list", "-o", "json"))] == [NAME]


def test_a_dry_run_changes_nothing(world: World) -> None:
    apply(RUNTIME)
    assert all(result.endswith("(dry run)") for result in apply(deployment(), options=("--dry-run",)))
    assert json.loads(run("list", "-o", "json")) == []


def test_a_wrong_manifest_is_refused_and_nothing_is_applied(world: World) -> None:
    apply(RUNTIME)
    wrong = {**to_manifest(RUNTIME), "spec": {"baseModel": {"uri": "builtin:x"}, "engin": {}}}
    text = yaml.safe_dump_all([to_manifest(deployment()), wrong])
    with pytest.raises(InvalidInput, match=r"spec\.engin is not a field"):
        run("-f", "-", command="apply", stdin=text)
    assert json.loads(run("list", "-o", "json")) == []


def test_what_serves_cannot_be_moved(shadowing: World) -> None:
    manifest = to_manifest(deployment())
    del manifest["metadata"]["namespace"]
    manifest["spec"]["runtimeRef"]["name"] = "another"
    with pytest.raises(Conflict, match=r"spec\.runtimeRef\.name"):
        run("-f", "-", command="apply", stdin=yaml.safe_dump(manifest))


def test_a_deployment_can_be_deleted_and_its_runtime_only_then(shadowing: World) -> None:
    with pytest.raises(Conflict, match=f"serves {NAME}"):
        run(RUNTIME.metadata.name, "--kind", "ModelRuntime", command="delete")
    assert "is being taken out of service" in run(NAME, command="delete")
    with pytest.raises(NotFound, match="does not exist"):
        run("explain", NAME)
    run(RUNTIME.metadata.name, "--kind", "ModelRuntime", command="delete")
    for _ in range(5):
        shadowing.tick()
    assert json.loads(run("list", "-o", "json")) == []
    for kind, name in (("ModelDeployment", NAME), ("ModelRuntime", RUNTIME.metadata.name)):
        with pytest.raises(NotFound, match=f"{name}.* does not exist"):
            run(name, "--kind", kind, command="delete")


def test_a_plan_that_takes_a_second_person_records_the_first(world: World) -> None:
    steps = [{"name": "all", "weight": 100, "approval": "SecondPerson"}]
    assert apply(RUNTIME, deployment(steps=steps)) == ["created", "created"]
    assert apply(deployment(steps=steps)) == ["unchanged"]
    world.look()
    stored = world.parts.resources.get("ModelDeployment", NAME)
    assert stored is not None
    assert set(stored.resource.metadata.annotations) == {"tidegate.dev/requested-by"}
