"""What people may ask of a rollout, and the answer in every phase. An abort is answered before anything else."""

from __future__ import annotations

from serving.rollout.draft import Draft
from serving.rollout.observation import Observation
from serving.rollout.preflight import preflight
from serving.rollout.state import ACTIVE, HISTORY_KEPT, MOVING, Attempt, OperatorAction

REFUSED = " was refused: "
"""Stands in the answer to an action that changed nothing."""
REQUESTED_BY = "tidegate.dev/requested-by"
"""Annotation of a ModelDeployment: who asked for what it says. On a cluster it cannot name anybody else."""
_AT_ONCE, _ABORTS_AT_ONCE = 20, 5
"""Actions answered in one decision; the others follow. The history that a state keeps has room for all these answers:
after a crash they are given again from it. Aborts are always heard."""
NOT_TO_BE_PROMOTED = {"AttestationInvalid", "GateNotPassed", "RankTooHigh", "BaseDiffers"}
"""Preflight problems that a promotion by hand does not override: the version is not trusted, or cannot work."""


def answer(draft: Draft, seen: Observation) -> bool:
    """Answers every new action; True when one of them moved the rollout."""
    new = [action for action in seen.operator if action.id not in draft.state.done_actions]
    new.sort(key=lambda action: (action.action != "abort", action.time, action.id))
    last_abort = max(((a.time, a.id) for a in new if a.action == "abort" and _is_meant(draft, a)), default=None)
    pending = {action.id for action in seen.operator}
    owed = [done for done in draft.state.done_actions if done in pending]  # decided; their answers did not arrive yet
    room = max(0, HISTORY_KEPT - len(owed))
    taken = new if room else [action for action in new if action.action == "abort"]
    for action in taken[: min(_AT_ONCE, max(room, _ABORTS_AT_ONCE))]:
        if not _is_meant(draft, action):
            _refuse(draft, action, f"it is meant for rollout {action.rollout}, and the last one is {_current(draft)}")
        elif action.action != "abort" and last_abort is not None and (action.time, action.id) < last_abort:
            _refuse(draft, action, "an abort was asked after it")
        else:
            _ACTIONS[action.action](draft, seen, action)
        draft.answered(action.id)
    # What is still asked must not be forgotten: it would be done twice.
    draft.change(done_actions=tuple(dict.fromkeys([*owed, *draft.state.done_actions])))
    return bool(draft.transitions)


def _is_meant(draft: Draft, action: OperatorAction) -> bool:
    return action.rollout is None or action.rollout == _current(draft)


def _current(draft: Draft) -> str:
    return draft.state.attempt.id if draft.state.attempt is not None else "none"


def _abort(draft: Draft, seen: Observation, action: OperatorAction) -> None:
    state = draft.state
    message = f"Aborted by {action.by}{_because(action)}."
    if state.phase in ACTIVE:
        draft.roll_back("Aborted", message, reject=True, by=action.by)
    elif state.phase == "Succeeded" and state.previous is not None:
        back = f"{message} Version {state.previous} serves again instead of {state.stable}."
        draft.revert("AbortedAfterPromotion", back, by=action.by)
    else:
        _refuse(draft, action, f"there is nothing to abort in phase {state.phase}")


def _pause(draft: Draft, seen: Observation, action: OperatorAction) -> None:
    if draft.state.phase in MOVING | {"Preflight"}:
        held = f"Paused by {action.by}{_because(action)}; the weight stays at {draft.state.weight:g}%."
        message = f"{held} `tidegate rollout resume {draft.state.deployment}` goes on."
        draft.pause("PausedByOperator", message, by=action.by)
    else:
        _refuse(draft, action, f"there is nothing to pause in phase {draft.state.phase}")


def _resume(draft: Draft, seen: Observation, action: OperatorAction) -> None:
    state = draft.state
    version = _to_retry(draft, seen)
    if state.phase == "Paused" and state.reason == "MaxPairsReached":
        used = draft.attempt.plan.max_pairs
        _refuse(draft, action, f"all {used} pairs that its plan declares are used; promote or abort it")
    elif state.phase == "Paused" and state.paused_from is not None:
        attempt = draft.attempt.model_copy(update={"deadline_from": draft.now})
        message = f"Resumed by {action.by}{_because(action)}; the deadline counts from now."
        draft.move(state.paused_from, "Resumed", message, by=action.by, paused_from=None, attempt=attempt)
    elif version is not None:
        message = f"Version {version} is tried again from the beginning, asked by {action.by}{_because(action)}."
        draft.start(version, seen.plan, "Retried", message, by=action.by, requested_by=(action.by,))
    else:
        _refuse(draft, action, f"there is nothing to resume in phase {state.phase}")


