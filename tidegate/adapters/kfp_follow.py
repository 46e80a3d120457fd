"""Follows a run on a cluster: its steps, what they say, and why one failed.

The API of KFP shows neither outputs nor errors: a failed run has no reason, and a step that said why said it in its
log. So the logs of the steps' pods are read, through KFP's own API, and through the API server when that one is in
reach and the other keeps none.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol

from tidegate.adapters.job_folder import is_transient
from tidegate.adapters.kfp_client import KfpApi, Run, Task
from tidegate.adapters.kfp_packages import split_spec
from tidegate.errors import ResourceExhausted, TidegateError, Unavailable
from tidegate.wire import PROGRESS_MARK, error_from_line

_POLL_SECONDS = 2.0
_PATIENCE_SECONDS = 120.0
_TASKS_SECONDS = 60.0
"""For so long after a run's end is waited until KFP has told how its steps ended."""
_LAUNCHER = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ ")
"""Lines of KFP's launcher around those of the step."""
_DRIVER, _EXECUTOR, _ROOT = "-driver", "executor", "root"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """A step started, said a line, has trouble to start, or ended."""

    kind: Literal["started", "line", "trouble", "succeeded", "failed"]
    step: str
    text: str = ""
    seconds: float = 0.0


class ReasonUnknown(Unavailable):
    """A run failed, and neither a log nor KFP nor a pod says why: it may have been a gate's no, or a lost node."""


class RunStopped(Unavailable):
    """Somebody ended the run."""


class Pods(Protocol):
    """Of the API server, where it is in reach."""

    def troubles(self, run: str) -> list[str]:
        """What keeps the run's pods from working."""

    def logs(self, run: str, step: str) -> dict[str, str]:
        """What the step's pods wrote, by the pod's name, the last try last."""


@dataclass
class _Seen:
    states: dict[str, str] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)  # by pod: each try tells its own from the beginning
    troubles: set[str] = field(default_factory=set)


def steps(run: Run) -> list[Task]:
    """The tasks that a person wrote, in the order in which they started; KFP lists its own nodes among them.

    Every task has a driver, and that is what tells it from the other nodes.
    """
    known = {task.name for task in run.tasks}
    found = [task for task in run.tasks if f"{task.name}{_DRIVER}" in known and task.name != _ROOT]
    return sorted(found, key=lambda task: (task.started is None, str(task.started), task.name))


def nodes(run: Run, step: Task) -> list[str]:
    """Ids of the nodes that carried a step out, the last try last.

    A task names its children alone, and nobody's name is told; but a step and its executor start at one moment.
    """
    began = [task for task in run.tasks if task.name.startswith(_EXECUTOR) and task.started == step.started]
    found = [pod for task in (*began, step) for pod in task.pods]
    return list(dict.fromkeys(found))


def pod_names(node: str, templates: Sequence[str]) -> list[str]:
    """What the pod of a node may be called: Argo puts the template's name between the workflow's and a hash."""
    workflow, _, number = node.rpartition("-")
    return [f"{workflow}-{template}-{number}" for template in templates]


def templates(spec: Mapping[str, Any], step: str) -> list[str]:
    """Names of the templates that KFP's compiler may have made for a step of a version."""
    pipeline, platform = split_spec(spec)
    task = pipeline.get("root", {}).get("dag", {}).get("tasks", {}).get(step, {})
    component = pipeline.get("components", {}).get(task.get("componentRef", {}).get("name", ""), {})
    executors = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    metadata = executors.get(component.get("executorLabel", ""), {}).get("podMetadata", {})
    counts = len(metadata.get("annotations", {})), len(metadata.get("labels", {}))
    prefix = f"metadata-{counts[0]}-{counts[1]}-" if metadata else ""
    again = ("retry-", "") if task.get("retryPolicy") else ("", "retry-")
    return [f"{prefix}{retry}system-container-impl" for retry in again]


def follow(
    api: KfpApi,
    run: str,
    on_event: Callable[[RunEvent], None],
    *,
    pods: Pods | None = None,
    poll_seconds: float = _POLL_SECONDS,
    tasks_seconds: float = _TASKS_SECONDS,
) -> Run:
    """Until the run has ended.

    A KFP that does not answer for a while is waited for: the run goes on without it.

    Args:
        tasks_seconds: for how long after the run's end KFP may take to tell how its steps ended.

    Raises:
        TidegateError: the failing step's own error, or what is known of it.
        Unavailable: KFP does not answer any more; the run may go on.
    """
    seen, lost_since, ended_since, terminated = _Seen(), 0.0, 0.0, False
    while True:
        try:
            found = api.run(run)
            terminated |= found.terminated
            found = replace(found, terminated=terminated)  # KFP itself forgets it
            ended_since = (ended_since or time.monotonic()) if found.awaits_tasks else 0.0
            waited = not ended_since or time.monotonic() - ended_since >= tasks_seconds
            over = found.ended and (waited or api.stopped(run))  # one that was stopped may have no tasks
            found = found.closed() if over else found
            for event in _news(api, found, seen, pods):
                on_event(event)
            failure = why(api, found, pods) if over and found.state != "succeeded" else None
            lost_since = 0.0
        except Unavailable:
            lost_since = lost_since or time.monotonic()
            if time.monotonic() - lost_since > _PATIENCE_SECONDS:
                raise
            time.sleep(poll_seconds)
            continue
        if failure is not None:
            raise failure
        if over:
            return found
        time.sleep(poll_seconds)


