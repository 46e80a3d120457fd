"""PrepareSpec and PrepareResult: what the prepare job is told and what it answers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from components.datasets.customers import DEFAULT_WEEKS, EPOCH
from components.datasets.readers import ColumnMapping
from tidegate.domain.base import Contract, UtcTime
from tidegate.domain.manifest import DataManifest


class Source(Contract):
    """One file to read, or the folder of Banking77."""

    uri: str = Field(description="path or fsspec address of the file; for banking77 the folder")
    format: Literal["auto", "csv", "jsonl", "parquet", "banking77"] = Field(
        default="auto", description="auto: by the file's ending"
    )
    mapping: ColumnMapping = ColumnMapping()
    intents: tuple[str, ...] = Field(
        default=(), description="read only rows of these labels; empty: all (banking77: its documented subset)"
    )
    per_label_cap: PositiveInt | None = Field(default=None, description="read at most so many rows per label")
    split: Literal["auto", "train", "validation", "test"] = Field(
        default="auto",
        description="all rows go to this split; auto: by time. A retraining replays what the champion learned from as "
        "train rows and what it was tested on as test rows: neither may change sides",
    )
    synthetic: tuple[str, ...] = Field(
        default=(), description="columns of this source that an earlier preparation invented; the manifest names them"
    )


class SchemaContract(Contract):
    """What every row is checked against. Its digest is the manifest's `contract_hash`."""

    columns: dict[str, str] = Field(
        default={"text": "string", "label": "string", "group": "string", "event_time": "timestamp[UTC]"}
    )
    labels: tuple[str, ...] | None = Field(default=None, description="closed set of labels; None: whatever occurs")
    min_characters: NonNegativeInt = Field(default=3, description="shorter texts, after normalising, are dropped")
    max_text_bytes: PositiveInt = Field(default=4096, description="longer texts (UTF-8 bytes) are dropped as too_long")
    max_bad_share: float = Field(
        default=0.2, ge=0.0, le=1.0, description="more broken rows than this share, and the source is refused"
    )


class PrepareSpec(Contract):
    """The payload of `components.prepare.logic:run`."""

    sources: tuple[Source, ...] = Field(min_length=1)
    out_uri: str = Field(description="folder for train.parquet, validation.parquet, test.parquet, manifest.json")
    contract: SchemaContract = SchemaContract()
    validation_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    test_fraction: float = Field(default=0.15, gt=0.0, lt=1.0)
    near_duplicate_similarity: float = Field(
        default=0.85, gt=0.0, le=1.0, description="Jaccard similarity of character 3-grams; 1.0 switches the stage off"
    )
    seed: int = Field(default=0, description="seed of invented columns")
    synthetic_start: UtcTime = Field(default=EPOCH, description="first moment of invented event times")
    synthetic_weeks: PositiveFloat = Field(default=DEFAULT_WEEKS, description="span of invented event times")

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 0.9:
            raise ValueError("validation_fraction + test_fraction must stay below 0.9, or nothing is left to train on")
        return self


class PrepareResult(Contract):
    """The answer of the job."""

    uri: str
    manifest: DataManifest
