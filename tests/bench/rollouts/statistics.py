"""Small statistics of simulated figures: intervals of shares, quantiles of times that may never come."""

from __future__ import annotations

import math
from collections.abc import Sequence


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion (Wilson 1927, JASA 22:209-212)."""
    if n == 0:
        return 0.0, 1.0
    p = hits / n
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - spread) / (1 + z * z / n)), min(1.0, (centre + spread) / (1 + z * z / n))


def share(hits: int, n: int) -> str:
    """'0.85% (0.53–1.36)'."""
    low, high = wilson(hits, n)
    return f"{100 * hits / max(1, n):.2f}% ({100 * low:.2f}–{100 * high:.2f})"


def percent(hits: int, n: int) -> str:
    """'85%', with a decimal where it matters."""
    value = 100 * hits / max(1, n)
    return f"{value:.1f}%" if 0 < value < 10 or 90 < value < 100 else f"{value:.0f}%"


def quantile(values: Sequence[float], q: float) -> float:
    """The value at or below which a share q lies; infinity stands for "never"."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else math.inf


def count(value: float) -> str:
    """A number of pairs, or that there is none."""
    return f"{value:.0f}" if math.isfinite(value) else "not found"
