"""Whether replicas answer for the version that serves, as a function of what was said before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.controller.availability import RESTART_SECONDS, answers, lasting
from serving.controller.engine_keeper import EngineReport
from serving.rollout.status import SERVES, Availability
from tidegate.ports import EngineStatus

DOWN, SILENT = Availability(False, "no replica"), Availability(None, "no answer")
FOUND = st.sampled_from([SERVES, DOWN, SILENT])


def status(ready: str, reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": "as before"}]}


SAID = st.sampled_from(
    [
        {},
        status("False", "NothingNominated"),
        status("True", "Serving"),
        status("False", "EngineNotReady"),
        status("Unknown", "EngineSilent"),
    ]
)


def engine(ready: int, wanted: int = 2, message: str = "") -> EngineStatus:
    return EngineStatus(
        ready=ready == wanted, url="", adapters=(), replicas_ready=ready, replicas_wanted=wanted, message=message
    )


@pytest.mark.parametrize("ready", [1, 2])
def test_one_replica_is_enough_to_serve(ready: int) -> None:
    assert answers("7", "small", EngineReport(engine(ready), None)).serves


def test_why_nobody_answers_is_said_with_version_and_engine() -> None:
    down = answers("7+e2", "small-e2", EngineReport(engine(0, message="application is DEPLOYING"), None))
    assert down == Availability(
        False, "no replica of the engine small-e2 answers for version 7+e2: application is DEPLOYING"
    )
    silent = answers("7", "small", EngineReport(None, "Ray does not answer"))
    assert silent == Availability(None, "the engine small of version 7 does not answer: Ray does not answer")


@given(now=FOUND, before=SAID, waited=st.floats(0, 2 * RESTART_SECONDS))
def test_only_what_has_lasted_is_said_and_only_a_replica_takes_it_back(
    now: Availability, before: dict[str, Any], waited: float
) -> None:
    said = lasting(now, before, waited)
    reason = next((item["reason"] for item in before.get("conditions", ())), "")
    if now.serves:
        assert said == SERVES
    elif reason in {"EngineNotReady", "EngineSilent"} or waited >= RESTART_SECONDS:
        assert not said.serves
        assert said.problem
        assert said.serves is not None or reason != "EngineNotReady", "silence took back that nothing serves"
    else:
        assert said == SERVES
