"""What the platform invents is independent of the label."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from components.datasets.customers import EPOCH, invent_groups, invent_times
from components.datasets.rows import RawRow
from components.features.profiles import ALWAYS, HISTORY_START, profile_history
from components.prepare.logic import fill_missing_columns
from components.prepare.spec import PrepareSpec, Source

SPEC = PrepareSpec(sources=(Source(uri="x.csv"),), out_uri="out", seed=3)


def _fill(labels: list[str]) -> list[tuple[str | None, datetime | None]]:
    rows = [RawRow(text=f"text {label}", label=label) for label in labels]
    filled, invented = fill_missing_columns(rows, SPEC.sources[0], SPEC, 0)
    assert invented == {"group", "event_time"}
    return [(row.group, row.event_time) for row in filled]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_permuting_the_labels_leaves_invented_columns_unchanged(labels: list[str], rng: random.Random) -> None:
    permuted = labels[:]
    rng.shuffle(permuted)
    assert _fill(labels) == _fill(permuted)


def _p_value(labels: list[str], values: list[str]) -> float:
    counts = Counter(zip(labels, values, strict=True))
    table = [[counts[label, value] for value in sorted(set(values))] for label in sorted(set(labels))]
    return float(chi2_contingency(table).pvalue)


def test_invented_columns_show_no_association_with_labels_in_a_file_sorted_by_label() -> None:
    labels = [label for label in "abcdefgh" for _ in range(250)]
    filled = _fill(labels)
    weeks = [str((time - EPOCH) // timedelta(weeks=1)) for _, time in filled if time]
    thirds = [str(int(str(group)[-5:]) % 3) for group, _ in filled]
    profiles = [profile_history(str(group), EPOCH)[-1][1] for group, _ in filled]
    segments = [str(profile["segment"]) for profile in profiles]
    # The seed is fixed, so this cannot flake; 0.001 would be a one in a thousand coincidence.
    assert min(_p_value(labels, weeks), _p_value(labels, thirds), _p_value(labels, segments)) > 0.001


def test_the_association_test_would_notice_customers_given_in_file_order() -> None:
    labels = [label for label in "abcdefgh" for _ in range(250)]
    times = invent_times([f"c{number // 2}" for number in range(len(labels))], 0)
    by_file_order = [str(number * 6 // len(times)) for number in range(len(times))]
    assert _p_value(labels, by_file_order) < 1e-9


def test_invented_groups_hold_a_few_rows_each() -> None:
    sizes = Counter(Counter(invent_groups(1000, seed=1)).values())
    assert len(sizes) > 2
    assert max(sizes) < 12


@settings(max_examples=30)
@given(st.integers(0, 5000), st.integers(0, 400), st.integers(1, 400))
def test_a_longer_history_begins_with_the_shorter_one(customer: int, days: int, more: int) -> None:
    until = HISTORY_START + timedelta(days=days)
    shorter = profile_history(f"cust-{customer:05d}", until)
    longer = profile_history(f"cust-{customer:05d}", until + timedelta(days=more))
    assert longer[: len(shorter)] == shorter
    assert shorter[0][0] == ALWAYS
    assert all(moment <= until for moment, _ in shorter[1:])


def test_values_change_over_time() -> None:
    until = datetime(2026, 12, 1, tzinfo=UTC)
    assert all(len(profile_history(f"cust-{number:05d}", until)) > 1 for number in range(200))
