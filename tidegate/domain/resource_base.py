"""What all resources of `tidegate.dev/v1alpha1` share: names, bounded numbers, decimal texts, conditions.

Every list, text and number has a bound. Kubernetes estimates the cost of a validation rule from them and refuses a
definition whose rules could become too expensive; and an object must fit into etcd.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from tidegate.domain.base import UtcTime

GROUP: Final = "tidegate.dev"
API_VERSION: Final = "tidegate.dev/v1alpha1"
MOST_SHARE, ALL_POINTS = 50, 100
_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_DECIMAL = r"^[0-9]{1,6}(\.[0-9]{1,6})?$"
_SECONDS_OF_A_YEAR = 31_536_000


def _share(text: str) -> str:
    if not 0 < Decimal(text) <= MOST_SHARE:
        raise ValueError(f"{text!r} must be above 0 and at most {MOST_SHARE} percent")
    return text


def _points(text: str) -> str:
    if Decimal(text) >= ALL_POINTS:
        raise ValueError(f"{text!r} must be below {ALL_POINTS} points")
    return text


DecimalText = Annotated[str, Field(max_length=13, pattern=_DECIMAL)]
"""A number that is not negative, as text: '5', '0.25'."""
Share = Annotated[DecimalText, AfterValidator(_share)]
"""Percent of rollouts that may be judged wrongly."""
Points = Annotated[DecimalText, AfterValidator(_points)]
"""Percentage points of a score or rate."""

Name = Annotated[str, Field(max_length=63, pattern=_LABEL)]
"""A DNS label."""
LongName = Annotated[str, Field(max_length=253, pattern=_SUBDOMAIN)]
"""A DNS subdomain, as Kubernetes takes it for most names."""
Text = Annotated[str, Field(min_length=1, max_length=253)]
"""A name that another system gave: a registered model, a version, an alias, a metric."""

# A number is a number: "10" and true are refused here because an API server refuses them.
Whole = Annotated[int, Field(strict=True)]
Percent = Annotated[Whole, Field(ge=0, le=100)]
Seconds = Annotated[Whole, Field(ge=0, le=_SECONDS_OF_A_YEAR)]
Epoch = Annotated[Whole, Field(ge=0, le=2**63 - 1)]
"""A counter that only grows; int64."""
Flag = Annotated[bool, Field(strict=True)]


class Resource(BaseModel):
    """camelCase outside, snake_case inside; unknown fields are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_unset(cls, data: Any) -> Any:
        """As an API server has it: `image: null` and no `image` are the same."""
        if not isinstance(data, dict):
            return data
        known = {*cls.model_fields, *(field.alias for field in cls.model_fields.values())}
        return {key: value for key, value in data.items() if value is not None or key not in known}


class Metadata(Resource):
    """Who an object is."""

    name: Name = Field(description="a DNS label; of a ModelDeployment also the model name that applications call")
    namespace: str = "default"
    labels: dict[str, str] = Field(default={}, description="for people and tools; no meaning here")
    annotations: dict[str, str] = Field(
        default={}, description="no meaning here but tidegate.dev/requested-by: who asked for this spec"
    )


class LongMetadata(Metadata):
    """Of objects that are made, not named: rollouts and actions."""

    name: LongName = Field(description="a DNS subdomain")


class NameRef(Resource):
    """An object of the same namespace."""

    name: Name = Field(description="its metadata.name")


class ResourceCondition(Resource):
    """One aspect of an object's state, as `kubectl wait --for=condition=…` reads it."""

    type: Annotated[str, Field(max_length=63, pattern=r"^[A-Z][A-Za-z0-9]*$")] = Field(
        description="Ready, Progressing, Paused, Degraded"
    )
    status: Literal["True", "False", "Unknown"] = Field(description="whether it holds")
    reason: str = Field(description="UpperCamelCase code of the cause")
    message: str = Field(description="a sentence for people")
    observed_generation: Epoch = Field(
        description="metadata.generation that this was said of; `kubectl wait` asks for it"
    )
    last_transition_time: UtcTime = Field(description="when `status` last changed")
