"""Explanations: a state in one paragraph, and a rollout's facts as a timeline to draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from serving.rollout.state import ACTIVE, RolloutState
from tidegate.domain.base import Contract, UtcTime


def explain(state: RolloutState) -> str:
    """One paragraph for an on-call engineer: what serves, what is going on, why, and what the evidence says."""
    said = [f"{state.deployment}: " + (f"version {state.stable} serves" if state.stable else "no version serves yet")]
    attempt = state.attempt
    if attempt is not None and state.phase in ACTIVE | {"Baking"}:
        step = f", step {attempt.current.name}" if attempt.current is not None else ""
        said.append(f"version {attempt.candidate} is in phase {state.phase}{step} with {state.weight:g}% of users")
    elif attempt is not None and attempt.concluded is not None:
        said.append(f"the last rollout was an experiment with version {attempt.candidate}, and has ended")
    elif attempt is not None:
        said.append(f"the last rollout, of version {attempt.candidate}, is {_WORDS.get(state.phase, state.phase)}")
    text = "; ".join(said) + f". {state.message}"
    if attempt is not None and attempt.judgement is not None:
        verdicts = "; ".join(f"{v.metric} {v.outcome}: {v.reason}" for v in attempt.judgement.verdicts)
        text = f"{text} Evidence: {verdicts}."
    if attempt is not None and attempt.passed is not None:
        text = f"{text} Recorded pass: {attempt.passed.rstrip('.')}."
    return text


_WORDS = {
    "Succeeded": "promoted",
    "RolledBack": "rolled back",
    "RollingBack": "being rolled back",
    "Pending": "not started",
}


class Fact(Protocol):
    """A ledger entry, as far as a timeline reads it."""

    @property
    def time(self) -> datetime: ...

    @property
    def kind(self) -> str: ...

    @property
    def payload(self) -> dict[str, Any]: ...


class WeightPoint(Contract):
    """From this time on the version got this percentage of users."""

    time: UtcTime
    version: str
    weight: float
    epoch: int


class Mark(Contract):
    """Something that happened: a transition or a decision."""

    time: UtcTime
    phase: str
    reason: str
    message: str
    by: str


class ScorePoint(Contract):
    """Running paired score of a metric: pairs, wins and losses so far."""

    time: UtcTime
    metric: str
    pairs: int
    wins: int
    losses: int


class Timeline(Contract):
    """What a picture of rollouts draws."""

    weights: tuple[WeightPoint, ...]
    marks: tuple[Mark, ...]
    scores: tuple[ScorePoint, ...]


def timeline(facts: Iterable[Fact]) -> Timeline:
    """The timeline of ledger entries, oldest first, of one deployment or one rollout."""
    weights: list[WeightPoint] = []
    marks: list[Mark] = []
    scores: list[ScorePoint] = []
    counts: dict[str, tuple[int, int, int]] = {}
    for fact in facts:
        payload = fact.payload
        if fact.kind == "routing.published":
            table = payload["table"]
            weights += [
                WeightPoint(time=fact.time, version=arm["version"], weight=arm["weight"], epoch=table["epoch"])
                for arm in table["arms"]
            ]
        elif fact.kind == "rollout.transition":
            marks.append(_mark(fact.time, payload))
        elif fact.kind == "pair.scored":
            point = _score(fact.time, payload, counts)
            if point is not None:
                scores.append(point)
    return Timeline(weights=tuple(weights), marks=tuple(marks), scores=tuple(scores))


def _mark(time: datetime, payload: Mapping[str, Any]) -> Mark:
    return Mark(
        time=time,
        phase=payload["to_phase"],
        reason=payload["reason"],
        message=payload["message"],
        by=payload["by"],
    )


def _score(time: datetime, payload: Mapping[str, Any], counts: dict[str, tuple[int, int, int]]) -> ScorePoint | None:
    stable, candidate = payload.get("stable_score"), payload.get("candidate_score")
    if stable is None or candidate is None:
        return None
    metric = payload["scorer"]
    pairs, wins, losses = counts.get(metric, (0, 0, 0))
    counts[metric] = (pairs + 1, wins + int(candidate > stable), losses + int(candidate < stable))
    pairs, wins, losses = counts[metric]
    return ScorePoint(time=time, metric=metric, pairs=pairs, wins=wins, losses=losses)
