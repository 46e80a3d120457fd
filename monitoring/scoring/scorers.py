"""Scorers: an answer in, a score in [0, 1] out, higher is better. Pure.

A scorer is a function of (answer, label, valid labels) and stands in `SCORERS` by the name that rollout plans use for
it. To add one, write the function and name it here. None means "cannot say", which the judge counts as missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from tidegate.domain.evidence import ArmAnswer, Pair, PairEvent

_REFUSAL = re.compile(
    r"\b(i('m| am) (sorry|unable|not able)|i (cannot|can't|can not|won't)|as an ai\b"
    r"|i do not have (access|the ability))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Question:
    """What a scorer may know beside the answer."""

    label: str | None
    labels: Collection[str]


@dataclass(frozen=True, slots=True)
class Scorer:
    """`needs_label`: the score must wait for the true label."""

    score: Callable[[str, Question], float | None]
    needs_label: bool


def valid_label(answer: str, question: Question) -> float | None:
    """1 when the answer is one of the version's labels; None when the version answers in free text."""
    return float(answer.strip() in question.labels) if question.labels else None


def exact_match(answer: str, question: Question) -> float | None:
    """1 when the answer is the true label."""
    return None if question.label is None else float(answer.strip() == question.label.strip())


def length_ratio(answer: str, question: Question) -> float | None:
    """Shorter over longer of answer and truth, in characters: 1 for equal lengths, towards 0 for rambling."""
    if question.label is None:
        return None
    lengths = sorted((len(answer.strip()), len(question.label.strip())))
    return lengths[0] / lengths[1] if lengths[1] else 1.0


def no_refusal(answer: str, question: Question) -> float | None:
    """0 when the answer declines to answer, or is empty."""
    del question
    return float(bool(answer.strip()) and not _REFUSAL.search(answer))


SCORERS: dict[str, Scorer] = {
    "valid-label": Scorer(valid_label, needs_label=False),
    "exact-match": Scorer(exact_match, needs_label=True),
    "length-ratio": Scorer(length_ratio, needs_label=True),
    "no-refusal": Scorer(no_refusal, needs_label=False),
}


def score_pair(
    pair: Pair,
    label: str | None,
    labels: Mapping[str, Collection[str]],
    *,
    final: bool,
    scorers: Mapping[str, Scorer] = SCORERS,
) -> list[PairEvent]:
    """The events that can be said about a pair now.

    Args:
        label: the true label, when it has come.
        labels: valid labels by version.
        final: no label will be waited for any more: what is missing is said to be missing (None for both arms, since
            the reason is the same for both).
    """
    events = []
    for name, scorer in scorers.items():
        waits = scorer.needs_label and label is None
        if waits and not final:
            continue
        scores = [
            None if waits else _arm_score(arm, scorer, Question(label, labels.get(arm.version, ())))
            for arm in (pair.stable, pair.candidate)
        ]
        events.append(
            PairEvent(
                rollout=pair.rollout,
                pair=pair.id,
                scorer=name,
                stable_score=scores[0],
                candidate_score=scores[1],
                user=pair.user,
                step=pair.step,
                time=pair.time,
            )
        )
    return events


def _arm_score(arm: ArmAnswer, scorer: Scorer, question: Question) -> float | None:
    """An arm that timed out or failed has lost, whatever the scorer: a broken answer is never a missing one."""
    if arm.outcome != "ok" or arm.text is None:
        return 0.0
    return scorer.score(arm.text, question)
