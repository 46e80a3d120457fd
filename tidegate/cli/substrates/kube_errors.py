"""What the API server refuses or misses, in words for whoever sits in front of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tidegate.adapters.kube.api import NotThere
from tidegate.adapters.kube.kinds import OWN
from tidegate.adapters.kube.person import PersonApi
from tidegate.errors import Conflict, Denied, InvalidInput, NotFound, TidegateError, Unavailable

_RBAC = re.compile(r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"')
_DENIED_BY_RULE = " denied request: "
"""Between the name of an admission policy and its own words."""
_FORBIDDEN = ": Forbidden: "
"""Of a field, in the message of a rule about changes: the manifest is right, and what is there stands against it."""
_NOBODY = "system:anonymous"


@contextmanager
def told(api: PersonApi) -> Iterator[None]:
    """Errors of the calls within, with what the caller can do about them.

    Raises:
        NotFound: the definitions or the namespace are missing.
        Denied: a permission is missing, or a rule of the cluster says no.
        Conflict: what is there stands against it.
        InvalidInput: the server refuses the object as it is.
        Unavailable: the API server does not answer.
    """
    try:
        yield
    except Denied as error:
        raise _denied(error, api) from None
    except NotThere as error:
        raise missing(api, error) from None
    except Conflict:
        raise
    except InvalidInput as error:
        if _FORBIDDEN in error.problem:
            step = "Apply one of another name beside it, or delete this one first."
            raise Conflict(error.problem, next_step=step) from None
        raise InvalidInput(error.problem, next_step=error.next_step or "Correct it and try again.") from None
    except Unavailable as error:
        step = "Traffic stays where it is. Is this the right cluster (--context), and does 'kubectl version' reach it?"
        raise Unavailable(error.problem, next_step=step) from None


def missing(api: PersonApi, error: NotThere) -> TidegateError:
    """Why something that must be there is not: the kind, the namespace, or the object itself."""
    try:
        api.list(OWN["ModelDeployment"])
    except NotThere:
        return NotFound(
            f"the API server{_of(api)} has no {OWN['ModelDeployment'].plural} of {OWN['ModelDeployment'].version}",
            next_step="Name the cluster with --context, or install the chart's definitions (helm/tidegate/files/crds).",
        )
    except TidegateError:
        return error
    return NotFound(
        f"namespace {api.namespace!r} does not exist{_of(api)}", next_step="Name another one with -n, or create it."
    )


def _denied(error: Denied, api: PersonApi) -> Denied:
    _, by_rule, said = error.problem.partition(_DENIED_BY_RULE)
    if by_rule:
        return Denied(f"a rule of the cluster refuses it: {said}", next_step="Do what the rule asks for; see above.")
    if _NOBODY in error.problem:  # a login command of the kubeconfig that failed leaves no credentials
        return Denied(
            f"the API server{_of(api)} does not know you: the request had no credentials",
            next_step="Log in again: the login command or token of your kubeconfig gave nothing; see 'kubectl get ns'.",
        )
    lacks = _RBAC.search(error.problem)
    if lacks is None:
        return error
    what = lacks["resource"] + (f".{lacks['group']}" if lacks["group"] else "")
    asks = f"{lacks['verb']} {what} -n {api.namespace}"
    return Denied(
        error.problem,
        next_step=f"Have a role bound to you that lets you {lacks['verb']} {what} in namespace {api.namespace!r}; "
        f"'kubectl auth can-i {asks}' then says yes. docs/rollouts.md lists what each command needs.",
    )


def _of(api: PersonApi) -> str:
    return f" of context {api.context}" if api.context else ""
