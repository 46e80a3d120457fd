"""The seeded generator of a bank's customer messages: the same arguments give the same rows, byte by byte.

Clean rows are slots in phrases, with an opener, an aside or a closer, and noise. `dirty` rows beside them give
preparation its work: exact and near duplicates, empty texts, missing labels, bytes that are no UTF-8, one huge row, and
personal data.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from components.datasets import customers as population
from components.datasets.intents import ASIDES, BASE_INTENTS, CATALOGUE, CLOSERS, OPENERS, SLOTS, Style
from components.datasets.noise import personal_data, roughen, typo
from components.datasets.rows import RawRow, TrafficMessage
from tidegate.errors import InvalidInput

HUGE_CHARACTERS = 60_000
_SLOT = re.compile(r"\{(\w+)\}")
# Shares of the rows that `dirty` turns into something for preparation to find.
EXACT_DUPLICATES, NEAR_DUPLICATES, PERSONAL = 0.04, 0.04, 0.06
EMPTY, UNLABELLED, BAD_BYTES = 0.01, 0.01, 0.005


def generate(
    seed: int,
    rows: int,
    *,
    intents: Sequence[str] = BASE_INTENTS,
    style: Style = "standard",
    start: datetime = population.EPOCH,
    weeks: float = population.DEFAULT_WEEKS,
    customers: int | None = None,
    dirty: bool = True,
) -> list[RawRow]:
    """Labelled messages, in order of time.

    Args:
        seed: decides everything.
        rows: number of rows, the broken ones included.
        intents: labels to draw from, uniformly; see `BASE_INTENTS` and `NEW_INTENTS`.
        style: wording, "standard" or "chat".
        start, weeks: the span of the event times (UTC).
        customers: size of the population; default one customer for two rows.
        dirty: include duplicates, broken rows and personal data.

    Raises:
        InvalidInput: for an intent that the catalogue does not have, or no rows.
    """
    _check(intents, rows)
    rng = random.Random(f"rows/{seed}/{style}")  # noqa: S311 - reproducible, not secret
    groups = population.invent_groups(rows, seed, customers)
    times = population.invent_times(groups, seed, start, weeks)
    result = [
        RawRow(text=message(intent, style, rng), label=intent, group=group, event_time=time)
        for intent, group, time in zip(rng.choices(list(intents), k=rows), groups, times, strict=True)
    ]
    if dirty:
        _soil(result, rng)
    return sorted(result, key=lambda row: row.event_time or start)


def message(intent: str, style: Style, rng: random.Random) -> str:
    """One message of an intent."""
    parts = [rng.choice(CATALOGUE[intent].phrases(style))]
    if rng.random() < 0.35:
        parts.insert(0, rng.choice(OPENERS[style]))
    if rng.random() < 0.25:
        parts.append(f", {rng.choice(ASIDES[style])}")
    if rng.random() < 0.3:
        parts.append(f", {rng.choice(CLOSERS[style])}")
    text = _SLOT.sub(lambda slot: rng.choice(SLOTS[slot[1]]), " ".join(parts).replace(" ,", ","))
    return roughen(text, rng, typos=0.25, slang_words=0.15 if style == "standard" else 0.7)


def corrupt_labels(rows: Sequence[RawRow], fraction: float, seed: int) -> list[RawRow]:
    """The rows with a fraction of the labels (0 to 1) replaced by another label of the set, to train a bad version."""
    if not 0.0 <= fraction <= 1.0:
        raise InvalidInput(f"fraction {fraction} of labels to corrupt", next_step="Give a number from 0 to 1.")
    labels = sorted({row.label for row in rows if row.label})
    if len(labels) < 2:
        raise InvalidInput(f"{len(labels)} label(s) in the rows", next_step="Corrupting labels needs two or more.")
    rng = random.Random(f"corrupt/{seed}")  # noqa: S311
    labelled = [index for index, row in enumerate(rows) if row.label]
    result = list(rows)
    for index in rng.sample(labelled, round(fraction * len(labelled))):
        result[index] = replace(rows[index], label=rng.choice([name for name in labels if name != rows[index].label]))
    return result


def traffic(
    seed: int, users: int, count: int, *, intents: Sequence[str] = BASE_INTENTS, style: Style = "standard"
) -> list[TrafficMessage]:
    """Held-out messages of the first `users` customers of the population: every user writes before one writes again."""
    _check(intents, count)
    rng = random.Random(f"traffic/{seed}/{style}")  # noqa: S311
    return [
        TrafficMessage(user=user, text=message(intent, style, rng), intent=intent)
        for user, intent in zip(user_order(users, count, rng), rng.choices(list(intents), k=count), strict=True)
    ]


def user_order(users: int, count: int, rng: random.Random) -> list[str]:
    """`count` users in shuffled rounds over the population's first `users` customers."""
    order: list[str] = []
    while len(order) < count:
        everyone = [population.customer_id(number) for number in range(users)]
        rng.shuffle(everyone)
        order += everyone
    return order[:count]


def _check(intents: Sequence[str], count: int) -> None:
    unknown = sorted(set(intents) - set(CATALOGUE))
    if unknown or not intents:
        raise InvalidInput(f"unknown intents {unknown}", next_step=f"Choose from {', '.join(CATALOGUE)}.")
    if count < 1:
        raise InvalidInput(f"{count} rows asked for", next_step="Ask for one or more.")


def _soil(rows: list[RawRow], rng: random.Random) -> None:
    """Replaces some rows in place by things that real files contain."""
    count = len(rows)
    free = rng.sample(range(count), count)

    def take(share: float) -> list[int]:
        chosen = free[: round(share * count)]
        del free[: len(chosen)]
        return chosen

    # Copies come first and copy clean rows only, so that a copy of a broken row is never counted as a duplicate.
    copies, near = take(EXACT_DUPLICATES), take(NEAR_DUPLICATES)
    for index in copies:
        origin = rows[rng.choice(free)]
        rows[index] = replace(rows[index], text=origin.text, label=origin.label)
    for index in near:
        origin = rows[rng.choice(free)]
        rows[index] = replace(
            rows[index], text=typo(f"{origin.text}", rng) + rng.choice((" ", ".", "!")), label=origin.label
        )
    for index in take(PERSONAL):
        rows[index] = replace(rows[index], text=f"{rows[index].text} {personal_data(rng)}")
    for index in take(EMPTY):
        rows[index] = replace(rows[index], text=rng.choice(("", "   ", "\t")))
    for index in take(UNLABELLED):
        rows[index] = replace(rows[index], label=None)
    for index in take(BAD_BYTES):
        rows[index] = replace(rows[index], text=f"{rows[index].text} \udcff\udcfe")
    if free and count >= 100:
        rows[free[0]] = replace(rows[free[0]], text="help me " * (HUGE_CHARACTERS // 8))
