"""What the commands do on a cluster alone: what is missing, desired state, and looking."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.integration.controller.kube_world import KubeWorld
from tests.integration.controller.people import (
    apply,
    be,
    manifest,
    run,
    stored,
)
from tests.integration.controller.world import NAME, RUNTIME
from tests.kube_api import KubeApi
from tests.kube_fixtures import programs_or_skip
from tidegate.domain.resources import to_manifest
from tidegate.errors import Conflict, Denied, InvalidInput, NotFound

pytestmark = pytest.mark.integration


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
            assert "helm/tidegate/files/crds" in caught.value.next_step
        with pytest.raises(NotFound, match="has no modeldeployments of tidegate"):
            apply(manifest(), "-n", "default")


# --- desired state ---------------------------------------------------------------------------------------------------


def test_a_dry_run_is_the_servers(kube: KubeApi, applied: KubeWorld, team: str) -> None:
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
    kube: KubeApi, applied: KubeWorld, team: str
) -> None:
    applied.look()
    first = applied.state.history[0].rollout
    body = stored(kube, team, "ModelRollout", first)
    old = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": {"name": f"{NAME}-v0-0"}}
    kube.kubectl("create", "-f", "-", namespace=team, stdin=json.dumps(old | {"spec": body["spec"]}))
    status = {**body["status"], "phase": "RolledBack", "reason": "Aborted", "message": "Aborted by carol."}
    status |= {"startedAt": "2026-01-01T00:00:00.000000Z", "endedAt": "2026-01-01T01:00:00.000000Z"}
    patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    kube.kubectl("patch", "mro", f"{NAME}-v0-0", *patch, namespace=team)
    rows = json.loads(run("rollout", "history", "-n", team, "-o", "json")[0])
    assert [row["rollout"] for row in rows][:2] == [f"{NAME}-v0-0", first]
    assert (rows[0]["time"], rows[0]["to_phase"], rows[0]["message"]) == (
        "2026-01-01T01:00:00+00:00",
        "RolledBack",
        "Aborted by carol.",
    )
    assert "Aborted by carol." in run("rollout", "history", "-n", team)[0]


def test_a_kubeconfig_and_a_namespace_are_all_that_a_person_needs(
    applied: KubeWorld, team: str, tmp_path: Path
) -> None:
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
