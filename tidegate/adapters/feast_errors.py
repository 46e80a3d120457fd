"""What Feast and the clients below it raise, as errors of tidegate."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from pydantic import ValidationError

from tidegate.certificates import unverified
from tidegate.errors import Denied, InvalidInput, TidegateError, Unavailable

_CLIENTS = ("redis", "botocore", "psycopg")
"""Packages whose errors are no kind of OSError, and mean that a part did not do what it was asked."""
_REFUSED = ("wrongpass", "noauth", "noperm", "authentication failed", "authentication required", "invalid username")


@contextmanager
def explained(where: str, *, opening: bool = False) -> Iterator[None]:
    """Errors of the feature store's parts, with the reason.

    Args:
        where: which feature store, for messages.
        opening: whether Feast is still reading its configuration; then what it raises by mistake is about that.

    Raises:
        InvalidInput: Feast does not take the configuration, or a client is not installed.
        Denied: a part refuses the password.
        Unavailable: a part does not answer, or fails.
    """
    try:
        yield
    except TidegateError:
        raise
    except Exception as error:
        known = _known(error, where, opening=opening)
        if known is None:
            raise
        raise known from error


def _known(error: Exception, where: str, *, opening: bool) -> TidegateError | None:
    if isinstance(error, ValidationError):
        said = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {_without_values(item['msg'])}" for item in error.errors()
        )
        return InvalidInput(f"the feature store {where} is misconfigured: {said}", next_step="Correct the file.")
    package = type(error).__module__.partition(".")[0]
    if isinstance(error, ImportError) or (package == "feast" and "Import" in type(error).__name__):
        return InvalidInput(
            f"the feature store {where} needs a client that is not installed: {_short(error)}",
            next_step="Install tidegate with the extra 'features-redis', or what an online store of your own needs.",
        )
    by_mistake = opening and isinstance(error, KeyError | TypeError | ValueError | AttributeError)
    if package == "feast" or by_mistake or isinstance(error, sa.exc.ArgumentError):
        return InvalidInput(
            f"Feast cannot use the feature store {where}: {_short(error)}",
            next_step="Correct the file, or what its variables hold.",
        )
    if not isinstance(error, OSError | sqlite3.Error | sa.exc.SQLAlchemyError) and package not in _CLIENTS:
        return None
    registry = isinstance(error, sa.exc.SQLAlchemyError) or package == "psycopg"
    return _of_client(_short(error), where, "PGSSLROOTCERT" if registry else "SSL_CERT_FILE")


def _of_client(said: str, where: str, variable: str) -> TidegateError:
    """Args: variable: what names the certificates that this client trusts."""
    if untrusted := unverified(f"a part of the feature store {where}", said, variable):
        return untrusted
    if any(word in said.lower() for word in _REFUSED):
        return Denied(
            f"the feature store {where} refuses the password: {said}",
            next_step="Check the Secret that the configuration's variables come from.",
        )
    return Unavailable(f"the feature store {where} does not answer: {said}", next_step="Check that it runs; try again.")


def _without_values(message: str) -> str:
    """Feast puts one validation error into another, with the values that were given: one may be a password."""
    lines = [line.partition("[type=")[0].strip() for line in message.splitlines() if "https://" not in line]
    return " ".join(filter(None, lines))


def _short(error: Exception) -> str:
    """The first line, without SQLAlchemy's links and statements."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else 'no reason'}"
