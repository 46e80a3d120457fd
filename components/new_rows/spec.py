"""NewRowsSpec and NewRowsResult: what the job is told and what it answers."""

from __future__ import annotations

from typing import Any

from pydantic import Field, NonNegativeInt, PositiveInt

from tidegate.domain.base import Contract, UtcTime


class NewRowsSpec(Contract):
    """The payload of `components.new_rows.logic:run`."""

    deployment: str = Field(min_length=1, description="the deployment whose traffic is learned from")
    model: str | None = Field(default=None, description="registered model; by default the one that serves")
    out_uri: str = Field(description="folder for new_rows.jsonl")
    min_rows: PositiveInt = Field(default=60, description="fewer labelled rows are no retraining")
    replay_rows_per_label: NonNegativeInt = Field(
        default=25,
        description="of the champion's train rows: enough that learning new answers does not unlearn known ones, few "
        "enough that the new rows lead; 0 replays none",
    )
    replay_test_rows_per_label: NonNegativeInt = Field(default=6, description="of its test rows; 0 replays none")


class NewRowsResult(Contract):
    """What a retraining starts from."""

    uri: str = Field(description="the new rows, JSON lines")
    rows: PositiveInt
    since: UtcTime = Field(description="rows are new from here on")
    replay: tuple[dict[str, Any], ...] = Field(description="sources of the prepare step: the champion's own rows")
    model: str
    version: str
    base: str = Field(description="address of the champion's base model")
    rank: PositiveInt
    customer_pool: NonNegativeInt = Field(description="what the champion's run invented profiles for")
