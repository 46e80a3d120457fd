"""What a demo runs on: the first data, the traffic at first, the traffic after the change, and the corrupted rows.

The same loop tells itself on generated messages, on Banking77, or on a file of yours. In each, a part of the intents is
held back from the first version: they appear in the traffic later, and are the drift.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from components.datasets import banking77, customers, generator, intents
from components.datasets.noise import restyle
from components.datasets.readers import GENERATED_MAPPING, ColumnMapping, format_of, read_rows
from components.datasets.rows import RawRow, TrafficMessage, write_csv
from tidegate.errors import InvalidInput

USERS = 4000
"""Customers that write: a rollout scores one pair a user, so there must be more of them than pairs."""
_TRAIN_ROWS = 1300
_CHUNK = 500
_HELD_OUT_SHARE = 0.3
_NEW_INTENT_SHARE = 0.25
_NEW_WORDING_SHARE = 0.6
"""After the change: this share of messages is worded anew; a third of all carries an intent that no version knew."""
_NEW_MESSAGE_SHARE = 1 / 3

Sender = Callable[[int], list[TrafficMessage]]


@dataclass(frozen=True, kw_only=True)
class Story:
    """The data of one demo. Sources are what the prepare step takes, as JSON."""

    name: str
    base_intents: tuple[str, ...]
    new_intents: tuple[str, ...]
    source: dict[str, Any]
    corrupted: dict[str, Any]
    calm: Sender = field(repr=False)
    changed: Sender = field(repr=False)

    def before(self, seed: int) -> Iterator[TrafficMessage]:
        """Endless traffic as it was when the first version was trained."""
        return _endless(self.calm, seed)

    def after(self, seed: int) -> Iterator[TrafficMessage]:
        """Endless traffic after the change: new intents, new wording."""
        return _endless(self.changed, seed)


def generated(seed: int, folder: Path) -> Story:
    """The story on generated messages."""
    base, new = intents.BASE_INTENTS, intents.NEW_INTENTS
    rows = generator.generate(seed, _TRAIN_ROWS, customers=USERS)
    source = _write(rows, folder / "messages.csv")
    both = generator.generate(seed + 1, _TRAIN_ROWS, intents=(*base, *new), customers=USERS, dirty=False)
    corrupted = _write(generator.corrupt_labels(both, 1.0, seed), folder / "corrupted.csv")

    def calm(part: int) -> list[TrafficMessage]:
        return generator.traffic(part, USERS, _CHUNK, intents=base)

    def changed(part: int) -> list[TrafficMessage]:
        fresh = round(_CHUNK * _NEW_MESSAGE_SHARE)
        worded = round((_CHUNK - fresh) * _NEW_WORDING_SHARE)
        mixed = [
            *generator.traffic(part, USERS, fresh, intents=new, style="standard"),
            *generator.traffic(part + 1, USERS, worded, intents=base, style="chat"),
            *generator.traffic(part + 2, USERS, _CHUNK - fresh - worded, intents=base),
        ]
        return _shuffled(mixed, part)

    return Story(
        name="generated messages",
        base_intents=base,
        new_intents=new,
        source=source,
        corrupted=corrupted,
        calm=calm,
        changed=changed,
    )


def real(seed: int, folder: Path) -> Story:
    """The story on Banking77, from the folder that `TIDEGATE_BANKING77` names.

    Raises:
        InvalidInput: the variable is not set.
    """
    data = banking77.folder_from_environment()
    if data is None:
        raise InvalidInput(
            f"{banking77.FOLDER_VARIABLE} is not set",
            next_step="Set it to the folder with Banking77's train.csv and test.csv; README says where to obtain them.",
        )
    base, new = banking77.BASE_INTENTS, banking77.NEW_INTENTS
    train = banking77.read_banking77(data, intents=(*base, *new))
    corrupted = _write(generator.corrupt_labels(_peopled(train, seed), 1.0, seed), folder / "corrupted.csv")

    def calm(part: int) -> list[TrafficMessage]:
        return banking77.traffic(data, part, USERS, _CHUNK, intents=base)

    def changed(part: int) -> list[TrafficMessage]:
        fresh = round(_CHUNK * _NEW_MESSAGE_SHARE)
        worded = round((_CHUNK - fresh) * _NEW_WORDING_SHARE)
        mixed = [
            *banking77.traffic(data, part, USERS, fresh, intents=new),
            *banking77.traffic(data, part + 1, USERS, worded, intents=base, new_wording=True),
            *banking77.traffic(data, part + 2, USERS, _CHUNK - fresh - worded, intents=base),
        ]
        return _shuffled(mixed, part)

    return Story(
        name="Banking77",
        base_intents=base,
        new_intents=new,
        source={"uri": str(data), "format": "banking77", "intents": list(base)},
        corrupted=corrupted,
        calm=calm,
        changed=changed,
    )


def from_file(seed: int, folder: Path, path: Path, mapping: ColumnMapping) -> Story:
    """The story on a file: a quarter of its intents is held back for the change, and 30% of the rows for traffic.

    Raises:
        NotFound, InvalidInput: see the readers; also fewer than four intents, which leave none to hold back.
    """
    found = list(read_rows(path, format_of(path.name), mapping, path.name))
    rows = [row for row in found if row.problem is None and row.text and row.label]
    names = sorted({str(row.label) for row in rows})
    if len(names) < 4:
        raise InvalidInput(
            f"{path} has {len(names)} different label(s) in column {mapping.label!r}: {', '.join(names) or 'none'}; "
            f"{len(found) - len(rows)} of {len(found)} rows cannot be read or lack text or label",
            next_step="The demo needs four or more: it holds a quarter of them back for the drift. "
            "To train on this file as it is, use: tidegate run fine-tune --data FILE.",
        )
    rng = random.Random(f"file/{seed}")  # noqa: S311 - reproducible, not secret
    new = tuple(sorted(rng.sample(names, max(1, round(len(names) * _NEW_INTENT_SHARE)))))
    base = tuple(name for name in names if name not in new)
    rng.shuffle(rows)
    cut = round(len(rows) * _HELD_OUT_SHARE)
    held_out, train = rows[:cut], rows[cut:]
    source = _write(_peopled([row for row in train if row.label in base], seed), folder / "messages.csv")
    corrupted = _write(generator.corrupt_labels(_peopled(train, seed), 1.0, seed), folder / "corrupted.csv")
    old, fresh = [row for row in held_out if row.label in base], [row for row in held_out if row.label in new]
    if not old or not fresh:
        raise InvalidInput(
            f"{path} has too few rows: {len(rows)} usable ones over {len(names)} labels",
            next_step="Give a file with 20 rows a label or more.",
        )

    def calm(part: int) -> list[TrafficMessage]:
        return _drawn(old, part, _CHUNK)

    def changed(part: int) -> list[TrafficMessage]:
        count = round(_CHUNK * _NEW_MESSAGE_SHARE)
        words = random.Random(f"wording/{part}")  # noqa: S311
        usual = [
            replace(item, text=restyle(item.text, words)) if words.random() < _NEW_WORDING_SHARE else item
            for item in _drawn(old, part + 1, _CHUNK - count)
        ]
        return _shuffled([*_drawn(fresh, part, count), *usual], part)

    return Story(
        name=path.name,
        base_intents=base,
        new_intents=new,
        source=source,
        corrupted=corrupted,
        calm=calm,
        changed=changed,
    )


def _write(rows: Sequence[RawRow], path: Path) -> dict[str, Any]:
    write_csv(rows, path)
    return {"uri": str(path), "format": "csv", "mapping": GENERATED_MAPPING.model_dump()}


def _peopled(rows: Sequence[RawRow], seed: int) -> list[RawRow]:
    """Rows with a customer and a time each; those that have none get invented ones, as preparation would do it."""
    groups = customers.invent_groups(len(rows), seed, USERS)
    times = customers.invent_times(groups, seed)
    return [
        replace(row, group=row.group or group, event_time=row.event_time or time)
        for row, group, time in zip(rows, groups, times, strict=True)
    ]


def _drawn(rows: Sequence[RawRow], part: int, count: int) -> list[TrafficMessage]:
    rng = random.Random(f"drawn/{part}")  # noqa: S311 - reproducible, not secret
    users = generator.user_order(USERS, count, rng)
    return [
        TrafficMessage(user=user, text=str(row.text), intent=str(row.label))
        for user, row in zip(users, rng.choices(rows, k=count), strict=True)
    ]


def _shuffled(messages: list[TrafficMessage], part: int) -> list[TrafficMessage]:
    random.Random(f"order/{part}").shuffle(messages)  # noqa: S311 - reproducible, not secret
    return messages


def _endless(sender: Sender, seed: int) -> Iterator[TrafficMessage]:
    part = seed * 1_000_003
    while True:
        yield from sender(part)
        part += 3  # a changed chunk draws from three seeds
