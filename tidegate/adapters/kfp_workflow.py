"""What only the workflow of a run tells: that somebody ended it. KFP keeps it, and its API v1beta1 shows it."""

from __future__ import annotations

import json
from typing import Any, Final

from tidegate.adapters.kfp_connection import CONNECT_SECONDS

_GONE: Final = frozenset({404, 501})
"""No such run, or an installation without the older API."""


def ask(client: Any, path: str, accept: str, seconds: float) -> bytes:
    """What an address answers that the generated client does not know.

    Args:
        client: a connected `kfp.Client`.
        seconds: within which the next part of the answer must come.

    Raises:
        ApiException: an answer that is no success.
        urllib3.exceptions.HTTPError: nobody answers.
    """
    answer = client._run_api.api_client.call_api(
        path,
        "GET",
        header_params={"Accept": accept},
        auth_settings=["Bearer"] if client._existing_config.api_key else [],
        _return_http_data_only=True,
        _preload_content=False,
        _request_timeout=(CONNECT_SECONDS, seconds),
    )
    return bytes(answer.data)


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
        if error.status in _GONE:
            return False
        raise


def stopped_of(answer: bytes) -> bool:
    """By the answer of `GET /apis/v1beta1/runs/RUN`; one that cannot be read says nothing."""
    try:
        workflow = json.loads(json.loads(answer)["pipeline_runtime"]["workflow_manifest"])
        return bool(workflow["spec"].get("activeDeadlineSeconds") == 0)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
