"""What the commands say and do on a cluster alone: whose name is on record, what is refused, and what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from serving.operator.objects import OWN
from tests.integration.controller.kube_world import RAY_SERVICE_CRD, KubeWorld
from tests.integration.controller.test_cli import controlled
from tests.integration.controller.world import NAME, RUNTIME, deployment
from tests.kube_api import KubeApi
from tests.kube_fixtures import install, kube, programs_or_skip
from tidegate.adapters.kube.api import ApiKind, Object
from tidegate.adapters.kube.person import MANAGER, PersonApi
from tidegate.cli import asking
from tidegate.cli.main import app
from tidegate.cli.substrates.cluster import ClusterRollouts
from tidegate.domain.resources import to_manifest
from tidegate.errors import Conflict, Denied, InvalidInput, NotFound, Unavailable

__all__ = ["kube"]
pytestmark = pytest.mark.integration
REQUESTED_BY = "tidegate.dev/requested-by"


class AppliedWorld(KubeWorld):
    """Its manifests are applied as the command does it."""

    manager = MANAGER


@pytest.fixture
def team(kube: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A namespace, and a person's machine: nothing but a kubeconfig, which names alice and another namespace."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "none"))
    be(kube, "alice", monkeypatch)
    return kube.make_namespace("team")


@pytest.fixture(scope="module")
def operable(kube: KubeApi) -> None:
    """All that an operator watches is served."""
    install(kube, RAY_SERVICE_CRD)
    KubeWorld.wait_served(kube)


@pytest.fixture
def world(kube: KubeApi, operable: None, team: str, tmp_path: Path) -> KubeWorld:
    """Version 2 is in the shadow; an administrator applied it, in nobody's name."""
    made = AppliedWorld(tmp_path, kube, team)
    made.set_up()
    made.until("Succeeded")
    made.tick()
    made.nominate("2")
    made.until("Shadow")
    return made


def be(kube: KubeApi, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig(user)))


