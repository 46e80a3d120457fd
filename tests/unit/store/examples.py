"""Values for the stores' tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.domain.drift import Alert, RetrainRequest
from tidegate.domain.evidence import ArmAnswer, ArmWindow, Feedback, Pair, PairEvent
from tidegate.domain.resources import ModelRuntime
from tidegate.domain.routing import Arm, RoutingTable
from tidegate.prompt import PromptTemplate

START = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64


def arm(role: Any, version: str, weight: float) -> Arm:
    return Arm(
        role=role,
        version=version,
        weight=weight,
        target="http://127.0.0.1:8100",
        adapter=f"banking-intent/{version}",
        adapter_digest=DIGEST,
        prompt=PromptTemplate(system="Bank intent."),
    )


def table(epoch: int, candidate_weight: float | None = None, **changes: Any) -> RoutingTable:
    arms: tuple[Arm, ...] = (arm("stable", "1", 100.0),)
    if candidate_weight is not None:
        arms = (arm("stable", "1", 100.0 - candidate_weight), arm("candidate", "2", candidate_weight))
    values = {"deployment": "intent-assistant", "model": "intent-assistant", "salt": "s", "updated_at": START}
    return RoutingTable(**{**values, "epoch": epoch, "arms": arms, **changes})


def runtime(name: str = "small", **engine: Any) -> ModelRuntime:
    return ModelRuntime.model_validate(
        {"metadata": {"name": name}, "spec": {"baseModel": {"uri": "builtin:smollm2-135m-instruct"}, "engine": engine}}
    )


def pair(number: int, *, seconds: float = 0.0, rollout: str = "r1") -> Pair:
    answer = ArmAnswer(version="1", outcome="ok", text="card_arrival", latency_seconds=0.1)
    return Pair(
        id=f"p{number}",
        deployment="intent-assistant",
        rollout=rollout,
        step="canary",
        epoch=3,
        user=f"u{number}",
        time=START + timedelta(seconds=seconds),
        request_id=f"q{number}",
        text="where is my card",
        features={"segment": "retail"},
        shown="stable",
        stable=answer,
        candidate=answer,
    )


def event(number: int, stable: float | None, candidate: float | None, scorer: str = "exact-match") -> PairEvent:
    return PairEvent(
        rollout="r1",
        pair=f"p{number}",
        scorer=scorer,
        stable_score=stable,
        candidate_score=candidate,
        user=f"u{number}",
        step="canary",
        time=START,
    )


def window(requests: int, *, gateway: str = "g1", rollout: str | None = "r1", minute: int = 0) -> ArmWindow:
    return ArmWindow(
        deployment="intent-assistant",
        rollout=rollout,
        step="canary",
        role="stable",
        version="1",
        epoch=3,
        gateway=gateway,
        block_start=START + timedelta(minutes=minute),
        requests=requests,
        errors=0,
        latency_counts=(requests, 0),
        ttft_counts=(requests, 0),
    )


def feedback(number: int, request: str, value: str, *, kind: Any = "label", seconds: float = 0.0) -> Feedback:
    return Feedback(
        id=f"f{number}",
        request_id=request,
        deployment="intent-assistant",
        kind=kind,
        value=value,
        source="labeller",
        time=START + timedelta(seconds=seconds),
    )


def alert(fingerprint: str = "abc", *, status: Any = "firing", seconds: float = 0.0) -> Alert:
    return Alert(
        source="alertmanager",
        fingerprint=fingerprint,
        status=status,
        name="Drift",
        model="banking-intent",
        starts_at=START + timedelta(seconds=seconds),
    )


def request(key: str, *, model: str = "banking-intent", status: Any = "pending") -> RetrainRequest:
    return RetrainRequest(key=key, model=model, reason="drift", status=status, created_at=START, updated_at=START)
