from hypothesis import given
from hypothesis import strategies as st

from components.fine_tune.batches import learning_rate, plan_batches

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=150)


@given(LENGTHS, st.integers(1, 16), st.integers(0, 5))
def test_a_pass_has_no_row_twice_and_leaves_less_than_a_batch_out(lengths: list[int], size: int, seed: int) -> None:
    size = min(size, len(lengths))
    steps = len(lengths) // size
    batches = plan_batches(lengths, size, 2 * steps, seed)
    assert [len(batch) for batch in batches] == [size] * 2 * steps
    for epoch in (batches[:steps], batches[steps:]):
        seen = [row for batch in epoch for row in batch]
        assert len(seen) == len(set(seen)) > len(lengths) - size


def test_rows_that_sat_out_a_pass_have_their_turn() -> None:
    seen = {row for batch in plan_batches([5] * 20, 16, 40, 0) for row in batch}
    assert seen == set(range(20))


@given(LENGTHS, st.integers(1, 16), st.integers(0, 5))
def test_no_row_is_twice_in_a_batch(lengths: list[int], size: int, seed: int) -> None:
    assert all(len(set(batch)) == len(batch) for batch in plan_batches(lengths, size, 30, seed))


def test_the_same_seed_gives_the_same_order_and_another_seed_another() -> None:
    lengths = [(7 * row) % 60 + 1 for row in range(100)]
    assert plan_batches(lengths, 8, 20, 1) == plan_batches(lengths, 8, 20, 1)
    assert plan_batches(lengths, 8, 20, 1) != plan_batches(lengths, 8, 20, 2)


def test_buckets_leave_little_padding_where_chance_leaves_much() -> None:
    lengths = [(37 * row) % 90 + 10 for row in range(512)]
    padded = sum(max(lengths[row] for row in batch) * len(batch) for batch in plan_batches(lengths, 16, 32, 0))
    assert padded / sum(lengths) < 1.15


@given(st.integers(1, 200), st.floats(0.0, 0.9))
def test_the_rate_is_positive_and_never_above_its_peak(steps: int, warmup: float) -> None:
    rates = [learning_rate(step, steps, 1e-3, warmup) for step in range(steps)]
    assert all(0 < rate <= 1e-3 + 1e-12 for rate in rates)


def test_the_rate_climbs_in_the_warm_up_and_falls_after_it() -> None:
    rates = [learning_rate(step, 40, 1.0, 0.1) for step in range(40)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.06