def be_account(kube: KubeApi, namespace: str, verbs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Becomes a service account that may do so much: resource -> verbs. Its user name."""
    kube.kubectl("create", "serviceaccount", "limited", namespace=namespace)
    for resource, allowed in verbs.items():
        what = (f"--verb={allowed}", f"--resource={resource}.tidegate.dev")
        kube.kubectl("create", "role", resource, *what, namespace=namespace)
        to = (f"--role={resource}", f"--serviceaccount={namespace}:limited")
        kube.kubectl("create", "rolebinding", resource, *to, namespace=namespace)
    config = yaml.safe_load(kube.kubeconfig("alice").read_text())
    config["users"][0]["user"] = {"token": kube.kubectl("create", "token", "limited", namespace=namespace).stdout}
    path = kube.folder / f"{namespace}.limited"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return f"system:serviceaccount:{namespace}:limited"


def run(*arguments: str, stdin: str = "") -> tuple[str, str]:
    """Output and notes."""
    result = CliRunner().invoke(app, list(arguments), input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def apply(manifest: dict[str, Any], *options: str) -> str:
    said, _ = run("apply", "-f", "-", "-o", "json", *options, stdin=yaml.safe_dump(manifest))
    return str(json.loads(said)[0]["result"])


def manifest(*, by: str | None = None, **rollout: Any) -> dict[str, Any]:
    made = to_manifest(deployment(**rollout))
    made["metadata"] = {"name": NAME} | ({"annotations": {REQUESTED_BY: by}} if by is not None else {})
    return made


def stored(kube: KubeApi, namespace: str, kind: str = "ModelDeployment", name: str = NAME) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        kube.kubectl("get", OWN[kind].plural, name, "-o", "json", namespace=namespace).stdout
    )
    return found


def actions(kube: KubeApi, namespace: str) -> list[dict[str, Any]]:
    said = kube.kubectl("get", "rolloutactions", "-o", "json", namespace=namespace).stdout
    found: list[dict[str, Any]] = json.loads(said)["items"]
    return found


# --- who asks --------------------------------------------------------------------------------------------------------


def test_who_asks_is_whom_the_api_server_knows(
    kube: KubeApi, world: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with controlled(world):
        paused, note = run("rollout", "pause", NAME, "-n", team, "-r", "lunch")
        be(kube, "bob", monkeypatch)
        aborted, _ = run("rollout", "abort", NAME, "-n", team, "--reason", "wrong data")
    assert "Paused by alice (lunch)" in paused
    assert f"asked by alice in namespace '{team}' (context test)\n" in note
    assert "Aborted by bob (wrong data)." in aborted
    asked = {item["spec"]["action"]: item["spec"] for item in actions(kube, team)}
    assert (asked["Pause"]["requestedBy"], asked["Abort"]["requestedBy"]) == ("alice", "bob")
    assert asked["Pause"]["rollout"] == f"{NAME}-v2-3"
    assert "rollout" not in asked["Abort"]
    rows = json.loads(run("rollout", "history", "-n", team, "-o", "json")[0])
    assert {row["by"] for row in rows} == {"controller", "alice", "bob"}


def test_nobody_asks_under_anothers_name(world: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PersonApi, "whoami", lambda _: "bob")
    with pytest.raises(Denied, match=r"requestedBy is bob, but alice asks") as caught:
        run("rollout", "promote", "-n", team)
    assert caught.value.exit_code == 9
    assert "a rule of the cluster refuses it" in caught.value.problem


def test_the_first_and_the_second_person_are_two(
    kube: KubeApi, world: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [{"name": "all", "weight": 100, "approval": "SecondPerson"}]
    assert apply(manifest(steps=steps), "-n", team) == "configured"
    assert stored(kube, team)["metadata"]["annotations"][REQUESTED_BY] == "alice"
    be(kube, "bob", monkeypatch)
    assert apply(manifest(steps=steps), "-n", team) == "unchanged"
    assert stored(kube, team)["metadata"]["annotations"][REQUESTED_BY] == "alice"
    assert apply(manifest(steps=steps, bakeSeconds=7), "-n", team) == "configured"
    assert stored(kube, team)["metadata"]["annotations"][REQUESTED_BY] == "bob"
    with pytest.raises(Denied, match="requested-by is alice, but bob asks"):
        apply(manifest(by="alice", steps=steps, bakeSeconds=8), "-n", team, "--dry-run")


# --- what may not be done --------------------------------------------------------------------------------------------


def test_a_missing_permission_is_named(
    kube: KubeApi, world: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_account(kube, team, {"modeldeployments": "get,list"}, monkeypatch)
    assert NAME in run("rollout", "list", "-n", team)[0]
    with pytest.raises(Denied, match='cannot create resource "rolloutactions"') as caught:
        run("rollout", "abort", "-n", team)
    assert caught.value.exit_code == 9
    assert f"lets you create rolloutactions.tidegate.dev in namespace '{team}'" in caught.value.next_step
    with pytest.raises(Denied, match='cannot patch resource "modeldeployments"'):
        apply(manifest(), "-n", team)


def test_credentials_that_nobody_knows_are_another_matter(
    kube: KubeApi, team: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = yaml.safe_load(kube.kubeconfig("alice").read_text())
    config["users"][0]["user"] = {"token": "expired"}
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(Denied, match="does not know who asks") as caught:
        run("rollout", "list", "-n", team)
    assert "Renew the credentials" in caught.value.next_step


def test_what_cannot_be_withdrawn_is_said(
    kube: KubeApi, world: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.2)
    be_account(kube, team, {"modeldeployments": "get,list", "rolloutactions": "create,get"}, monkeypatch)
    with pytest.raises(Denied, match=r"it could not be withdrawn: .* it is carried out when the controller is back"):
        run("rollout", "promote", "-n", team)
    assert [item["spec"]["action"] for item in actions(kube, team)] == ["Promote"]


# --- who does not answer ---------------------------------------------------------------------------------------------


def test_without_an_operator_the_lease_tells_since_when(
    kube: KubeApi, world: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.2)
    with pytest.raises(Unavailable, match=f"abort of {NAME} in namespace '{team}'.*it stays in the queue") as caught:
        run("rollout", "abort", "-n", team)
    assert f"kubectl get pods -n {team}" in caught.value.next_step
    be(kube, "operator", monkeypatch)  # people need not be allowed to look at leases
    with pytest.raises(Unavailable, match="it was withdrawn") as caught:
        run("rollout", "promote", "-n", team)
    assert "lease tidegate-controller was last renewed at" in caught.value.next_step
    assert [item["spec"]["action"] for item in actions(kube, team)] == ["Abort"]
    with controlled(world):
        assert "RolledBack" in run("rollout", "watch", "-n", team)[0]
    assert world.state.history[-2].by == "alice"


def test_a_request_that_was_read_before_it_was_withdrawn_is_answered(world: KubeWorld, team: str) -> None:
    rollouts = ClusterRollouts(PersonApi.of_kubeconfig(team))
    asked = rollouts.submit(NAME, "pause", "", None)
    world.look()  # the operator's watch has seen it …
    late = threading.Timer(0.3, world.controller.tick)
    late.start()
    answer = rollouts.withdraw(asked)  # … and it is deleted before it is acted on
    late.join()
    assert answer is not None
    assert answer.text.startswith("Paused by alice")


def test_a_request_whose_answer_is_lost_arrives_once(
    kube: KubeApi, world: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = PersonApi.create, []

    def create(self: PersonApi, kind: ApiKind, body: Object) -> Object:
        calls.append(body)
        made = real(self, kind, body)
        if len(calls) == 1:
            raise Unavailable("the connection broke")
        return made

    monkeypatch.setattr(PersonApi, "create", create)
    with controlled(world):
        run("rollout", "pause", "-n", team)
    assert len(calls) == 2
    assert len(actions(kube, team)) == 1


def test_an_api_server_that_does_not_answer_is_named(
    kube: KubeApi, team: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = yaml.safe_load(kube.kubeconfig("alice").read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(Unavailable, match=r"https://127\.0\.0\.1:1 does not answer") as caught:
        run("rollout", "abort", NAME, "-n", team)
    assert "--context" in caught.value.next_step


# --- what is not there -----------------------------------------------------------------------------------------------


def test_a_machine_without_a_kubeconfig(team: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(InvalidInput, match="there is no kubeconfig at"):
        run("rollout", "list", "-n", team)


def test_a_context_that_is_not_there(team: str) -> None:
    with pytest.raises(InvalidInput, match="has no context 'prod'") as caught:
        run("rollout", "list", "--context", "prod")
    assert "there are: test" in caught.value.next_step


def test_a_namespace_that_is_not_there(kube: KubeApi, team: str) -> None:
    with pytest.raises(NotFound, match="does not exist in namespace 'tema'"):
        run("rollout", "abort", NAME, "-n", "tema")
    with pytest.raises(NotFound, match="namespace 'tema' does not exist of context test"):
        apply(manifest(), "-n", "tema")


def test_a_cluster_without_definitions(tmp_path: Path, team: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with KubeApi(tmp_path / "bare", programs_or_skip()) as bare:
        be(bare, "admin", monkeypatch)
        for command in (("rollout", "abort", NAME), ("rollout", "list"), ("delete", NAME)):
            with pytest.raises(NotFound, match="has no modeldeployments of tidegate") as caught:
                run(*command, "-n", "default")
            assert "helm/tidegate/crds" in caught.value.next_step
        with pytest.raises(NotFound, match="has no modeldeployments of tidegate"):
            apply(manifest(), "-n", "default")


# --- desired state ---------------------------------------------------------------------------------------------------


def test_a_dry_run_is_the_servers(kube: KubeApi, world: KubeWorld, team: str) -> None:
    assert apply(manifest(bakeSeconds=9), "-n", team, "--dry-run") == "configured (dry run)"
    assert "bakeSeconds" not in stored(kube, team)["spec"]["rollout"] or (
        stored(kube, team)["spec"]["rollout"]["bakeSeconds"] == 0
    )
    moved = manifest()
    moved["spec"]["runtimeRef"]["name"] = "another"
    with pytest.raises(Conflict, match=r"spec\.runtimeRef\.name"):
        apply(moved, "-n", team, "--dry-run")
    with pytest.raises(Denied, match=r"annotation tidegate\.dev/requested-by is bob, but alice asks"):
        apply(manifest(by="bob"), "-n", team, "--dry-run")


def test_what_another_manager_owns_is_left_to_it(kube: KubeApi, team: str) -> None:
    owned = ("apply", "--server-side", "--field-manager=argocd", "-f", "-")
    kube.kubectl(*owned, user="bob", namespace=team, stdin=yaml.safe_dump(manifest(bakeSeconds=3)))
    with pytest.raises(Conflict, match=r'conflict with "argocd".*bakeSeconds') as caught:
        apply(manifest(bakeSeconds=4), "-n", team)
    assert "in Git" in caught.value.next_step
    assert apply(manifest(bakeSeconds=3), "-n", team) == "unchanged"


def test_what_a_manifest_leaves_out_is_the_servers(kube: KubeApi, team: str) -> None:
    short = manifest()
    del short["spec"]["rollout"]["bakeSeconds"]
    assert apply(short, "-n", team) == "created"
    owned = (
        json.dumps(stored(kube, team)["metadata"].get("managedFields"))
        + kube.kubectl("get", "mdep", NAME, "-o", "json", "--show-managed-fields", namespace=team).stdout
    )
    assert "f:bakeSeconds" not in owned
    assert "f:deadlineSeconds" in owned


def test_a_manifest_goes_into_the_namespace_that_it_names(kube: KubeApi, team: str) -> None:
    named = {**to_manifest(RUNTIME), "metadata": {"name": "elsewhere", "namespace": team}}
    with pytest.raises(InvalidInput, match=f"names namespace '{team}', and -n names 'default'"):
        apply(named, "-n", "default")
    assert apply(named, "--context", "test") == "created"
    assert stored(kube, team, "ModelRuntime", "elsewhere")


# --- looking ---------------------------------------------------------------------------------------------------------


def test_history_begins_with_the_attempts_that_the_status_has_forgotten(
    kube: KubeApi, world: KubeWorld, team: str
) -> None:
    body = stored(kube, team, "ModelRollout", f"{NAME}-v1-1")
    old = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": {"name": f"{NAME}-v0-0"}}
    kube.kubectl("create", "-f", "-", namespace=team, stdin=json.dumps(old | {"spec": body["spec"]}))
    status = {**body["status"], "phase": "RolledBack", "reason": "Aborted", "message": "Aborted by carol."}
    status |= {"startedAt": "2026-01-01T00:00:00.000000Z", "endedAt": "2026-01-01T01:00:00.000000Z"}
    patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    kube.kubectl("patch", "mro", f"{NAME}-v0-0", *patch, namespace=team)
    rows = json.loads(run("rollout", "history", "-n", team, "-o", "json")[0])
    assert [row["rollout"] for row in rows][:2] == [f"{NAME}-v0-0", f"{NAME}-v1-1"]
    assert (rows[0]["time"], rows[0]["to_phase"], rows[0]["message"]) == (
        "2026-01-01T01:00:00+00:00",
        "RolledBack",
        "Aborted by carol.",
    )
    assert "Aborted by carol." in run("rollout", "history", "-n", team)[0]


def test_a_kubeconfig_and_a_namespace_are_all_that_a_person_needs(world: KubeWorld, team: str, tmp_path: Path) -> None:
    env = {name: os.environ[name] for name in ("PATH", "KUBECONFIG", "TIDEGATE_HOME")}

    def tidegate(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tidegate.cli.main", "rollout", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env | more)

    explained = tidegate("explain", "-n", team)
    assert (explained.returncode, explained.stderr) == (0, "")
    assert "version 2 is in phase Shadow" in explained.stdout
    configured = tidegate("list", TIDEGATE_PROFILE="cluster", TIDEGATE_CLUSTER__NAMESPACE=team)
    assert NAME in configured.stdout
    missing = tidegate("explain", "no-such", "-n", team)
    assert missing.returncode == 3
    assert missing.stderr.splitlines()[1] == f"next: There are: {NAME}."
    local = tidegate("list")
    assert local.returncode == 3
    assert "For a cluster name its namespace with -n" in local.stderr
