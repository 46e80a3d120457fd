"""What the commands do on a cluster alone: whose name is on record, what is refused, and who does not answer."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import certifi
import pytest
import yaml

from tests.integration.controller.kube_world import KubeWorld
from tests.integration.controller.people import (
    REQUESTED_BY,
    actions,
    apply,
    be,
    be_account,
    controlled,
    manifest,
    run,
    stored,
)
from tests.integration.controller.world import NAME
from tests.kube_api import KubeApi
from tidegate.adapters.kube.kinds import ApiKind, Object
from tidegate.adapters.kube.person import PersonApi
from tidegate.cli import asking
from tidegate.cli.substrates import cluster
from tidegate.cli.substrates.cluster import ClusterRollouts
from tidegate.errors import Denied, InvalidInput, NotFound, Unavailable

pytestmark = pytest.mark.integration


# --- who asks --------------------------------------------------------------------------------------------------------


def test_who_asks_is_whom_the_api_server_knows(
    kube: KubeApi, applied: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with controlled(applied):
        paused, note = run("rollout", "pause", NAME, "-n", team, "-r", "lunch")
        be(kube, "bob", monkeypatch)
        aborted, _ = run("rollout", "abort", NAME, "-n", team, "--reason", "wrong data")
    assert "Paused by alice (lunch)" in paused
    assert f"asked by alice in namespace '{team}' (context test)\n" in note
    assert "Aborted by bob (wrong data)." in aborted
    asked = {item["spec"]["action"]: item["spec"] for item in actions(kube, team)}
    assert (asked["Pause"]["requestedBy"], asked["Abort"]["requestedBy"]) == ("alice", "bob")
    assert asked["Pause"]["rollout"].startswith(f"{NAME}-v2-")
    assert "rollout" not in asked["Abort"]
    rows = json.loads(run("rollout", "history", "-n", team, "-o", "json")[0])
    assert {row["by"] for row in rows} == {"controller", "alice", "bob"}


def test_nobody_asks_under_anothers_name(applied: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PersonApi, "whoami", lambda _: "bob")
    with pytest.raises(Denied, match=r"requestedBy is bob, but alice asks") as caught:
        run("rollout", "promote", "-n", team)
    assert caught.value.exit_code == 9
    assert "a rule of the cluster refuses it" in caught.value.problem


def test_the_first_and_the_second_person_are_two(
    kube: KubeApi, applied: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch
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
    kube: KubeApi, applied: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch
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
    kube: KubeApi, applied: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.2)
    be_account(kube, team, {"modeldeployments": "get,list", "rolloutactions": "create,get"}, monkeypatch)
    with pytest.raises(Denied, match=r"it could not be withdrawn: .* it is carried out when the controller is back"):
        run("rollout", "promote", "-n", team)
    assert [item["spec"]["action"] for item in actions(kube, team)] == ["Promote"]


# --- who does not answer ---------------------------------------------------------------------------------------------


def test_without_an_operator_the_lease_tells_since_when(
    kube: KubeApi, applied: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch
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
    with controlled(applied):
        assert "RolledBack" in run("rollout", "watch", "-n", team)[0]
    assert applied.state.history[-2].by == "alice"


def test_a_request_that_was_read_before_it_was_withdrawn_is_answered(
    applied: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_RACE_SECONDS", 30.0)  # of a busy machine
    rollouts = ClusterRollouts(PersonApi.of_kubeconfig(team))
    asked = rollouts.submit(NAME, "pause", "", None)
    applied.look()  # the operator's watch has seen it …
    late = threading.Timer(0.3, applied.controller.tick)
    late.start()
    answer = rollouts.withdraw(asked)  # … and it is deleted before it is acted on
    late.join()
    assert answer is not None
    assert answer.text.startswith("Paused by alice")


def test_a_request_whose_answer_is_lost_arrives_once(
    kube: KubeApi, applied: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = PersonApi.create, []

    def create(self: PersonApi, kind: ApiKind, body: Object) -> Object:
        calls.append(body)
        made = real(self, kind, body)
        if len(calls) == 1:
            raise Unavailable("the connection broke")
        return made

    monkeypatch.setattr(PersonApi, "create", create)
    with controlled(applied):
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


# --- names that are none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", " ", ".", "..", "../modelruntimes", "one/status", "one?dryRun=All", "one#", "Ü"])
def test_a_name_that_is_none_deletes_and_asks_nothing(kube: KubeApi, applied: KubeWorld, team: str, name: str) -> None:
    """`tidegate delete "$NAME"` with an unset variable must not mean all of them."""
    with pytest.raises(InvalidInput):
        run("delete", name, "-n", team)
    with pytest.raises(InvalidInput):
        run("delete", name, "--kind", "ModelRuntime", "-n", team)
    for command in ("abort", "explain"):
        with pytest.raises((InvalidInput, NotFound)):
            run("rollout", command, name or " ", "-n", team)
    assert "deletionTimestamp" not in stored(kube, team)["metadata"]
    assert actions(kube, team) == []


@pytest.mark.parametrize("namespace", ["a/b", "A_B", "../..", "x/modeldeployments/victim?"])
def test_a_namespace_that_is_none_is_refused(applied: KubeWorld, namespace: str) -> None:
    with pytest.raises(InvalidInput, match="is no namespace's name"):
        run("rollout", "list", "-n", namespace)


def test_a_token_with_a_line_break_is_sent_without_it_and_one_that_cannot_be_sent_is_not_shown(
    kube: KubeApi, applied: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_account(kube, team, {"modeldeployments": "get,list"}, monkeypatch)
    path = kube.folder / f"{team}.limited"
    config = yaml.safe_load(path.read_text())
    user = config["users"][0]["user"]
    good = user["token"].strip()
    user["token"] = f"{good}\n"
    path.write_text(yaml.safe_dump(config))
    assert NAME in run("rollout", "list", "-n", team)[0]
    user["token"] = f"{good[:20]}\nsecret-part"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(InvalidInput, match="token cannot be sent") as caught:
        run("rollout", "list", "-n", team)
    assert "secret-part" not in str(caught.value)


def use(kubeconfig: Object, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "config").write_text(yaml.safe_dump(kubeconfig))
    monkeypatch.setenv("KUBECONFIG", str(folder / "config"))


def test_a_login_that_gave_nothing_is_told_from_a_missing_right(
    kube: KubeApi, applied: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = yaml.safe_load(kube.kubeconfig("alice", team).read_text())
    config["users"][0]["user"] = {}
    use(config, tmp_path, monkeypatch)
    with pytest.raises(Denied) as caught:
        run("rollout", "list", "-n", team)
    assert "role" not in str(caught.value)


def test_a_certificate_authority_that_is_another_is_named(
    kube: KubeApi, applied: KubeWorld, team: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = yaml.safe_load(kube.kubeconfig("alice", team).read_text())
    config["clusters"][0]["cluster"].pop("certificate-authority-data", None)
    config["clusters"][0]["cluster"]["certificate-authority"] = certifi.where()
    use(config, tmp_path, monkeypatch)
    with pytest.raises(Unavailable, match=r"(?i)certificate"):
        run("rollout", "list", "-n", team)
