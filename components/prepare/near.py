"""Near duplicates by MinHash and locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman, Ullman, ch. 3)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from components.prepare.stages import Row, identity
from tidegate.domain.manifest import StageAccount

_SHINGLE = 3  # characters
# 16 bands of 8 rows propose a pair of similarity s with probability 1 - (1 - s^8)^16: 99.4% at 0.85, 23% at 0.6.
_BANDS, _BAND_ROWS = 16, 8
_PERMUTATIONS = _BANDS * _BAND_ROWS


def shingles(text: str) -> frozenset[str]:
    """The 3-character substrings of a text's identity, padded so that short texts have some too."""
    padded = f" {identity(text)} "
    return frozenset(padded[i : i + _SHINGLE] for i in range(max(1, len(padded) - _SHINGLE + 1)))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """|a ∩ b| / |a ∪ b|; 1.0 for two empty sets."""
    return len(a & b) / len(a | b) if a or b else 1.0


def drop_near_duplicates(rows: Sequence[Row], similarity: float) -> tuple[list[Row], StageAccount]:
    """Keeps the first by time of rows with the same label whose shingles' Jaccard similarity reaches `similarity`.

    LSH proposes pairs, the true similarity decides, so a pair below the threshold is never dropped; a pair above it can
    be missed, rarely: see the bands. Rows with different labels are kept: "top up
    by card" and "top up by cash" are near, and different.
    """
    if similarity >= 1.0 or not rows:
        return list(rows), StageAccount(stage="near_duplicates", rows_in=len(rows), rows_out=len(rows))
    from datasketch import MinHash, MinHashLSH  # noqa: PLC0415 - slow to import

    sets = [shingles(row.text) for row in rows]
    sketches = MinHash.bulk(
        [[shingle.encode() for shingle in sorted(items)] for items in sets],
        num_perm=_PERMUTATIONS,
        seed=1,
        hashfunc=zlib.crc32,
    )
    indexes: dict[str, MinHashLSH] = {}
    kept: list[Row] = []
    for number, row in enumerate(rows):
        if row.label not in indexes:
            indexes[row.label] = MinHashLSH(num_perm=_PERMUTATIONS, params=(_BANDS, _BAND_ROWS))
        index = indexes[row.label]
        if any(jaccard(sets[number], sets[other]) >= similarity for other in index.query(sketches[number])):
            continue
        index.insert(number, sketches[number], check_duplication=False)
        kept.append(row)
    lost = len(rows) - len(kept)
    account = StageAccount(
        stage="near_duplicates", rows_in=len(rows), rows_out=len(kept), dropped={"near_duplicate": lost} if lost else {}
    )
    return kept, account
