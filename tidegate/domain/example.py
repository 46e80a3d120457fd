"""Examples: one row of training or evaluation data, in chat or preference format."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tidegate.domain.base import Contract, UtcTime


class Message(Contract):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class Example(Contract):
    """A conversation with its wanted answer as the last, assistant turn.

    `group` is the unit that must not be split over train and test (a customer); `event_time` orders the time split
    and is the moment for which features are joined.
    """

    id: str
    messages: tuple[Message, ...] = Field(min_length=2)
    event_time: UtcTime
    source: str = Field(description="where the row came from: a file name or 'generator'")
    group: str = Field(description="customer id; also the Feast entity key")

    @property
    def text(self) -> str:
        """The last user turn."""
        return next(m.content for m in reversed(self.messages) if m.role == "user")

    @property
    def answer(self) -> str:
        """The wanted answer: the last turn."""
        return self.messages[-1].content


class PreferenceExample(Contract):
    """A prompt with a better and a worse answer, for preference training."""

    id: str
    prompt: tuple[Message, ...] = Field(min_length=1)
    chosen: str
    rejected: str
    event_time: UtcTime
    source: str
    group: str
