"""Invented customer profiles with a history, for data that brings no features.

A profile is a function of the customer's id alone: no label, no text and no other customer can be read from it, the
same id has the same history in every run, and a longer history begins with the shorter one.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from components.datasets.customers import EPOCH
from tidegate.prompt import FeatureValue

HISTORY_START = EPOCH - timedelta(weeks=26)
ALWAYS = datetime(1990, 1, 1, tzinfo=UTC)  # the first value holds since before any message
_MEAN_DAYS_BETWEEN_CHANGES = 45.0
_YEAR = timedelta(days=365)
_SEGMENTS = ("retail", "student", "premium", "business")
_CHANNELS = ("app", "web", "phone", "branch")
_PRODUCTS = ("card", "savings", "loan", "mortgage", "invest")

ProfileRow = tuple[datetime, dict[str, FeatureValue]]


def profile_history(customer: str, until: datetime) -> list[ProfileRow]:
    """The customer's values with the moments from which they hold, in order, up to `until` (UTC)."""
    rng = random.Random(f"profile/{customer}")  # noqa: S311 - reproducible, not secret
    joined = HISTORY_START - rng.random() * 20 * _YEAR
    profile: dict[str, FeatureValue] = {
        "segment": rng.choices(_SEGMENTS, (6, 2, 1, 1))[0],
        "products": _some_products(rng),
        "channel": rng.choices(_CHANNELS, (6, 2, 1, 1))[0],
        "tenure_years": (HISTORY_START - joined) // _YEAR,
    }
    history: list[ProfileRow] = [(ALWAYS, dict(profile))]
    moment = HISTORY_START
    while True:
        moment += timedelta(days=rng.expovariate(1.0 / _MEAN_DAYS_BETWEEN_CHANGES))
        moment = moment.replace(microsecond=0)
        match rng.randrange(4):
            case 0:
                profile["segment"] = rng.choice(_SEGMENTS)
            case 1 | 2:
                profile["products"] = _some_products(rng)
            case _:
                profile["channel"] = rng.choice(_CHANNELS)
        profile["tenure_years"] = (moment - joined) // _YEAR
        if moment > until:
            return history
        history.append((moment, dict(profile)))


def _some_products(rng: random.Random) -> str:
    others = rng.sample(_PRODUCTS[1:], rng.choice((0, 1, 1, 2)))
    return ",".join([_PRODUCTS[0], *sorted(others)])