def _news(api: KfpApi, run: Run, seen: _Seen, pods: Pods | None) -> Iterator[RunEvent]:
    for task in steps(run):
        before = seen.states.get(task.name)
        if before is None and task.state != "pending":
            yield RunEvent(kind="started", step=task.name)
            seen.states[task.name] = "running"  # said once, also when the log cannot be read now
        if task.state == "running" or (before in {None, "running"} and task.state in {"succeeded", "failed"}):
            yield from _said(api, run, task, seen, pods)
        if task.state != before and task.state in {"succeeded", "failed"}:
            kind: Literal["succeeded", "failed"] = "succeeded" if task.state == "succeeded" else "failed"
            yield RunEvent(kind=kind, step=task.name, seconds=_seconds(task))
        if task.state != "pending":
            seen.states[task.name] = task.state
    if pods is not None and not run.ended:
        for sentence in pods.troubles(run.id):
            if sentence not in seen.troubles:
                seen.troubles.add(sentence)
                yield RunEvent(kind="trouble", step="", text=sentence)


def _said(api: KfpApi, run: Run, task: Task, seen: _Seen, pods: Pods | None) -> Iterator[RunEvent]:
    for pod, log in _logs(api, run, task, pods).items():
        lines = [line.partition(PROGRESS_MARK)[2].strip() for line in log.splitlines() if PROGRESS_MARK in line]
        new = after(seen.lines.get(pod, []), lines)
        for line in new:
            yield RunEvent(kind="line", step=task.name, text=line)
        if new:
            seen.lines[pod] = lines


def after(seen: list[str], lines: list[str]) -> list[str]:
    """What of a log is new. It may break off early, or begin late: API servers give the end of a long one."""
    for kept in range(min(len(seen), len(lines)), 0, -1):  # the longest end of what was seen that it begins with
        if seen[-kept:] == lines[:kept]:
            return lines[kept:]
    if _place(lines, seen) is not None:
        return []
    place = _place(seen, lines)  # a whole log, after the end of one
    return lines[place + len(seen) :] if place is not None else lines


def _place(part: list[str], whole: list[str]) -> int | None:
    """Where in `whole` `part` stands, at the first of the places."""
    places = range(len(whole) - len(part) + 1)
    return next((at for at in places if whole[at : at + len(part)] == part), None)


def _logs(api: KfpApi, run: Run, task: Task, pods: Pods | None) -> dict[str, str]:
    """What the step's pods wrote, by the pod's name, the last try last."""
    if pods is not None and (found := pods.logs(run.id, task.name)):
        return found
    named = templates(api.spec_of(run), task.name)
    tried = (_first_log(api, run.id, pod_names(node, named)) for node in nodes(run, task))
    return {pod: log for pod, log in tried if log}


def _first_log(api: KfpApi, run: str, names: Iterable[str]) -> tuple[str, str]:
    """The first of the names under which there is a log."""
    found = ((name, log) for name in names if (log := api.log(run, name)))
    return next(found, ("", ""))


def _seconds(task: Task) -> float:
    if task.started is None or task.ended is None:
        return 0.0
    return max(0.0, (task.ended - task.started).total_seconds())


_LOGS_GONE: Final = "nothing says why: its pods and their logs are gone"
_NO_STEP: Final = "somebody ended it, or a pod of KFP's own failed"


def why(api: KfpApi, run: Run, pods: Pods | None = None) -> TidegateError:
    """Why a run did not succeed: the failing step's own error, else what is known of its pods.

    Raises:
        Unavailable: KFP does not answer now.
    """
    page = f"See {api.run_url(run.id)}."
    failed = [task for task in steps(run) if task.state == "failed"]
    logs = {task.name: list(_logs(api, run, task, pods).values()) for task in failed}
    told_by = ((step, error) for step, texts in logs.items() if (error := _told_error(texts)) is not None)
    step, error = next(told_by, ("", None))
    # What lasts is why it failed, also of a run that was ended then; what may pass is not why an ended one did.
    if (error is None or is_transient(error)) and (run.terminated or api.stopped(run.id)):
        return RunStopped(f"run {run.name!r} was ended by somebody", next_step=f"Start it again. {page}")
    if error is not None:
        return type(error)(f"step {step!r} of run {run.name!r}: {error.problem}", next_step=error.next_step)
    reasons = pods.troubles(run.id) if pods is not None else []
    reasons += [text for text in (*(task.error for task in failed), run.error) if text]
    last = [
        line.strip()
        for texts in logs.values()
        for text in texts[-1:]
        for line in text.splitlines()
        if line.strip() and not _LAUNCHER.match(line)
    ]
    if not reasons and last:
        reasons = [f"its log ends with: {last[-1][:300]}"]
    told = "; ".join(dict.fromkeys(reasons)) or (_LOGS_GONE if logs else _NO_STEP)
    which = f"step {', '.join(map(repr, logs))}" if logs else "none of its steps"
    cls = (ResourceExhausted if "OOMKilled" in told else Unavailable) if reasons else ReasonUnknown
    return cls(f"run {run.name!r} failed at {which}: {told}", next_step=page)


def _told_error(logs: Sequence[str]) -> TidegateError | None:
    """The error that the last try told."""
    for log in reversed(logs):
        errors = [error for line in log.splitlines() if (error := error_from_line(line)) is not None]
        if errors:
            return errors[-1]
    return None
