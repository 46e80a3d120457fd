"""The state machine: (state, observation, time) -> (state', transitions, actions). Nothing else decides.

    Pending -> Preflight -> Shadow -> Step(i) -> Baking -> Succeeded
                   any of these -> RollingBack -> RolledBack, or -> Paused and back

A call makes at most one transition of its own beside the answers to what people asked. An abort is answered before
anything else.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import Field

from serving.rollout.actions import Action, actions
from serving.rollout.draft import Draft
from serving.rollout.freshness import stale
from serving.rollout.judge import judge
from serving.rollout.observation import Observation
from serving.rollout.operator_actions import NOT_TO_BE_PROMOTED, answer
from serving.rollout.preflight import PreflightResult, preflight
from serving.rollout.state import ACTIVE, MOVING, Attempt, Phase, RolloutState, Transition
from serving.rollout.verdicts import Judgement
from tidegate.domain.base import Contract
from tidegate.domain.resources import RolloutPlan

_PASSING = frozenset({"Degraded", "RejectedVersion"})
"""Reasons between rollouts that hold only as long as what they tell of."""


class Decision(Contract):
    """What to record, and then to do."""

    state: RolloutState
    transitions: tuple[Transition, ...]
    actions: tuple[Action, ...]
    answers: dict[str, str] = Field(default_factory=dict, description="operator action id -> the answer, a sentence")


def decide(state: RolloutState, seen: Observation, now: datetime) -> Decision:
    """The next state of a deployment and what follows from it. Pure: the same arguments give the same answer."""
    draft = Draft(state, now)
    _name_who_asked(draft, seen)
    answered = answer(draft, seen)
    if not answered:
        _HANDLERS[draft.state.phase](draft, seen)
    return Decision(
        state=draft.state,
        transitions=tuple(draft.transitions),
        actions=tuple(actions(draft.state, seen)),
        answers=draft.answers,
    )


def _name_who_asked(draft: Draft, seen: Observation) -> None:
    """Who asked for a rollout may be put on record while it runs: a step for two people cannot begin without it."""
    attempt = draft.state.attempt
    if attempt is not None and draft.state.phase in ACTIVE and not attempt.requested_by and seen.requested_by:
        draft.change(attempt=attempt.model_copy(update={"requested_by": seen.requested_by}))


# --- idle ------------------------------------------------------------------------------------------------------------


def _idle(draft: Draft, seen: Observation) -> None:
    """Between rollouts: is another version nominated?"""
    state = draft.state
    if seen.nominated is None:
        if seen.trouble is not None:
            draft.say("Degraded", seen.trouble)
        elif state.stable is None:
            waiting = f" Nothing carries {seen.awaited}." if seen.awaited else ""
            draft.say("NothingNominated", f"No version is nominated yet.{waiting}")
        elif state.reason in _PASSING:
            draft.say("Serving", f"Version {state.stable} serves all users; no other one is nominated.")
        return
    version = seen.nominated.release
    if version == state.stable:
        if state.phase == "Pending" or state.reason in _PASSING:
            draft.say("Serving", f"Version {version} serves all users.")
        return
    if version in state.rejected:
        why = state.rejected[version]
        again = f"`tidegate rollout resume {state.deployment}` tries it again"
        draft.say("RejectedVersion", f"Version {version} is nominated, but it was rolled back: {why} {again}.")
        return
    attempt = state.attempt
    if attempt is not None and attempt.candidate == version and attempt.concluded and _experiment(seen.plan):
        return  # it was tried; another purpose of the plan, another version or a `resume` starts the next rollout
    message = f"Version {version} is nominated; checking whether it can roll out."
    draft.start(version, seen.plan, "Nominated", message, requested_by=seen.requested_by)


# --- preflight -------------------------------------------------------------------------------------------------------


def _preflight(draft: Draft, seen: Observation) -> None:
    attempt = draft.attempt
    if seen.nominated is None or seen.situation is None:
        draft.say("Degraded", seen.trouble or f"Version {attempt.candidate} cannot be read from the registry.")
        return
    if seen.nominated.release != attempt.candidate:
        version = seen.nominated.release
        message = f"Version {version} was nominated instead of {attempt.candidate} before it got any traffic."
        draft.move("Pending", "Superseded", message, attempt=None)
        return
    attempt = _replanned(draft, seen)
    result = preflight(attempt.plan, seen.nominated, seen.situation)
    if not any(check.reason in NOT_TO_BE_PROMOTED for check in result.problems):
        attempt = attempt.model_copy(update={"cleared": True})
        draft.change(attempt=attempt)
    if result.problems:
        draft.say(result.problems[0].reason, " ".join(f"{check.message}." for check in result.problems))
        return
    if not (seen.engine.known and seen.engine.ready and attempt.candidate in seen.engine.adapters):
        detail = f" ({seen.engine.message})" if seen.engine.message else ""
        draft.say("LoadingAdapter", f"Version {attempt.candidate} is being loaded and warmed on the engine{detail}.")
        return
    if draft.state.stable is None:
        _first_version(draft, result)
        return
    if attempt.awaits_approval(0):
        _ask_for_approval(draft, 0)
        return
    _enter(draft, 0, _preflight_words(result))


def _replanned(draft: Draft, seen: Observation) -> Attempt:
    """Until traffic moves the plan may still be mended; an approval was given for the plan as it was then."""
    attempt = draft.attempt
    if attempt.plan != seen.plan:
        who = tuple(dict.fromkeys((*attempt.requested_by, *seen.requested_by)))
        attempt = attempt.model_copy(update={"plan": seen.plan, "approved_step": -1, "requested_by": who})
        draft.change(attempt=attempt)
    return attempt


def _first_version(draft: Draft, result: PreflightResult) -> None:
    version = draft.attempt.candidate
    message = f"Version {version} is the first one: it serves all users, there is nothing to compare it with."
    passed = "first version: its gate was passed" if not result.warnings else result.warnings[0].message
    draft.change(attempt=draft.attempt.model_copy(update={"passed": passed}))
    draft.reroute("Succeeded", "InitialDeployment", _loudly(message, result), stable=version)


def _preflight_words(result: PreflightResult) -> str:
    forecast = f"{result.forecast.message}." if result.forecast is not None else ""
    return _loudly(forecast, result)


def _loudly(message: str, result: PreflightResult) -> str:
    return " ".join([message, *(f"WARNING: {check.message}." for check in result.warnings)]).strip()


# --- with traffic ----------------------------------------------------------------------------------------------------


def _moving(draft: Draft, seen: Observation) -> None:
    """In a step: harm first, then what ends the attempt, then whether the step is complete."""
    if not seen.evidence_known:
        _blind(draft, seen)
        return
    judgement = _judged(draft, seen)
    if _harmful(draft, judgement) or _superseded(draft, seen) or _past_deadline(draft):
        return
    if not _acknowledged(draft, seen):
        return
    attempt = draft.attempt
    if attempt.step_since is None:
        attempt = attempt.model_copy(update={"step_since": draft.now})
        draft.change(attempt=attempt)
    if not _step_complete(draft, attempt, judgement) or not _fresh(draft, seen):
        return
    following = attempt.step + 1
    if following < len(attempt.plan.steps):
        if attempt.awaits_approval(following):
            _ask_for_approval(draft, following)
        else:
            _enter(draft, following)
        return
    _conclude(draft, judgement)


def _blind(draft: Draft, seen: Observation) -> None:
    """No evidence can be read: weights stay, what people ask for and the deadline still count."""
    if not (_superseded(draft, seen) or _past_deadline(draft)):
        _say_unreadable(draft, seen)


def _say_unreadable(draft: Draft, seen: Observation) -> None:
    draft.say("EvidenceUnreadable", f"{seen.trouble or 'The evidence cannot be read'}. Traffic stays where it is.")


def _judged(draft: Draft, seen: Observation) -> Judgement:
    attempt = draft.attempt
    judgement = judge(attempt.plan, seen.evidence, draft.now, rollout=attempt.id)
    if judgement != attempt.judgement:
        draft.change(attempt=attempt.model_copy(update={"judgement": judgement}))
    return judgement


def _harmful(draft: Draft, judgement: Judgement) -> bool:
    if judgement.harm is None:
        return False
    draft.roll_back("HarmFound", f"{judgement.harm.reason}.", reject=True)
    return True


def _superseded(draft: Draft, seen: Observation) -> bool:
    """Another nomination ends an attempt that has not yet been promoted; a rejected version's does not."""
    if seen.nominated is None:
        return False
    version = seen.nominated.release
    if version == draft.attempt.candidate or version in draft.state.rejected:
        return False
    message = f"Version {version} was nominated instead of {draft.attempt.candidate}; its own rollout follows."
    draft.roll_back("Superseded", message, reject=False)
    return True


