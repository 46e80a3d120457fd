"""What people see: columns and explanations, by the real kubectl."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.integration.kube.objects import accepted, made, status, thing
from tests.kube_api import KubeApi
from tidegate.domain.kinds import CLUSTER_KINDS

pytestmark = pytest.mark.integration


def _table(text: str) -> list[list[str]]:
    """Rows of cells: columns are two spaces or more apart."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.strip().splitlines()]


def _get(kube: KubeApi, namespace: str, *what: str) -> dict[str, str]:
    head, row = _table(kube.kubectl("get", *what, namespace=namespace).stdout)
    return dict(zip(head, row, strict=True))


def test_a_deployment_under_rollout_in_one_line(kube: KubeApi, namespace: str) -> None:
    body = thing("ModelDeployment")
    made(kube, namespace, body)
    seen: dict[str, Any] = {
        "phase": "Step",
        "stable": "7",
        "candidate": "8",
        "step": "half",
        "weight": 50,
        "pairs": 120,
        "eta": "12m",
        "reason": "Collecting",
        "message": "120 of 300 pairs.",
    }
    accepted(status(kube, namespace, body, seen))
    row = _get(kube, namespace, "mdep")
    assert list(row) == ["NAME", "STABLE", "CANDIDATE", "STEP", "WEIGHT", "PAIRS", "ETA", "REASON", "AGE"]
    assert list(row.values())[:-1] == ["intent-assistant", "7", "8", "half", "50", "120", "12m", "Collecting"]
    wide = _get(kube, namespace, "mdep", "-o", "wide")
    assert (wide["PHASE"], wide["MESSAGE"]) == ("Step", "120 of 300 pairs.")


def test_routing_shows_both_versions_and_the_candidates_weight(kube: KubeApi, namespace: str) -> None:
    made(kube, namespace, thing("ModelRouting"))
    row = _get(kube, namespace, "modelrouting")
    assert {key: row[key] for key in ("MODEL", "EPOCH", "STABLE", "CANDIDATE", "WEIGHT")} == {
        "MODEL": "intent-assistant",
        "EPOCH": "5",
        "STABLE": "7",
        "CANDIDATE": "8",
        "WEIGHT": "10",
    }
    assert re.fullmatch(r"\d+[dhy]\d*[dh]?", row["UPDATED"]) or row["UPDATED"].startswith("<invalid>")


def test_an_action_shows_who_asked_and_what_was_answered(kube: KubeApi, namespace: str) -> None:
    body = thing("RolloutAction", reason="looks right")
    made(kube, namespace, body, "alice")
    accepted(status(kube, namespace, body, {"accepted": True, "answer": "Step half approved by alice."}))
    row = _get(kube, namespace, "ract")
    assert row["BY"] == "alice"
    assert row["ACCEPTED"] == "true"
    assert row["ANSWER"] == "Step half approved by alice."


def test_rollouts_and_actions_are_found_by_their_deployment(kube: KubeApi, namespace: str) -> None:
    made(kube, namespace, thing("ModelRollout", "intent-assistant-v8-4"))
    made(kube, namespace, thing("ModelRollout", "other-v2-1", deployment="other"))
    found = kube.kubectl("get", "mro", "--field-selector=spec.deployment=other", "-o", "name", namespace=namespace)
    assert found.stdout.split() == ["modelrollout.tidegate.dev/other-v2-1"]


def test_everything_is_in_one_category(kube: KubeApi, namespace: str) -> None:
    for kind in CLUSTER_KINDS:
        made(kube, namespace, thing(kind), "alice" if kind == "RolloutAction" else "admin")
    found = kube.kubectl("get", "tidegate", "-o", "name", namespace=namespace).stdout.split()
    assert found == sorted(f"{kind.lower()}.tidegate.dev/intent-assistant" for kind in CLUSTER_KINDS)


@pytest.mark.parametrize("kind", CLUSTER_KINDS)
def test_every_field_that_people_read_is_explained(kube: KubeApi, kind: str) -> None:
    plural = CLUSTER_KINDS[kind].plural
    for path in _objects(kube, plural):
        shown = kube.kubectl("explain", path).stdout
        assert "<empty>" not in shown, shown
        assert "<no description>" not in shown, shown


def _objects(kube: KubeApi, path: str) -> set[str]:
    """The path and all objects in it but metadata and the controller's own state: each shows its fields."""
    shown = kube.kubectl("explain", path).stdout
    nested = re.findall(r"^  (\w+)\t<(?:\[\])?Object>", shown, re.MULTILINE)
    found = {path}
    for name in nested:
        if name not in {"metadata", "state"}:
            found |= _objects(kube, f"{path}.{name}")
    return found


def test_explanations_read_well(kube: KubeApi) -> None:
    shown = kube.kubectl("explain", "mdep.spec.rollout.steps").stdout
    assert "    In order." in shown
    assert "  weight\t<integer> -required-\n    Percent of users; 0 is a shadow step. Weights never fall." in shown
    assert "enum: None, Required, SecondPerson" in shown
