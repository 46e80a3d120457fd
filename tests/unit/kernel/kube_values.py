"""Any value of the types that go through an API server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

from hypothesis import strategies as st

from serving.rollout.state import Attempt, Phase, RolloutState, Transition
from serving.rollout.verdicts import Judgement, MetricVerdict
from tests.unit.rollout.builders import plan
from tidegate.domain.routing import Arm, Mirror, RoutingTable
from tidegate.prompt import GenerationDefaults, PromptTemplate

TIMES = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - Hypothesis takes the zone apart
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
).map(lambda time: time.replace(fold=0))
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)
VERSIONS = st.integers(1, 99).map(str)
_PHASES = st.sampled_from(get_args(Phase))
_COUNTS = st.integers(0, 2**63 - 1)

_verdicts = st.builds(
    MetricVerdict,
    metric=TEXTS,
    mode=st.sampled_from(["NonInferiority", "NoHarm"]),
    outcome=st.sampled_from(["Harm", "NonInferior", "NoHarmFound", "Inconclusive"]),
    reason=TEXTS,
    numbers=st.dictionaries(TEXTS, st.floats(), max_size=3),
)
_judgements = st.builds(
    Judgement,
    verdicts=st.lists(_verdicts, max_size=3).map(tuple),
    pairs=_COUNTS,
    pairs_by_step=st.dictionaries(TEXTS, _COUNTS, max_size=2),
    watermark=TEXTS,
)
_attempts = st.builds(
    Attempt,
    id=TEXTS,
    candidate=VERSIONS,
    plan=st.sampled_from([plan(), plan(maxPairs=7, mirror={"percent": 3})]),
    started_at=TIMES,
    deadline_from=TIMES,
    step=st.integers(-1, 2),
    step_since=st.none() | TIMES,
    baking_since=st.none() | TIMES,
    approved_step=st.integers(-1, 2),
    passed=st.none() | TEXTS,
    judgement=st.none() | _judgements,
)
_transitions = st.builds(
    Transition,
    time=TIMES,
    rollout=TEXTS,
    from_phase=_PHASES,
    to_phase=_PHASES,
    step=st.none() | TEXTS,
    weight=st.floats(allow_nan=False),
    reason=TEXTS,
    message=TEXTS,
    by=TEXTS,
)


def rollout_states() -> st.SearchStrategy[RolloutState]:
    return st.builds(
        RolloutState,
        deployment=TEXTS,
        phase=_PHASES,
        stable=st.none() | VERSIONS,
        previous=st.none() | VERSIONS,
        attempt=st.none() | _attempts,
        paused_from=st.none() | _PHASES,
        epoch=_COUNTS,
        weight=st.floats(0, 100),
        mirror=st.booleans(),
        rejected=st.dictionaries(VERSIONS, TEXTS, max_size=2),
        done_actions=st.lists(TEXTS, max_size=3).map(tuple),
        reason=TEXTS,
        message=TEXTS,
        changed_at=st.none() | TIMES,
        history=st.lists(_transitions, max_size=3).map(tuple),
    )


@st.composite
def routing_tables(draw: st.DrawFn) -> RoutingTable:
    """Tables with whole percents, as plans have them."""
    candidate = draw(st.none() | st.integers(0, 100))
    features = draw(st.lists(st.sampled_from(["segment", "country", "tenure"]), unique=True, max_size=3))
    prompt = PromptTemplate(
        system=draw(TEXTS).replace("{", "").replace("}", "") + "".join(f"{{{name}}}" for name in features),
        features=tuple(features),
        feature_views=tuple(f"customers:{name}" for name in features) if draw(st.booleans()) else (),
        labels=tuple(draw(st.lists(TEXTS, max_size=3))),
    )

    def arm(role: str, weight: int) -> Arm:
        return Arm.model_validate(
            {
                "role": role,
                "version": draw(VERSIONS),
                "weight": float(weight),
                "target": "http://engine:8000",
                "adapter": "banking-intent/7",
                "adapter_digest": "sha256:" + "a" * 64,
                "prompt": prompt,
                "generation": GenerationDefaults(
                    max_tokens=draw(st.integers(1, 4096)),
                    temperature=draw(st.floats(0, 2)),
                    stop=tuple(draw(st.lists(TEXTS, max_size=2))),
                ),
            }
        )

    arms = [arm("stable", 100 - (candidate or 0))]
    if candidate is not None:
        arms.append(arm("candidate", candidate))
    return RoutingTable(
        deployment="intent-assistant",
        model="intent-assistant",
        epoch=draw(_COUNTS),
        salt="intent-assistant-v7-3",
        rollout=draw(st.none() | st.just("intent-assistant-v7-3")),
        step=draw(st.none() | st.just("half")),
        arms=tuple(arms),
        mirror=Mirror(percent=float(draw(st.integers(0, 100))), max_concurrency=draw(st.integers(1, 1024))),
        updated_at=draw(TIMES),
    )
