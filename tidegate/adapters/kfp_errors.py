"""What Kubeflow Pipelines refuses or misses, in words for whoever sits in front of it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import urllib3

from tidegate.errors import Conflict, Denied, InvalidInput, NotFound, TidegateError, Unavailable

_LONGEST = 600
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_MISSING = "ResourceNotFoundError"
"""How the server itself says that it has no such thing, also within a 500. A database that does not answer is one, too,
and reads "Failed to get run: …"."""
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_EXCERPT = 80
_REFUSED = frozenset({301, 302, 303, 307, 308, 401, 403})
_NO_CONTROL = "Check that the file holds one line."


@contextmanager
def told(url: str, doing: str) -> Iterator[None]:
    """Errors of the calls within, as what they mean here.

    Args:
        url: the API, for messages.
        doing: what is being done, as the end of "Kubeflow Pipelines refuses …".

    Raises:
        TidegateError: every error of the client, of the connection and of TLS.
    """
    from kfp_server_api.exceptions import (  # noqa: PLC0415
        ApiException,
        ApiTypeError,
        ApiValueError,
    )

    try:
        yield
    except ApiException as error:
        raise _of_answer(url, doing, error) from None
    except urllib3.exceptions.MaxRetryError as error:
        raise _of_connection(url, error.reason) from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _of_connection(url, error) from None
    except UnicodeDecodeError as error:
        raise _foreign(url, f"bytes that are no text, beginning with {bytes(error.object[:8])!r}") from None
    except (ApiTypeError, ApiValueError) as error:
        raise Unavailable(
            f"{url} answers {doing} with what no Kubeflow Pipelines API answers ({_short(str(error))})",
            next_step="Check the address: TIDEGATE_KFP__URL or --url names the API, not a page before it.",
        ) from None


def refuse_foreign(url: str, text: str, fields: Collection[str]) -> None:
    """A success must be the API's own. The client takes a page of HTML for an answer without content: for an empty KFP.

    Args:
        fields: what an answer of this kind may have; it may leave out all that is empty.

    Raises:
        Unavailable: says what came instead.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, dict) and (not found or not fields or not found.keys().isdisjoint(fields)):
        return
    title = _TITLE.search(text)
    said = f"a page, {_short(title.group(1))!r}" if title else repr(_short(text[:_EXCERPT])) if text else "nothing"
    raise _foreign(url, said)


def _foreign(url: str, said: str) -> Unavailable:
    return Unavailable(
        f"{url} answers, but not as the API of Kubeflow Pipelines does: with {said}",
        next_step="Check that TIDEGATE_KFP__URL or --url names the API, not a dashboard before it, and whether a "
        "login (--cookie-file) or a maintenance page stands in between.",
    )


def _of_answer(url: str, doing: str, error: Any) -> TidegateError:
    said = _message(error)
    status = _meant(int(error.status or 0), said)
    if not status:
        return _of_connection(url, error)
    place = f"Kubeflow Pipelines at {url}"
    if status in _REFUSED:
        return _refusal(place, doing, status, said)
    if status == 409 or "already exist" in said.lower():
        return Conflict(f"{place} has {doing} already: {said}", next_step="Use another name.")
    if status == 400:
        return InvalidInput(f"{place} refuses {doing}: {said}", next_step="Correct what it names.")
    if (status == 404 and _is_of_api(error)) or (status >= 500 and _MISSING in said):
        return NotFound(
            f"{place} does not know {doing}: {said}", next_step="List what there is with 'tidegate pipelines list'."
        )
    step = "Try again; see its API server's log."
    if status == 404:  # of whatever stands before it, or in its place while it is deployed anew
        step = "That is no answer of its API: check TIDEGATE_KFP__URL or --url, and that its API server runs."
    return Unavailable(f"{place} answers {doing} with {status}: {said}", next_step=step)


def _is_of_api(error: Any) -> bool:
    """The API says even "not found" in JSON."""
    try:
        return isinstance(json.loads(error.body or ""), dict)
    except ValueError:
        return False


def _meant(status: int, said: str) -> int:
    """The status that fits: KFP answers a refused upload with 400, and says in words alone that it is a refusal."""
    if status == 400 and "authorization error" in said:
        return 401 if "Unauthenticated" in said else 403
    return status


def _refusal(place: str, doing: str, status: int, said: str) -> Denied:
    if status == 401:
        return Denied(
            f"{place} does not know who asks for {doing} (401): {said}",
            next_step="Give it a fresh token (--token-file; audience pipelines.kubeflow.org) or --cookie-file.",
        )
    if status == 403:
        return Denied(
            f"{place} refuses {doing} (403): {said}",
            next_step="Name a profile namespace that you may use (--kfp-namespace), or have its owner add you.",
        )
    return Denied(
        f"{place} sends {doing} to a login page ({status})",
        next_step="Give it a session cookie (--cookie-file) or a token (--token-file).",
    )


def _of_connection(url: str, error: Any) -> TidegateError:
    said = _short(str(getattr(error, "reason", "") or error))
    if "CERTIFICATE_VERIFY_FAILED" in said or "certificate verify failed" in said.lower():
        return Unavailable(
            f"the certificate of Kubeflow Pipelines at {url} cannot be verified: {said}",
            next_step="Name the authority that signed it with --ca-file or TIDEGATE_KFP__CA_PATH.",
        )
    if "SSL" in said or "WRONG_VERSION_NUMBER" in said:
        return Unavailable(
            f"Kubeflow Pipelines at {url} cannot be talked to by TLS: {said}",
            next_step="Check whether the address is http:// or https://.",
        )
    return Unavailable(
        f"Kubeflow Pipelines at {url} does not answer: {said}",
        next_step="Check TIDEGATE_KFP__URL or --url; from outside the cluster: "
        "kubectl -n kubeflow port-forward svc/ml-pipeline 8888, then --url http://127.0.0.1:8888.",
    )


def _message(error: Any) -> str:
    body = error.body
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or error.reason or "")
    try:
        value = json.loads(text)
        text = (
            str(value.get("message") or value.get("error_message") or value.get("error") or text)
            if isinstance(value, dict)
            else text
        )
    except ValueError:
        pass
    return _short(text)


def _short(text: str) -> str:
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def read_secret(path: Any, what: str) -> str:
    """A secret's file as one line.

    Raises:
        InvalidInput: it cannot be read, is empty or has more than a header may have. The value is never told.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "it is no text"
        raise InvalidInput(
            f"the {what} file {path} cannot be read: {problem}", next_step="Name another file."
        ) from None
    if not text:
        raise InvalidInput(f"the {what} file {path} is empty", next_step="Log in again, or wait until it is written.")
    if _CONTROL.search(text) or not text.isascii():
        raise InvalidInput(f"the {what} file {path} has characters that no header may have", next_step=_NO_CONTROL)
    return str(text)
