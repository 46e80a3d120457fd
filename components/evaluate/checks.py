"""The gate's checks as they are declared: the parameter `gate` of the pipelines. Without a data library.

Not one check passes for want of evidence, except where it says so: `not_worse` without a champion, `slice_floor` for
labels with few rows, and what `inconclusive` of these two decides.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from tidegate.domain.base import Contract

MetricName = Literal["exact_match", "macro_f1", "invalid_rate", "latency_p50", "latency_p95"]
Inconclusive = Literal["estimate", "fail", "pass"]


class MinRows(Contract):
    """At least `rows` rows were evaluated: fewer decide nothing."""

    check: Literal["min_rows"] = "min_rows"
    rows: PositiveInt = Field(default=40, description="at least so many")


class _Limit(Contract):
    metric: MetricName = Field(description="one of those that the report has")
    limit: float = Field(allow_inf_nan=False, description="a share, or seconds for a latency")


class MinValue(_Limit):
    """A metric where more is better reaches `limit`."""

    check: Literal["min_value"] = "min_value"
    on: Literal["bound", "value"] = Field(default="bound", description="the lower end of its interval, or the value")


class MaxValue(_Limit):
    """A metric where less is better stays within `limit`."""

    check: Literal["max_value"] = "max_value"
    on: Literal["bound", "value"] = Field(default="value", description="the upper end of its interval, or the value")


class BeatsBase(Contract):
    """Better than the untuned base by more than `margin`: the whole interval of the difference lies above it."""

    check: Literal["beats_base"] = "beats_base"
    margin: NonNegativeFloat = Field(default=0.0, description="in exact match")


class NotWorse(Contract):
    """Not worse than the champion by more than `margin`, judged on the interval of the difference.

    Wholly above -margin passes, wholly below fails. Between the two the rows are too few to tell; `inconclusive` says
    what then. By default the estimate decides, because the canary judges the same question again on live pairs.
    """

    check: Literal["not_worse"] = "not_worse"
    margin: NonNegativeFloat = Field(default=0.05, description="in exact match")
    inconclusive: Inconclusive = Field(
        default="estimate",
        description="when the rows are too few to tell: pass if the estimate is within the margin, or always the same",
    )


class SliceFloor(Contract):
    """No label with at least `rows` rows falls below `floor` in exact match, judged on the interval of each label.

    Wholly above the floor passes, wholly below fails. Between the two the label's rows are too few to tell;
    `inconclusive` says what then. By default the estimate decides, for no canary looks at single labels. With dozens
    of labels and few rows of each, one will be below by chance: `pass` then refuses only what is surely below.
    """

    check: Literal["slice_floor"] = "slice_floor"
    floor: float = Field(default=0.3, ge=0.0, le=1.0, description="of exact match")
    rows: PositiveInt = Field(default=8, description="labels with fewer are not judged")
    inconclusive: Inconclusive = Field(
        default="estimate",
        description="when a label's rows are too few to tell: pass if the estimate is not below, or always the same",
    )


Check = Annotated[MinRows | MinValue | MaxValue | BeatsBase | NotWorse | SliceFloor, Field(discriminator="check")]


class GateSpec(Contract):
    """All checks must pass. The defaults suit a classification adapter judged on about 160 rows."""

    checks: tuple[Check, ...] = Field(
        default=(
            MinRows(),
            MinValue(metric="exact_match", limit=0.6),
            MinValue(metric="macro_f1", limit=0.5),
            MaxValue(metric="invalid_rate", limit=0.05),
            BeatsBase(),
            NotWorse(),
            SliceFloor(),
        ),
        min_length=1,
    )
