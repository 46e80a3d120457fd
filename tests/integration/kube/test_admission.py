"""Nobody asks under another's name."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import yaml

from tests.integration.kube.objects import accepted, create, made, merge, refused, status, thing
from tests.kube_api import KubeApi

pytestmark = pytest.mark.integration
NAME = "tidegate.dev/requested-by"


def _named(who: str | None) -> dict[str, Any]:
    body = thing("ModelDeployment")
    if who is not None:
        body["metadata"]["annotations"] = {NAME: who}
    return body


def _change(kube: KubeApi, namespace: str, user: str, *, name: Any = "", bake: int | None = None) -> httpx.Response:
    """A patch of the deployment: `name` sets the annotation, None takes it away; `bake` changes the spec."""
    patch: dict[str, Any] = {} if name == "" else {"metadata": {"annotations": {NAME: name}}}
    if bake is not None:
        patch["spec"] = {"rollout": {"bakeSeconds": bake}}
    return merge(kube, namespace, thing("ModelDeployment"), patch, user=user)


def test_an_action_is_asked_under_ones_own_name(kube: KubeApi, namespace: str) -> None:
    body = thing("RolloutAction")
    said = refused(create(kube, namespace, body, "bob"))
    assert "spec.requestedBy is alice, but bob asks: name yourself there (kubectl auth whoami)" in said
    made(kube, namespace, body, "alice")


def test_not_even_an_administrator_asks_under_anothers_name(kube: KubeApi, namespace: str) -> None:
    assert "spec.requestedBy is alice, but admin asks" in refused(create(kube, namespace, thing("RolloutAction")))


def test_people_do_not_answer_actions(kube: KubeApi, namespace: str) -> None:
    body = thing("RolloutAction")
    made(kube, namespace, body, "alice")
    assert "cannot patch resource" in refused(status(kube, namespace, body, {"accepted": True}, user="alice"))


def test_a_deployment_is_made_under_ones_own_name_or_none(kube: KubeApi, namespace: str) -> None:
    said = refused(create(kube, namespace, _named("alice"), "bob"))
    assert f"annotation {NAME} is alice, but bob asks: name yourself there" in said
    made(kube, namespace, _named("bob"), "bob")


def test_a_deployment_without_the_name_takes_changes_from_everybody(kube: KubeApi, namespace: str) -> None:
    made(kube, namespace, _named(None), "alice")
    accepted(_change(kube, namespace, "bob", bake=1))
    assert "is alice, but bob asks" in refused(_change(kube, namespace, "bob", name="alice"))
    accepted(_change(kube, namespace, "bob", name="bob"))


def test_a_change_goes_by_the_name_of_who_makes_it(kube: KubeApi, namespace: str) -> None:
    made(kube, namespace, _named("alice"), "alice")
    said = refused(_change(kube, namespace, "bob", bake=1))
    assert f"annotation {NAME} is alice, but bob changes the spec: name yourself there in the same request" in said
    assert "is carol, but bob asks" in refused(_change(kube, namespace, "bob", bake=1, name="carol"))
    accepted(_change(kube, namespace, "bob", bake=1, name="bob"))
    accepted(_change(kube, namespace, "bob", bake=2))
    assert "is bob, but alice changes the spec" in refused(_change(kube, namespace, "alice", bake=3))


def test_the_name_cannot_be_taken_away(kube: KubeApi, namespace: str) -> None:
    made(kube, namespace, _named("alice"), "alice")
    for user in ("alice", "bob"):
        said = refused(_change(kube, namespace, user, name=None))
        assert f"annotation {NAME} was alice and cannot be taken away" in said
        assert f"set it to {user}" in said


def test_what_changes_no_spec_needs_no_name(kube: KubeApi, namespace: str) -> None:
    body = _named("alice")
    made(kube, namespace, body, "alice")
    accepted(merge(kube, namespace, body, {"metadata": {"finalizers": ["tidegate.dev/operator"]}}, user="operator"))
    accepted(status(kube, namespace, body, {"phase": "Pending"}))
    accepted(merge(kube, namespace, body, {"metadata": {"labels": {"team": "cards"}}}, user="bob"))


@pytest.mark.parametrize("how", [[], ["--server-side"]], ids=["client-side", "server-side"])
def test_kubectl_apply_keeps_the_name_in_the_manifest(kube: KubeApi, namespace: str, how: list[str]) -> None:
    def apply(user: str, body: dict[str, Any], *more: str) -> str:
        arguments = ("apply", *how, *more, "-f", "-")
        done = kube.kubectl(*arguments, user=user, namespace=namespace, stdin=yaml.safe_dump(body), check=False)
        return done.stdout + done.stderr

    body = _named("alice")
    assert "serverside-applied" in apply("alice", body) or not how
    body["spec"]["rollout"]["bakeSeconds"] = 9
    force = ["--force-conflicts"] if how else []
    assert "is alice, but bob changes the spec" in apply("bob", body, *force)
    body["metadata"]["annotations"][NAME] = "bob"
    assert "applied" in apply("bob", body, *force) or "configured" in apply("bob", body, *force)
    stored = kube.kubectl("get", "mdep", "intent-assistant", "-o", "yaml", namespace=namespace).stdout
    assert yaml.safe_load(stored)["spec"]["rollout"]["bakeSeconds"] == 9