def _to_retry(draft: Draft, seen: Observation) -> str | None:
    """The version that a resume between rollouts starts again: the nominated one that was rejected, else the last."""
    state = draft.state
    if state.phase not in {"Pending", "Succeeded", "RolledBack"}:
        return None
    if seen.nominated is not None and seen.nominated.release in state.rejected:
        return seen.nominated.release
    if state.phase == "RolledBack" and state.attempt is not None and state.attempt.candidate != state.stable:
        return state.attempt.candidate
    return None


def _approve(draft: Draft, seen: Observation, action: OperatorAction) -> None:
    attempt = draft.state.attempt
    if draft.state.phase in {"Preflight", "Shadow", "Step"} and attempt is not None:
        following = attempt.step + 1
        if following < len(attempt.plan.steps) and attempt.plan.steps[following].approval != "None":
            alone = _not_a_second_person(attempt, following, action)
            if alone is not None:
                _refuse(draft, action, alone)
                return
            draft.change(attempt=attempt.model_copy(update={"approved_step": following}))
            name = attempt.plan.steps[following].name
            message = f"Step {name} approved by {action.by}{_because(action)}."
            draft.move(draft.state.phase, "Approved", message, by=action.by)
            return
    _refuse(draft, action, "no step waits for an approval")


def _promote(draft: Draft, seen: Observation, action: OperatorAction) -> None:
    state = draft.state
    problem = _why_not_promote(draft, seen) or _past_a_second_person(draft, action)
    if problem is not None:
        _refuse(draft, action, problem)
        return
    message = f"Promoted by hand by {action.by}{_because(action)}, past what the evidence says."
    attempt = draft.attempt
    passed = f"promoted by hand by {action.by}{_because(action)}"
    last = max(attempt.step, 0)
    draft.change(attempt=attempt.model_copy(update={"passed": passed, "step": last}))
    draft.promote("PromotedByOperator", f"{message} It was in phase {state.phase}.", by=action.by)


def _not_a_second_person(attempt: Attempt, step: int, action: OperatorAction) -> str | None:
    """Why a step that takes two people must not begin with this one; None when it may."""
    if attempt.plan.steps[step].approval != "SecondPerson":
        return None
    name = attempt.plan.steps[step].name
    if not attempt.requested_by:
        return f"step {name} takes a second person, and it is not on record who the first is: set {REQUESTED_BY}"
    if action.by in attempt.requested_by:
        return f"step {name} takes a second person, and {action.by} asked for this rollout"
    return None


def _past_a_second_person(draft: Draft, action: OperatorAction) -> str | None:
    """A promotion by hand skips steps, but not the second person that one of them takes."""
    attempt = draft.state.attempt
    if attempt is None:
        return None
    ahead = [step for step in range(max(0, attempt.step), len(attempt.plan.steps)) if attempt.awaits_approval(step)]
    return next((why for step in ahead if (why := _not_a_second_person(attempt, step, action)) is not None), None)


def _why_not_promote(draft: Draft, seen: Observation) -> str | None:
    state = draft.state
    if state.phase not in {"Preflight", "Shadow", "Step", "Paused"}:
        return f"there is nothing to promote in phase {state.phase}"
    if state.phase == "Preflight" or state.paused_from == "Preflight":
        if state.stable is None or seen.nominated is None or seen.situation is None:
            return "the version has not passed preflight"
        if seen.nominated.release != draft.attempt.candidate:
            return "another version is nominated now"
        result = preflight(draft.attempt.plan, seen.nominated, seen.situation)
        fatal = next((check for check in result.problems if check.reason in NOT_TO_BE_PROMOTED), None)
        if fatal is not None:
            return fatal.message
    if not (seen.engine.known and draft.attempt.candidate in seen.engine.adapters):
        return f"version {draft.attempt.candidate} is not loaded on the engine"
    return None


def _refuse(draft: Draft, action: OperatorAction, why: str) -> None:
    message = f"{action.action} asked by {action.by}{REFUSED}{why}."
    kept = draft.state
    draft.move(kept.phase, "ActionRefused", message, by=action.by)
    draft.change(reason=kept.reason, message=kept.message, changed_at=kept.changed_at)


_ACTIONS = {"abort": _abort, "pause": _pause, "resume": _resume, "approve": _approve, "promote": _promote}


def _because(action: OperatorAction) -> str:
    return f" ({action.reason})" if action.reason else ""
