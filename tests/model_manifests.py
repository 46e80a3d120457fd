"""What tests on a cluster, with nodes or without, ask the platform to serve."""

from __future__ import annotations

from typing import Any

from tests.model_versions import MODEL

NAME, RUNTIME = "intent-assistant", "smollm2"


def deployment(**rollout: Any) -> dict[str, Any]:
    """A plan that decides within a minute of traffic; `rollout` replaces parts of it. Its last step wants approval."""
    plan = {
        "steps": [
            {"name": "shadow", "weight": 0, "minPairs": 20},
            {"name": "small", "weight": 20, "minPairs": 8},
            {"name": "half", "weight": 50, "minPairs": 8, "approval": "Required"},
        ],
        "bakeSeconds": 3,
        "deadlineSeconds": 600,
        "maxPairs": 600,
        "mirror": {"percent": 100, "maxConcurrency": 8},
        "metrics": [
            {"name": "exact-match", "mode": "NonInferiority", "comparison": "Paired", "maxDropPoints": "15"},
            {"name": "error-rate", "mode": "NoHarm", "comparison": "Concurrent", "maxIncreasePoints": "5"},
        ],
    }
    return {
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": NAME},
        "spec": {
            "runtimeRef": {"name": RUNTIME},
            "model": {"name": MODEL, "source": {"type": "Alias", "alias": "challenger"}},
            "rollout": plan | rollout,
        },
    }
