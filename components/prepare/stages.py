"""The stages of preparation, each a pure function: rows in, kept rows and the account of the others out.

Order matters. Redaction comes before the duplicate stages, because two rows that differ only in a card number are one
row after it; conflicts come before exact duplicates, because a text with two labels has no right copy to keep.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from components.datasets.rows import RawRow
from components.prepare.spec import SchemaContract
from tidegate.domain.manifest import DropReason, StageAccount
from tidegate.prompt import FeatureValue
from tidegate.redaction import redact

_SPACE = re.compile(r"\s+")
_NOT_WORD = re.compile(r"[^\w<>]+")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A complete row: every column has a value."""

    text: str
    label: str
    group: str
    event_time: datetime
    source: str
    features: dict[str, FeatureValue] = field(default_factory=dict)

    @property
    def order(self) -> tuple[datetime, str, str, str]:
        """A total order by time, independent of the order of reading."""
        return (self.event_time, self.group, self.label, self.text)


_In = TypeVar("_In")
_Out = TypeVar("_Out")


def _sieve(
    stage: str, rows: Sequence[_In], judge: Callable[[_In], _Out | DropReason], kind: type[_Out]
) -> tuple[list[_Out], StageAccount]:
    """Runs `judge` over the rows: it gives a row to keep or the reason to drop it."""
    kept: list[_Out] = []
    dropped: Counter[DropReason] = Counter()
    for row in rows:
        verdict = judge(row)
        if isinstance(verdict, kind):
            kept.append(verdict)
        else:
            dropped[verdict] += 1  # type: ignore[index]  # not `kind`, hence a reason
    account = StageAccount(stage=stage, rows_in=len(rows), rows_out=len(kept), dropped=dict(sorted(dropped.items())))
    return kept, account


def check_contract(rows: Sequence[RawRow], contract: SchemaContract) -> tuple[list[Row], StageAccount]:
    """Drops what the contract does not allow. Groups and times are filled before this stage."""
    labels = None if contract.labels is None else set(contract.labels)

    def judge(row: RawRow) -> Row | DropReason:  # noqa: PLR0911 - one return a reason
        if row.problem is not None:
            return row.problem
        if row.text is None or not row.text.strip():
            return "missing_text"
        if row.label is None:
            return "missing_label"
        if len(row.text.encode(errors="surrogatepass")) > contract.max_text_bytes:
            return "too_long"
        if labels is not None and row.label not in labels:
            return "unknown_label"
        if row.group is None or row.event_time is None:
            return "malformed_row"  # the mapping names these columns, and the row has no value in them
        return Row(
            text=row.text,
            label=row.label,
            group=row.group,
            event_time=row.event_time,
            source=row.source,
            features=dict(row.features),
        )

    return _sieve("contract", rows, judge, Row)


def normalise(rows: Sequence[Row], contract: SchemaContract) -> tuple[list[Row], StageAccount]:
    """Unicode NFC, no control or format characters, single spaces."""

    def judge(row: Row) -> Row | DropReason:
        text = normal_text(row.text)
        if not text:
            return "missing_text"
        return replace(row, text=text) if len(text) >= contract.min_characters else "too_short"

    return _sieve("normalise", rows, judge, Row)


def normal_text(text: str) -> str:
    """Idempotent. Control and format characters (Cc, Cf: bidi marks, zero-width, soft hyphen) go; spaces collapse."""
    spaced = _SPACE.sub(" ", text)
    clean = "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    return _SPACE.sub(" ", unicodedata.normalize("NFC", clean)).strip()


def redact_rows(rows: Sequence[Row]) -> tuple[list[Row], StageAccount, dict[str, int]]:
    """Personal data out of the texts; drops nothing. Also the number of spans by kind."""
    findings: Counter[str] = Counter()
    result = []
    for row in rows:
        text, found = redact(row.text)
        findings.update(found)
        result.append(replace(row, text=text) if found else row)
    account = StageAccount(stage="redact", rows_in=len(rows), rows_out=len(result))
    return result, account, dict(sorted(findings.items()))


def identity(text: str) -> str:
    """What makes two texts the same: their words, whatever the case and the punctuation."""
    return _NOT_WORD.sub(" ", text.casefold()).strip() or text


def drop_conflicts(rows: Sequence[Row]) -> tuple[list[Row], StageAccount]:
    """Drops every row of a text that occurs with two labels: which of them is right cannot be known here."""
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(identity(row.text), set()).add(row.label)

    def judge(row: Row) -> Row | DropReason:
        return row if len(labels[identity(row.text)]) == 1 else "conflicting_labels"

    return _sieve("conflicting_labels", rows, judge, Row)


def drop_exact_duplicates(rows: Sequence[Row]) -> tuple[list[Row], StageAccount]:
    """Keeps the first by time of each text; gives the rows in order of time."""
    seen: set[str] = set()

    def judge(row: Row) -> Row | DropReason:
        key = identity(row.text)
        if key in seen:
            return "exact_duplicate"
        seen.add(key)
        return row

    return _sieve("exact_duplicates", sorted(rows, key=lambda row: row.order), judge, Row)
