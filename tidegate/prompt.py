"""The prompt template: one piece of code renders it for training, evaluation and serving.

A skew between what was trained and what is served starts where two places render "the same" prompt; there is one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Self

from pydantic import Field, PositiveInt, model_validator

from tidegate.domain.base import Contract
from tidegate.domain.example import Message

FeatureValue = str | int | float | bool | None
MISSING = "unknown"


class PromptTemplate(Contract):
    """A system turn with feature placeholders, put before the user's turns.

    `system` is a `str.format` template whose fields are exactly `features`, for example
    `"segment={segment}; answer with one intent."`. A feature that is absent or None renders as `unknown`, in training
    as in serving. No other formatting syntax is allowed: a template is data and must not reach into objects.
    """

    system: str
    features: tuple[str, ...] = Field(default=(), description="names of the features, in the feature store's spelling")
    feature_views: tuple[str, ...] = Field(default=(), description="Feast references: 'view:feature', same order")
    labels: tuple[str, ...] = Field(default=(), description="the closed set of valid answers; empty means free text")

    @model_validator(mode="after")
    def _fields_match(self) -> Self:
        fields = set()
        for _, field, spec, conversion in Formatter().parse(self.system):
            if field is None:
                continue
            if spec or conversion or not field.isidentifier():
                raise ValueError(f"placeholder {{{field}}} must be a plain feature name")
            fields.add(field)
        if fields != set(self.features):
            raise ValueError(f"placeholders {sorted(fields)} are not the declared features {sorted(self.features)}")
        if self.feature_views and len(self.feature_views) != len(self.features):
            raise ValueError("feature_views and features must have the same length")
        return self

    def render(self, messages: Sequence[Message], features: Mapping[str, FeatureValue]) -> list[Message]:
        """The messages that the model sees: the rendered system turn, then the user's and assistant's turns.

        System turns of the caller are dropped: the version's own system turn is part of what was evaluated.
        """
        values = {name: _text(features.get(name)) for name in self.features}
        system = Message(role="system", content=self.system.format_map(values))
        return [system, *(message for message in messages if message.role != "system")]


def _text(value: FeatureValue) -> str:
    """A feature as prompt text. Floats lose noise digits, so that the two stores cannot differ by representation."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if math.isnan(value):  # pandas' missing
            return MISSING
        return f"{value:.6g}"
    return str(value)


class GenerationDefaults(Contract):
    """Generation settings that a version was evaluated with; a request may narrow but not widen `max_tokens`."""

    max_tokens: PositiveInt = 16
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    stop: tuple[str, ...] = ()
