"""What an alert source is: it knows who may deliver and turns a body into alerts. Everything after that is shared.

To add a source, write `monitoring/alerts/sources/<source>.py` with an object that fits `AlertSource` and name it in
`monitoring/alerts/sources/__init__.py`; the receiver serves it at POST /v1/alerts/<name>.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from tidegate.domain.drift import Alert
from tidegate.errors import InvalidInput, TidegateError


class AuthenticationError(TidegateError):
    """The sender did not prove who it is; the receiver answers 401."""


class InvalidDelivery(InvalidInput):
    """The body is not what the source's contract says; the receiver answers 400 and stores nothing."""


class AlertSource(Protocol):
    """One kind of sender."""

    name: str

    def authenticate(self, headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime) -> None:
        """Checks the sender before the body is parsed. Header names are lower case.

        Raises:
            AuthenticationError: with the header to set.
        """

    def parse(self, document: Any) -> list[Alert]:
        """Alerts of one delivery from its JSON document.

        Raises:
            InvalidDelivery: naming the field that is wrong.
        """