def _past_deadline(draft: Draft) -> bool:
    attempt = draft.attempt
    limit = timedelta(seconds=attempt.plan.deadline_seconds)
    if draft.now - attempt.deadline_from < limit:
        return False
    _inconclusive(draft, "DeadlinePassed", f"The deadline of {attempt.plan.deadline_seconds} s has passed undecided.")
    return True


def _acknowledged(draft: Draft, seen: Observation) -> bool:
    """Whether every fresh gateway has this state's routing in force."""
    epoch = draft.state.epoch
    if seen.routing_epoch < epoch:
        draft.say("PublishingRouting", f"Routing of epoch {epoch} is being published.")
        return False
    late = sorted(gateway for gateway, acked in seen.acks.items() if acked < epoch)
    if late or not seen.acks:
        who = f"gateway {', '.join(late)}" if late else "a gateway; none has reported in the last seconds"
        draft.say("WaitingForGateways", f"Waiting for {who} to take over routing of epoch {epoch}.")
        return False
    return True


def _step_complete(draft: Draft, attempt: Attempt, judgement: Judgement) -> bool:
    step = attempt.plan.steps[attempt.step]
    pairs = judgement.pairs_by_step.get(step.name, 0)
    seconds = (draft.now - (attempt.step_since or draft.now)).total_seconds()
    waiting = []
    if pairs < step.min_pairs and judgement.pairs < attempt.plan.max_pairs:
        waiting.append(f"{pairs} of {step.min_pairs} pairs")
    if seconds < step.min_duration_seconds:
        waiting.append(f"{seconds:.0f} of {step.min_duration_seconds} s")
    if waiting:
        draft.say("CollectingEvidence", f"Step {step.name} at {step.weight}%: {' and '.join(waiting)}; no harm found.")
        return False
    return True


