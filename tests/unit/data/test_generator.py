"""The generator is deterministic, dirty on purpose, and its styles and intents are what they claim."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from components.datasets.generator import corrupt_labels, generate, traffic
from components.datasets.intents import BASE_INTENTS, CATALOGUE, NEW_INTENTS
from components.datasets.readers import GENERATED_MAPPING, read_rows
from components.datasets.rows import write_csv
from tidegate.errors import InvalidInput


def test_twelve_base_and_four_new_intents() -> None:
    assert len(BASE_INTENTS) == 12
    assert len(NEW_INTENTS) == 4
    assert not set(BASE_INTENTS) & set(NEW_INTENTS)


def test_same_seed_same_rows_and_another_seed_others() -> None:
    assert generate(7, 300) == generate(7, 300)
    assert generate(7, 300) != generate(8, 300)


def test_rows_come_in_order_of_time_with_several_rows_per_customer() -> None:
    rows = generate(1, 400)
    times = [row.event_time for row in rows if row.event_time]
    assert times == sorted(times)
    assert len(rows) == 400
    assert max(Counter(row.group for row in rows).values()) > 1


def test_dirty_rows_are_there_and_can_be_left_out() -> None:
    dirty, clean = generate(1, 600), generate(1, 600, dirty=False)
    assert any(not (row.text or "").strip() for row in dirty)
    assert any(row.label is None for row in dirty)
    assert any("\udcff" in (row.text or "") for row in dirty)
    assert any(len(row.text or "") > 50_000 for row in dirty)
    assert all(row.text and row.label and len(row.text) < 400 for row in clean)


def test_styles_share_no_phrase() -> None:
    for intent in CATALOGUE.values():
        assert not set(intent.standard) & set(intent.chat)


def test_csv_round_trip_keeps_every_row(tmp_path: Path) -> None:
    rows = generate(3, 400)
    write_csv(rows, tmp_path / "data.csv")
    read = read_rows(tmp_path / "data.csv", "csv", GENERATED_MAPPING, "data.csv")
    assert len(read) == len(rows)
    assert sum(row.problem == "invalid_encoding" for row in read) == sum("\udcff" in (r.text or "") for r in rows)
    good = [(row.text, row.label, row.group, row.event_time) for row in read if row.problem is None]
    wanted = [(r.text, r.label, r.group, r.event_time) for r in rows if "\udcff" not in (r.text or "")]
    assert good == wanted


def test_corruption_changes_exactly_the_fraction_and_always_to_another_label() -> None:
    rows = generate(1, 500, dirty=False)
    bad = corrupt_labels(rows, 0.4, seed=2)
    changed = [(a.label, b.label) for a, b in zip(rows, bad, strict=True) if a.label != b.label]
    assert len(changed) == 200
    assert [row.text for row in bad] == [row.text for row in rows]
    assert corrupt_labels(rows, 0.4, seed=2) == bad


@pytest.mark.parametrize("fraction", [-0.1, 1.1])
def test_corruption_refuses_a_fraction_outside_0_to_1(fraction: float) -> None:
    with pytest.raises(InvalidInput, match="fraction"):
        corrupt_labels(generate(1, 50), fraction, seed=0)


def test_traffic_lets_every_user_write_before_one_writes_again() -> None:
    messages = traffic(5, users=50, count=120, intents=NEW_INTENTS, style="chat")
    assert len({message.user for message in messages[:50]}) == 50
    assert len({message.user for message in messages[50:100]}) == 50
    assert {message.intent for message in messages} == set(NEW_INTENTS)


def test_unknown_intent_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="'no_such_intent'"):
        generate(1, 10, intents=["no_such_intent"])
