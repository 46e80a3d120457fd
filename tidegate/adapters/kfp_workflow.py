"""What only the workflow of a run tells: that somebody ended it. KFP keeps it, and its API v1beta1 shows it."""

from __future__ import annotations

import json
from typing import Any

from tidegate.adapters.kfp_connection import NOT_NOW, ask


def was_stopped(client: Any, run: str, seconds: float) -> bool:
    """Whether somebody ended the run. The run's own state says CANCELING for a second, and FAILED for good.

    To end one KFP gives its workflow a deadline of 0 seconds (`TerminateRun`), which stays until a retry.

    Raises:
        ApiException: the server is away, or does not answer this request now.
        urllib3.exceptions.HTTPError: nobody answers.
    """
    from kfp_server_api.exceptions import ApiException  # noqa: PLC0415

    try:
        return stopped_of(ask(client, f"/apis/v1beta1/runs/{run}", "application/json", seconds))
    except ApiException as error:
        if error.status and error.status not in NOT_NOW:
            return False  # an installation without the older API, or one that does not let us ask it
        raise


def stopped_of(answer: bytes) -> bool:
    """By the answer of `GET /apis/v1beta1/runs/RUN`; one that cannot be read says nothing."""
    try:
        workflow = json.loads(json.loads(answer)["pipeline_runtime"]["workflow_manifest"])
        return bool(workflow["spec"].get("activeDeadlineSeconds") == 0)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
