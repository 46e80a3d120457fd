"""Where a command acts, and by which kubeconfig."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.adapters.kube import person
from tidegate.adapters.kube.person import PersonApi
from tidegate.cli import substrates
from tidegate.cli.substrates.cluster import ClusterRollouts
from tidegate.cli.substrates.local import LocalRollouts
from tidegate.cli.substrates.port import Deployment
from tidegate.db import Database
from tidegate.errors import ContractBroken, InvalidInput, NotFound
from tidegate.platform_file import write_platform_file
from tidegate.settings import load_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a platform, and with a kubeconfig whose context 'prod' is the current one."""
    for name in ("TIDEGATE_PROFILE", "TIDEGATE_CLUSTER__NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config", {"prod": "shop", "lab": None}, "prod")))
    Database.open(load_settings().database_url)
    return tmp_path


def kubeconfig(path: Path, contexts: dict[str, str | None], current: str | None) -> Path:
    """A context is named as its cluster and its user; its value is its namespace."""
    made: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}
    for name, namespace in contexts.items():
        made["clusters"].append({"name": name, "cluster": {"server": f"https://{name}.invalid"}})
        made["users"].append({"name": name, "user": {"token": name}})
        context = {"cluster": name, "user": name} | ({"namespace": namespace} if namespace is not None else {})
        made["contexts"].append({"name": name, "context": context})
    path.write_text(yaml.safe_dump(made | ({"current-context": current} if current is not None else {})))
    return path


def place(namespace: str = "", context: str = "") -> str:
    return substrates.rollouts(namespace, context).place


def test_without_a_word_about_a_cluster_it_is_this_machine(home: Path) -> None:
    assert isinstance(substrates.rollouts(), LocalRollouts)
    assert place() == ""


def test_a_namespace_a_context_or_the_profile_name_a_cluster(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place("team-a") == " in namespace 'team-a' (context prod)"
    assert place(context="lab") == " in namespace 'default' (context lab)"
    assert place("team-a", "lab") == " in namespace 'team-a' (context lab)"
    monkeypatch.setenv("TIDEGATE_PROFILE", "cluster")
    assert place() == " in namespace 'shop' (context prod)"
    monkeypatch.setenv("TIDEGATE_CLUSTER__NAMESPACE", "team-b")
    assert place() == " in namespace 'team-b' (context prod)"
    assert place("team-a") == " in namespace 'team-a' (context prod)"
    assert place(context="lab") == " in namespace 'default' (context lab)"


def test_the_profile_can_stand_in_the_platforms_file(home: Path) -> None:
    write_platform_file(home, {"profile": "cluster"})
    assert isinstance(substrates.rollouts(), ClusterRollouts)


def test_a_profile_that_there_is_not(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_PROFILE", "clutser")
    with pytest.raises(InvalidInput, match="TIDEGATE_PROFILE='clutser'"):
        substrates.rollouts()


def test_a_machine_without_a_platform_hears_of_clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    with pytest.raises(NotFound, match="there is no database") as caught:
        substrates.rollouts()
    assert "For a cluster name its namespace with -n" in caught.value.next_step


def test_several_files_are_one_kubeconfig(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = kubeconfig(home / "more", {"edge": "rack"}, None)
    monkeypatch.setenv("KUBECONFIG", f"{home / 'config'}:{home / 'none'}:{more}")
    assert place(context="edge") == " in namespace 'rack' (context edge)"


def test_a_kubeconfig_without_a_current_context_wants_one_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(home / "config", {"prod": None, "lab": None}, None)))
    with pytest.raises(InvalidInput, match="has no current context") as caught:
        place("team-a")
    assert "there are: lab, prod" in caught.value.next_step
    assert "(context lab)" in place("team-a", "lab")


@pytest.mark.parametrize("text", ["", "just words", "[1, 2]", "{broken", "contexts: [{name: a}]\ncurrent-context: a"])
def test_a_file_that_is_no_kubeconfig(home: Path, text: str) -> None:
    (home / "config").write_text(text)
    with pytest.raises(InvalidInput, match=r"the kubeconfig .* cannot be used"):
        place("team-a")


def test_in_a_pod_its_account_serves_when_there_is_no_kubeconfig(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(person, "NAMESPACE_FILE", home / "config")
    asked = []
    monkeypatch.setattr(PersonApi, "connect", lambda namespace, seconds: asked.append(namespace))
    PersonApi.of_kubeconfig("team-a")
    assert asked == ["team-a"]
    with pytest.raises(InvalidInput, match="there is no kubeconfig"):
        PersonApi.of_kubeconfig("team-a", "lab")


def test_a_state_of_another_release_is_said_to_be_one(home: Path) -> None:
    rollouts = substrates.rollouts("team-a")
    with pytest.raises(ContractBroken, match=r"status\.state of ModelDeployment 'chat' cannot be read"):
        rollouts.state(Deployment("chat", {"state": {"deployment": "chat", "schemaVersion": 2}}))
