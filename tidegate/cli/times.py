"""Times on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from tidegate.errors import InvalidInput

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
HELP = "ISO 8601 (without a zone: UTC), 'now', or an age such as 90s, 10m, 2h, 3d."


def parse_time(text: str, now: datetime) -> datetime:
    """A moment from an ISO 8601 time, 'now' or an age before `now`.

    Raises:
        InvalidInput: it is none of these.
    """
    if text == "now":
        return now
    age = re.fullmatch(r"(\d+)([smhd])", text)
    try:
        if age:
            return now - timedelta(seconds=int(age[1]) * _UNIT_SECONDS[age[2]])
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{text!r} is no time", next_step=f"Write {HELP}") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
