"""Builders of versions, plans and evidence for the rollout's tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from serving.rollout.evidence import Evidence
from serving.rollout.observation import EngineView, Observation
from serving.rollout.preflight import Candidate, Situation
from tidegate.domain.base import Interval
from tidegate.domain.evaluation import (
    Attestation,
    EvalReport,
    GateCheck,
    GateOverride,
    GateVerdict,
    Metric,
    PairedComparison,
)
from tidegate.domain.evidence import ArmWindow, PairEvent, UserCounts
from tidegate.domain.resources import ModelRuntimeSpec, RolloutPlan
from tidegate.domain.routing import Role
from tidegate.domain.training import BaseModelRef
from tidegate.domain.version import AdapterInfo, Lineage, ModelVersion
from tidegate.prompt import GenerationDefaults, PromptTemplate

START = datetime(2026, 3, 1, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64
BOUNDS = (0.1, 0.2, 0.4, 0.8, 1.6)


def plan(**changes: Any) -> RolloutPlan:
    """A small plan: shadow, 10%, 50%; one gate and the error rate."""
    manifest: dict[str, Any] = {
        "steps": [
            {"name": "shadow", "weight": 0, "minPairs": 40},
            {"name": "small", "weight": 10, "minPairs": 20, "minDurationSeconds": 5},
            {"name": "half", "weight": 50, "minPairs": 20, "minDurationSeconds": 5},
        ],
        "bakeSeconds": 5,
        "deadlineSeconds": 600,
        "maxPairs": 400,
        "metrics": [
            {"name": "exact-match", "mode": "NonInferiority", "comparison": "Paired", "maxDropPoints": "5"},
            {"name": "error-rate", "mode": "NoHarm", "comparison": "Concurrent", "maxIncreasePoints": "0.5"},
        ],
    }
    return RolloutPlan.model_validate(manifest | changes)


def version(
    number: str,
    *,
    gate: bool = True,
    override: str | None = None,
    rank: int = 16,
    base: str = DIGEST,
    difference: float = 0.3,
    against: str = "1",
) -> ModelVersion:
    """Version `number` of banking-intent, compared offline with version `against`."""
    report = EvalReport(
        candidate="adapter",
        data_digest=DIGEST,
        metrics=(Metric(name="exact_match", value=0.9, n=200),),
        comparisons=(
            PairedComparison(
                baseline=f"banking-intent/{against}",
                metric="exact_match",
                candidate_value=0.9,
                baseline_value=0.9 - difference,
                difference=difference,
                interval=Interval(low=difference - 0.05, high=difference + 0.05, method="test"),
                wins=round(100 * max(difference, 0)) + 4,
                losses=round(100 * max(-difference, 0)) + 4,
                n=100,
            ),
        ),
        gate=GateVerdict(passed=gate, checks=(GateCheck(name="exact", passed=gate, reason="exact match is 12%"),)),
        override=GateOverride(by=override, reason="a drill", at=START) if override else None,
        created_at=START,
    )
    return ModelVersion(
        name="banking-intent",
        version=number,
        base=BaseModelRef(uri="base", digest=base, name="SmolLM2"),
        adapter=AdapterInfo(uri=f"/a/{number}", digest=DIGEST, rank=rank, target_modules=("q_proj",), size_bytes=1),
        prompt=PromptTemplate(system="Answer.", labels=("card_arrival", "top_up")),
        generation=GenerationDefaults(),
        tokenizer_digest=DIGEST,
        report=report,
        attestation=Attestation(report_digest=DIGEST, signature="s", key_id="k", signed_at=START),
        lineage=Lineage(data_digest=DIGEST, commit="abc", pipeline_run="run"),
        reference_uri="ref",
        created_at=START,
    )


def runtime(**engine: Any) -> ModelRuntimeSpec:
    return ModelRuntimeSpec.model_validate({"baseModel": {"uri": "base"}, "engine": engine})


def seen(number: str | None = None, **changes: Any) -> Observation:
    """A world in which version `number` is nominated, loaded and routable, and version 1 is the stable one."""
    fields: dict[str, Any] = {
        "plan": plan(),
        "nominated": Candidate(version(number)) if number else None,
        "situation": Situation(
            runtime=runtime(),
            stable=version("1"),
            measured=frozenset({"exact-match", "error-rate"}),
            pairs_per_second=5.0,
        ),
        "engine": EngineView(known=True, ready=True, adapters=("1", number) if number else ("1",)),
        "champion": "1",
        "champion_known": True,
    }
    return Observation(**(fields | changes))


def pairs(
    outcomes: str, step: str = "shadow", *, rollout: str = "r", scorer: str = "exact-match", first: int = 0
) -> list[PairEvent]:
    """Scored pairs from text: '+' a win, '-' a loss, '=' both right, '.' both wrong, '?' not scored,
    'c' or 's' missing for the candidate or the stable version only."""
    scores = {
        "+": (0.0, 1.0),
        "-": (1.0, 0.0),
        "=": (1.0, 1.0),
        ".": (0.0, 0.0),
        "?": (None, None),
        "c": (1.0, None),
        "s": (None, 1.0),
    }
    return [
        PairEvent(
            rollout=rollout,
            pair=f"p{first + i}",
            scorer=scorer,
            stable_score=scores[outcome][0],
            candidate_score=scores[outcome][1],
            user=f"u{first + i}",
            step=step,
            time=START + timedelta(seconds=(first + i) / 5),
        )
        for i, outcome in enumerate(outcomes)
    ]


def window(
    role: Role,
    requests: int,
    errors: int = 0,
    *,
    step: str = "half",
    second: float = 0.0,
    latency: Sequence[int] = (),
    gateway: str = "g",
    users: tuple[int, int] | None = None,
) -> ArmWindow:
    """`users` are (seen, of these failed) for the first time; latencies of users are then those of the requests."""
    counts = tuple(latency) or (requests - errors, *(0 for _ in BOUNDS))
    return ArmWindow(
        deployment="d",
        rollout="r",
        step=step,
        role=role,
        version="1" if role == "stable" else "2",
        epoch=1,
        gateway=gateway,
        block_start=START + timedelta(seconds=second),
        requests=requests,
        errors=errors,
        latency_counts=counts,
        ttft_counts=counts,
        users=UserCounts(seen=users[0], errors=users[1], failed=users[1], latency_counts=counts, ttft_counts=counts)
        if users is not None
        else None,
    )


def evidence(events: Sequence[PairEvent] = (), windows: Sequence[ArmWindow] = ()) -> Evidence:
    return Evidence(pair_events=events, windows=windows, bounds=BOUNDS)
