"""Which rows a step sees, and at which learning rate. Pure and seeded: the same specification, the same order."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

_BUCKET_BATCHES = 8
"""Batches that are filled from one sorted stretch of rows: long enough for little padding, short enough to mix."""
_FINAL_RATE = 0.05
"""The learning rate ends at this share of its peak; at zero the last steps would teach nothing."""


def plan_batches(lengths: Sequence[int], batch_size: int, steps: int, seed: int) -> list[list[int]]:
    """`steps` batches of row numbers, each of rows of like length; no row twice in one pass over the rows.

    Args:
        lengths: tokens per row.
        batch_size: rows a batch; with fewer rows than that, a batch is all rows.
        steps: how many batches.
        seed: of the order.
    """
    if not lengths:
        raise ValueError("there are no rows to plan batches for")
    stream = _epochs(lengths, min(batch_size, len(lengths)), seed)
    return [next(stream) for _ in range(steps)]


def _epochs(lengths: Sequence[int], batch_size: int, seed: int) -> Iterator[list[int]]:
    order = random.Random(seed)  # noqa: S311  reproducible order, no secret
    whole = len(lengths) - len(lengths) % batch_size  # less than a batch sits out, other rows in every pass
    while True:
        rows = order.sample(range(len(lengths)), whole)
        batches = []
        for start in range(0, whole, batch_size * _BUCKET_BATCHES):
            stretch = sorted(rows[start : start + batch_size * _BUCKET_BATCHES], key=lengths.__getitem__)
            batches += [stretch[at : at + batch_size] for at in range(0, len(stretch), batch_size)]
        order.shuffle(batches)
        yield from batches


def learning_rate(step: int, steps: int, peak: float, warmup_fraction: float) -> float:
    """The rate of step `step` (from 0): linear warm-up, then half a cosine down to a twentieth of the peak."""
    warmup = max(1, round(steps * warmup_fraction)) if warmup_fraction else 0
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (_FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress)))