def _fresh(draft: Draft, seen: Observation) -> bool:
    why = stale(draft.attempt.plan, draft.state.weight, seen.evidence, seen.scoring, draft.now)
    if why is not None:
        draft.say("EvidenceStale", why)
    return why is None


def _conclude(draft: Draft, judgement: Judgement) -> None:
    """After the last step: promote with every gate passed, or wait, or give up by the declared maximum."""
    attempt = draft.attempt
    if _experiment(attempt.plan):
        estimates = "; ".join(verdict.estimate for verdict in judgement.verdicts)
        draft.change(attempt=attempt.model_copy(update={"concluded": f"{estimates} ({judgement.watermark})"}))
        message = f"The experiment with version {attempt.candidate} has seen its planned evidence: {estimates}."
        back = f"All users are back on version {draft.state.stable}."
        draft.roll_back("ExperimentConcluded", f"{message} {back}", reject=False)
        return
    if judgement.all_pass:
        passed = "; ".join(verdict.reason for verdict in judgement.verdicts)
        draft.change(attempt=attempt.model_copy(update={"passed": f"{passed} ({judgement.watermark})"}))
        draft.promote("GatesPassed", f"All gates passed: {passed}.")
        return
    missing = "; ".join(verdict.reason for verdict in judgement.undecided)
    pairs_undecided = any(verdict.metric in attempt.plan.paired for verdict in judgement.undecided)
    if judgement.pairs >= attempt.plan.max_pairs and pairs_undecided:
        _inconclusive(
            draft, "MaxPairsReached", f"All {attempt.plan.max_pairs} pairs are used and undecided: {missing}."
        )
        return
    draft.say("GatesUndecided", f"All steps are done, but not every gate has passed: {missing}.")


