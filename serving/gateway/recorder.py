"""What is remembered of a finished request: arm counts, metrics, its pair, its row in the inference log.

Called on the event loop after the answer was sent; everything that could wait is queued.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from serving.gateway.batching import BatchWriter
from serving.gateway.dispatch import Dispatched
from serving.gateway.engine_wire import Answer
from serving.gateway.features import named
from serving.gateway.metrics import Metrics, Outcome
from serving.gateway.mirror import Mirroring, failed_answer
from serving.gateway.turn import Turn
from serving.gateway.upstream import EngineStream
from serving.gateway.windows import ArmCounter
from tidegate.clock import Clock
from tidegate.domain.evidence import ArmAnswer
from tidegate.domain.routing import Arm
from tidegate.inference_log import LogRow

Result = Dispatched[Answer] | Dispatched[EngineStream]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a request ended. Times in seconds.

    Args:
        arm_seconds: from asking the answering arm to the end of its answer: what the judge compares.
        arm_ttft: from asking the answering arm to its first token; None when not streamed.
        ttft: from the request's arrival to the first token; None when not streamed.
    """

    dispatched: Result
    outcome: Outcome
    text: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    arm_seconds: float
    arm_ttft: float | None = None
    ttft: float | None = None
    detail: str | None = None


class Recorder:
    """Turns endings into evidence, metrics and log rows."""

    def __init__(
        self,
        counter: ArmCounter,
        mirroring: Mirroring,
        log: BatchWriter[LogRow],
        *,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._counter = counter
        self._mirroring = mirroring
        self._log = log
        self._clock = clock
        self._metrics = metrics

    def finish(self, turn: Turn, ending: Ending, *, mirrored: bool) -> None:
        seconds = self._clock.monotonic() - turn.started
        self._count(turn, ending)
        self._measure(turn, ending, seconds)
        if mirrored:
            self._pair(turn, ending)
        self._log.offer(_row(turn, ending, seconds, mirrored=mirrored))

    def _count(self, turn: Turn, ending: Ending) -> None:
        """The arms' evidence: only what the user's own arm did at its first attempt.

        What the stable arm then answers in the candidate's place is no request of a stable user: counted there, the
        candidate's failures would make the stable arm's error rate look lower than it is.
        """
        dispatched = ending.dispatched
        labels = turn.table.deployment
        for item in dispatched.failed:
            if item.arm.role == turn.arm.role:
                self._counter.failed(turn.table, item.arm, turn.pseudonym, turn.place)
            self._metrics.arm_failures.labels(labels, item.arm.version, item.arm.role, item.failure.kind).inc()
        if not dispatched.clean:
            return
        own = dispatched.arm.role == turn.arm.role
        if ending.outcome == "ok" and own:
            self._counter.answered(
                turn.table,
                dispatched.arm,
                turn.pseudonym,
                turn.place,
                latency=ending.arm_seconds,
                ttft=ending.arm_ttft,
            )
        elif ending.outcome in ("error", "timeout", "invalid"):
            # The answer broke off after it had begun: no other attempt could hide it.
            if own:
                self._counter.failed(turn.table, dispatched.arm, turn.pseudonym, turn.place)
            self._metrics.arm_failures.labels(labels, dispatched.arm.version, dispatched.arm.role, "interrupted").inc()

    def _measure(self, turn: Turn, ending: Ending, seconds: float) -> None:
        arm = ending.dispatched.arm
        labels = (turn.table.deployment, arm.version, arm.role)
        self._metrics.requests.labels(*labels, ending.outcome).inc()
        if ending.outcome == "ok":
            self._metrics.latency.labels(*labels).observe(seconds)
            if ending.ttft is not None:
                self._metrics.ttft.labels(*labels).observe(ending.ttft)

    def _pair(self, turn: Turn, ending: Ending) -> None:
        # When both arms' first attempts failed it was the engine, not a version: the stable arm's retries would make
        # that a loss of the candidate.
        both_failed = len({item.arm.role for item in ending.dispatched.failed}) > 1
        if ending.outcome in ("abandoned", "refused") or both_failed:
            self._mirroring.release(turn)
            return
        shown = ending.dispatched.arm
        answers: dict[str, ArmAnswer] = {
            item.arm.role: failed_answer(item.arm, item.failure, item.seconds) for item in ending.dispatched.failed
        }
        # The mirrored arm is asked once, so the shown arm's first attempt is what compares with it, not its retries.
        answers.setdefault(shown.role, _shown(shown, ending))
        self._mirroring.submit(turn, shown, answers)


def _shown(arm: Arm, ending: Ending) -> ArmAnswer:
    ok = ending.outcome == "ok"
    return ArmAnswer(
        version=arm.version,
        outcome="ok" if ending.outcome == "ok" else _failed_outcome(ending.outcome),
        text=ending.text if ok else None,
        latency_seconds=ending.arm_seconds,
        detail=ending.detail,
    )


def _failed_outcome(outcome: Outcome) -> Literal["error", "timeout", "invalid"]:
    return outcome if outcome in ("timeout", "invalid") else "error"


def _row(turn: Turn, ending: Ending, seconds: float, *, mirrored: bool) -> LogRow:
    arm = ending.dispatched.arm
    return LogRow(
        request_id=turn.request_id,
        time=turn.time,
        model=turn.table.model,
        deployment=turn.table.deployment,
        version=arm.version,
        role=arm.role,
        epoch=turn.table.epoch,
        rollout=turn.table.rollout,
        step=turn.table.step,
        user=turn.pseudonym,
        customer=turn.customer,
        text=turn.ask.text,
        answer=ending.text,
        outcome=ending.outcome,
        latency_seconds=seconds,
        ttft_seconds=ending.ttft,
        prompt_tokens=ending.prompt_tokens,
        completion_tokens=ending.completion_tokens,
        features=dict(named(arm.prompt, turn.features)),
        stream=turn.ask.stream,
        mirrored=mirrored,
    )
