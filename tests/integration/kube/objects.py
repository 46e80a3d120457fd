"""Objects to send to an API server, and what it says of them."""

from __future__ import annotations

import copy
from typing import Any

import httpx

from tests.kube_api import KubeApi
from tidegate.domain.kinds import CLUSTER_KINDS

GROUP = "/apis/tidegate.dev/v1alpha1"
DIGEST = "sha256:" + "a" * 64
NOW = "2026-03-01T12:00:00.000000Z"

SPECS: dict[str, dict[str, Any]] = {
    "ModelRuntime": {"baseModel": {"uri": "builtin:smollm2-135m-instruct"}},
    "ModelDeployment": {
        "runtimeRef": {"name": "local-cpu"},
        "model": {"name": "banking-intent", "source": {"type": "Alias", "alias": "challenger"}},
        "rollout": {
            "steps": [{"name": "shadow", "weight": 0, "minPairs": 40}, {"name": "half", "weight": 50}],
            "metrics": [
                {"name": "exact-match", "mode": "NonInferiority", "comparison": "Paired", "maxDropPoints": "5"},
                {"name": "error-rate", "mode": "NoHarm", "comparison": "Concurrent", "maxIncreasePoints": "0.5"},
            ],
        },
    },
    "RolloutAction": {"deployment": "intent-assistant", "action": "Approve", "requestedBy": "alice"},
    "ModelRouting": {
        "deployment": "intent-assistant",
        "model": "intent-assistant",
        "epoch": 5,
        "leaderEpoch": 2,
        "salt": "intent-assistant-v8-4",
        "rollout": "intent-assistant-v8-4",
        "step": "half",
        "arms": [
            {
                "role": role,
                "version": version,
                "weight": weight,
                "target": "http://engine:8000",
                "adapter": f"banking-intent/{version}",
                "adapterDigest": DIGEST,
                "prompt": {"system": "Answer with one intent.", "labels": ["card_arrival", "top_up"]},
                "generation": {"maxTokens": 16, "temperature": "0.7", "stop": ["\n"]},
            }
            for role, version, weight in (("Stable", "7", 90), ("Candidate", "8", 10))
        ],
        "updatedAt": NOW,
    },
}
SPECS["ModelRollout"] = {
    "deployment": "intent-assistant",
    "model": "banking-intent",
    "candidate": "8",
    "stable": "7",
    "epoch": 4,
    "plan": SPECS["ModelDeployment"]["rollout"],
}


def thing(kind: str, name: str = "intent-assistant", **spec: Any) -> dict[str, Any]:
    """A valid object of the kind; `spec` replaces fields of its spec, and None takes one out."""
    wanted = copy.deepcopy(SPECS[kind]) | spec
    return {
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {key: value for key, value in wanted.items() if value is not None},
    }


def path(kind: str, namespace: str, name: str = "", sub: str = "") -> str:
    parts = [GROUP, "namespaces", namespace, CLUSTER_KINDS[kind].plural, name, sub]
    return "/".join(part for part in parts if part)


def create(api: KubeApi, namespace: str, body: dict[str, Any], user: str = "admin") -> httpx.Response:
    """POST; unknown fields are refused, as kubectl has it by default."""
    return api.request("POST", path(body["kind"], namespace) + "?fieldValidation=Strict", body, user=user)


def made(api: KubeApi, namespace: str, body: dict[str, Any], user: str = "admin") -> dict[str, Any]:
    """The object as it was created; raises with the API server's message when it was not."""
    return accepted(create(api, namespace, body, user))


def merge(
    api: KubeApi, namespace: str, body: dict[str, Any], patch: dict[str, Any], *, sub: str = "", user: str = "admin"
) -> httpx.Response:
    """A JSON merge patch of an object or of its status."""
    where = path(body["kind"], namespace, body["metadata"]["name"], sub)
    return api.request("PATCH", where, patch, user=user, content_type="application/merge-patch+json")


def status(
    api: KubeApi, namespace: str, body: dict[str, Any], content: dict[str, Any], user: str = "operator"
) -> httpx.Response:
    """A JSON merge patch of the status."""
    return merge(api, namespace, body, {"status": content}, sub="status", user=user)


def accepted(answer: httpx.Response) -> dict[str, Any]:
    assert answer.is_success, answer.json()["message"]
    found: dict[str, Any] = answer.json()
    return found


def refused(answer: httpx.Response) -> str:
    """The message that a user sees."""
    assert not answer.is_success, f"accepted: {answer.text}"
    return str(answer.json()["message"])