def _experiment(plan: RolloutPlan) -> bool:
    return plan.purpose == "Experiment"


def _inconclusive(draft: Draft, reason: str, message: str) -> None:
    attempt = draft.attempt
    if attempt.plan.on_inconclusive == "Rollback":
        draft.roll_back(reason, message, reject=True)
        return
    name = draft.state.deployment
    more = "" if reason == "MaxPairsReached" else f", or give it more time with `resume {name}`"
    choice = f"Decide with `tidegate rollout promote {name}` or `abort {name}`{more}."
    draft.pause(reason, f"{message} {choice}")


def _enter(draft: Draft, index: int, words: str = "") -> None:
    attempt = draft.attempt
    step = attempt.plan.steps[index]
    since = draft.now if attempt.step < 0 else attempt.deadline_from  # preflight may have waited for days
    draft.change(attempt=attempt.model_copy(update={"step": index, "step_since": None, "deadline_from": since}))
    what = "mirrored traffic only" if step.weight == 0 else f"{step.weight}% of users"
    message = f"Version {attempt.candidate} gets {what} in step {step.name}. {words}".strip()
    phase: Phase = "Shadow" if step.weight == 0 else "Step"
    draft.reroute(phase, "StepStarted", message, weight=float(step.weight), mirror=True)


def _ask_for_approval(draft: Draft, index: int) -> None:
    step = draft.attempt.plan.steps[index]
    how = f"`tidegate rollout approve {draft.state.deployment}`"
    second = step.approval == "SecondPerson"
    who = f" by somebody other than {' and '.join(draft.attempt.requested_by) or 'who asked for it'}" if second else ""
    draft.say("ApprovalRequired", f"Step {step.name} at {step.weight}% waits for approval{who}: {how}.")


# --- after the steps -------------------------------------------------------------------------------------------------


def _baking(draft: Draft, seen: Observation) -> None:
    if not seen.evidence_known:
        _say_unreadable(draft, seen)
        return
    if _harmful(draft, _judged(draft, seen)) or not _acknowledged(draft, seen):
        return
    attempt = draft.attempt
    since = attempt.baking_since or draft.now
    draft.change(attempt=attempt.model_copy(update={"baking_since": since}))
    seconds = (draft.now - since).total_seconds()
    if seconds < attempt.plan.bake_seconds:
        left = f"{seconds:.0f} of {attempt.plan.bake_seconds} s"
        draft.say(
            "Baking", f"Version {attempt.candidate} serves all users; {draft.state.stable} is kept ready ({left})."
        )
        return
    message = f"Version {attempt.candidate} is promoted; it replaces version {draft.state.stable}."
    draft.reroute(
        "Succeeded",
        "Promoted",
        message,
        stable=attempt.candidate,
        previous=draft.state.stable,
        weight=0.0,
        mirror=False,
    )


def _paused(draft: Draft, seen: Observation) -> None:
    """A pause holds what advances; harm and a newer nomination still end the attempt."""
    if seen.evidence_known and draft.state.paused_from in MOVING and _harmful(draft, _judged(draft, seen)):
        return
    if draft.state.paused_from in {"Preflight", "Shadow", "Step"}:
        _superseded(draft, seen)


def _rolling_back(draft: Draft, seen: Observation) -> None:
    state = draft.state
    late = seen.routing_epoch < state.epoch or any(acked < state.epoch for acked in seen.acks.values())
    if late and state.stable is not None:  # without a version that serves there is no routing to wait for
        return  # the reason of the rollback stays the one that is shown
    draft.move("RolledBack", state.reason, state.message)


_HANDLERS = {
    "Pending": _idle,
    "Succeeded": _idle,
    "RolledBack": _idle,
    "Preflight": _preflight,
    "Shadow": _moving,
    "Step": _moving,
    "Baking": _baking,
    "Paused": _paused,
    "RollingBack": _rolling_back,
}
