"""DataManifest: what preparation did with every row. A manifest that does not close cannot be built."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from tidegate.domain.base import Contract, Digest, UtcTime

DropReason = Literal[
    "malformed_row",
    "invalid_encoding",
    "missing_text",
    "missing_label",
    "unknown_label",
    "too_long",
    "too_short",
    "exact_duplicate",
    "near_duplicate",
    "conflicting_labels",
    "group_leakage",
]


class StageAccount(Contract):
    """One stage's row accounting: rows_in = rows_out + the sum of dropped."""

    stage: str
    rows_in: NonNegativeInt
    rows_out: NonNegativeInt
    dropped: dict[DropReason, NonNegativeInt] = {}

    @model_validator(mode="after")
    def _closes(self) -> Self:
        lost = self.rows_in - self.rows_out - sum(self.dropped.values())
        if lost:
            raise ValueError(
                f"stage {self.stage!r} does not close: {self.rows_in} rows in, {self.rows_out} out, "
                f"{sum(self.dropped.values())} dropped by reason, {lost} unaccounted for"
            )
        return self


class SplitInfo(Contract):
    """One split after preparation."""

    name: Literal["train", "validation", "test"]
    rows: NonNegativeInt
    groups: NonNegativeInt
    start: UtcTime | None = None
    end: UtcTime | None = None
    digest: Digest


class DataManifest(Contract):
    """The record of one preparation run; logged to MLflow and named by every version trained from it."""

    schema_version: Literal[1] = 1
    source: str
    source_digest: Digest
    contract_hash: Digest = Field(description="digest of the schema contract that the source was checked against")
    content_digest: Digest = Field(description="digest over the split files: same content, same digest")
    stages: tuple[StageAccount, ...]
    splits: tuple[SplitInfo, ...]
    labels: tuple[str, ...] = Field(description="the closed set of answers, sorted")
    pii_findings: dict[str, NonNegativeInt] = Field(default={}, description="redacted spans by kind")
    synthetic_columns: tuple[str, ...] = Field(
        default=(), description="columns that the platform invented, independent of the label"
    )
    duplicates_across_splits: NonNegativeInt = 0
    created_at: UtcTime

    @model_validator(mode="after")
    def _stages_chain(self) -> Self:
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            if before.rows_out != after.rows_in:
                raise ValueError(
                    f"rows vanish between stages {before.stage!r} ({before.rows_out} out) "
                    f"and {after.stage!r} ({after.rows_in} in)"
                )
        if self.stages and self.splits and self.stages[-1].rows_out != sum(s.rows for s in self.splits):
            raise ValueError(
                f"the splits hold {sum(s.rows for s in self.splits)} rows, "
                f"but the last stage gave {self.stages[-1].rows_out}"
            )
        return self
