"""What a pod wrote, by KFP's log endpoint, which the generated client does not know."""

from __future__ import annotations

import json
from typing import Any, Final

from tidegate.adapters.kfp_connection import ask
from tidegate.errors import Unavailable

_ERROR: Final = '{"error_message":'
_FIELDS: Final = frozenset({"error_message", "error_details"})
_NOT_ASKED: Final = ("due to run fetching error", "due to namespace fetching error")
"""It did not come as far as to look for the log …"""
_NO_RUN: Final = "ResourceNotFoundError"
"""… and not because there is no such run: its database does not answer."""


def fetch_log(client: Any, run: str, pod: str, seconds: float) -> str | None:
    """What the main container of a run's pod wrote; None when neither pod nor archive has it any more.

    Args:
        client: a connected `kfp.Client`.
        seconds: within which the next part of the answer must come.

    Raises:
        Unavailable: nobody has looked; the log may be there.
        ApiException: the server is away, or does not answer this request now.
        urllib3.exceptions.HTTPError: nobody answers.
    """
    answer = ask(client, f"/apis/v1alpha1/runs/{run}/nodes/{pod}/log", "*/*", seconds)
    return log_of(answer.decode("utf-8", "replace")) if answer is not None else None


def log_of(answer: str) -> str | None:
    """The log; None when there is none.

    The endpoint says 200 before it looks. What kept it from the log, or from the rest of it, stands in JSON at the end.

    Raises:
        Unavailable: nobody has looked; the log may be there.
    """
    at = answer.rfind(_ERROR)
    problem = _problem(answer[at:]) if at >= 0 else None
    if problem is None:
        return answer
    if at > 0:
        return answer[:at]
    if any(sign in problem for sign in _NOT_ASKED) and _NO_RUN not in problem:
        raise Unavailable(f"Kubeflow Pipelines cannot look for a log: {problem[:300]}", next_step="Try again.")
    return None


def _problem(text: str) -> str | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return str(found["error_message"]) if found.keys() <= _FIELDS else None
