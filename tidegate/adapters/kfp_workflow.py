"""What only the workflow of a run tells: that somebody ended it. KFP keeps it, and its API v1beta1 shows it."""

from __future__ import annotations

import json
from typing import Any

from tidegate.adapters.kfp_connection import ask


def was_stopped(client: Any, run: str, seconds: float) -> bool:
    """Whether somebody ended the run. The run's own state says CANCELING for a second, and FAILED for good.

    To end one KFP gives its workflow a deadline of 0 seconds (`TerminateRun`), which stays until a retry.

    Raises:
        ApiException: the server is away, or does not answer this request now.
        urllib3.exceptions.HTTPError: nobody answers.
    """
    answer = ask(client, f"/apis/v1beta1/runs/{run}", "application/json", seconds)
    # An installation without the older API, or one that does not let us ask it, says nothing.
    return answer is not None and stopped_of(answer)


def stopped_of(answer: bytes) -> bool:
    """By the answer of `GET /apis/v1beta1/runs/RUN`; one that cannot be read says nothing."""
    try:
        workflow = json.loads(json.loads(answer)["pipeline_runtime"]["workflow_manifest"])
        return bool(workflow["spec"].get("activeDeadlineSeconds") == 0)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
