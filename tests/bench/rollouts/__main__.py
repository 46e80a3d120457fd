"""Measures the judgement of rollouts and writes the figures of docs/benchmarks/rollouts.md and docs/judgement.md.

    python -m tests.bench.rollouts

One process. Every figure comes from the functions that judge real rollouts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tests.bench.rollouts import detection, estimates, pictures, promotion, side_by_side, whole

DOCS = Path(__file__).parents[3] / "docs"
_REPORT, _GUIDE = "benchmarks/rollouts.md", "judgement.md"


class Book:
    """The pages whose figures are between `<!-- figures: NAME -->` and `<!-- end -->`."""

    def __init__(self, docs: Path, *, write: bool) -> None:
        self._docs = docs
        self._write = write
        self._started = time.monotonic()

    def figures(self, page: str, name: str, lines: Iterable[str]) -> None:
        """Prints the lines, and puts them into their place when pages are written.

        Raises:
            ValueError: the page has no such place.
        """
        text = "\n".join(lines)
        sys.stdout.write(f"\n## {name} ({time.monotonic() - self._started:.0f} s)\n\n{text}\n")
        sys.stdout.flush()
        if not self._write:
            return
        path = self._docs / page
        page_text = path.read_text()
        head, found, rest = page_text.partition(f"<!-- figures: {name} -->\n")
        if not found:
            raise ValueError(f"{path.name} has no place for the figures {name!r}")
        _, end, tail = rest.partition("<!-- end -->")
        path.write_text(f"{head}{found}{text}\n{end}{tail}")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rollouts", type=int, default=20_000, help="whole rollouts of identical versions")
    parser.add_argument("--rows", type=int, default=4000, help="simulations a row of the tables of single tests")
    parser.add_argument("--compared", type=int, default=400, help="rollouts a cell of the comparison of methods")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="put figures and pictures into the docs")
    options = parser.parse_args(arguments)
    seeds = np.random.SeedSequence(options.seed).spawn(8)
    random = [np.random.default_rng(seed) for seed in seeds]
    book = Book(DOCS, write=options.write)
    images = DOCS / "images" if options.write else None

    cells = whole.simulate_cells(random[0], options.rollouts)
    book.figures(_REPORT, "whole rollouts", [*whole.whole_table(cells), "", whole.blamed(cells)])
    book.figures(_REPORT, "equal versions", detection.equal_table(random[1], options.rows))
    book.figures(_REPORT, "harm", detection.harm_table(random[2], options.rows))
    gate = [*promotion.promotion_table(random[3], options.rows), "", promotion.harm_forecast(random[3], options.rows)]
    book.figures(_REPORT, "promotion", gate)
    book.figures(_GUIDE, "pairs", promotion.pairs_table())
    book.figures(_REPORT, "estimates", estimates.estimate_table(random[7], options.rows // 4))
    compared = side_by_side.compare(random[4], options.compared)
    book.figures(_REPORT, "methods", side_by_side.comparison_table(compared))
    book.figures(_GUIDE, "peeking", pictures.peeking(random[5], min(2000, options.rows), images))
    if images is not None:
        pictures.boundary(random[6], images)
        pictures.map_of_methods(compared, images)
    few = f"{options.rows // 4} in rows of errors, latency and experiments"
    rows = f"{options.rows} simulations a row ({few})"
    size = f"{options.rollouts} whole rollouts, {rows}, {options.compared} a method and level"
    book.figures(
        _REPORT,
        "run",
        [f"Size: {size}; seed {options.seed}; {book.seconds:.0f} s, {time.process_time():.0f} s of them at work."],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
