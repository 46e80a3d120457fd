"""What Kubeflow Pipelines has, as values: the answers of its API without its classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

RunState = Literal["pending", "running", "succeeded", "failed", "canceled"]
_STATES: Final[Mapping[str, RunState]] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "PAUSED": "running",
    "SUCCEEDED": "succeeded",
    "SKIPPED": "succeeded",
    "FAILED": "failed",
    "CANCELING": "running",
    "CANCELED": "canceled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    id: str
    name: str
    description: str
    created: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineVersion:
    id: str
    pipeline: str
    name: str
    created: datetime | None
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A node of a run: `pods` are those it was carried out by, the last try last."""

    name: str
    state: RunState
    pods: tuple[str, ...]
    started: datetime | None
    ended: datetime | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    id: str
    name: str
    state: RunState
    pipeline: str
    version: str
    created: datetime | None
    finished: datetime | None
    error: str
    schedule: str
    service_account: str
    parameters: Mapping[str, Any]
    tasks: tuple[Task, ...]
    terminated: bool

    @property
    def ended(self) -> bool:
        return self.state in {"succeeded", "failed", "canceled"}

    @property
    def awaits_tasks(self) -> bool:
        """Whether the run has ended, and its tasks are still told as they were before.

        KFP 2.14 writes the run's state, asks the API server to label the workflow, and writes the tasks then
        (`ReportWorkflowResource`, `reportTasksFromExecution`): 0.01 to 0.04 s later on an idle machine, after some
        minutes where that asking is refused, and not for a day where the last write fails.
        """
        return self.ended and not (self.tasks and all(task.state != "running" for task in self.tasks))

    def closed(self) -> Run:
        """An ended run whose tasks were never told to the end: those that ran ended as it did."""
        state: RunState = "succeeded" if self.state == "succeeded" else "failed"
        ended = (replace(task, state=state) if task.state == "running" else task for task in self.tasks)
        return replace(self, tasks=tuple(ended)) if self.ended else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    id: str
    name: str
    pipeline: str
    version: str
    cron: str
    enabled: bool
    max_concurrency: int
    no_catchup: bool
    parameters: Mapping[str, Any]
    description: str
    service_account: str
    experiment: str


def pipeline_of(item: Any) -> Pipeline:
    return Pipeline(
        id=item.pipeline_id, name=item.display_name, description=item.description or "", created=item.created_at
    )


def version_of(item: Any) -> PipelineVersion:
    return PipelineVersion(
        id=item.pipeline_version_id,
        pipeline=item.pipeline_id,
        name=item.display_name,
        created=item.created_at,
        spec=item.pipeline_spec or {},
    )


def run_of(item: Any) -> Run:
    reference, config = item.pipeline_version_reference, item.runtime_config
    details = (item.run_details.task_details or []) if item.run_details else []
    history = [str(status.state) for status in item.state_history or ()]
    return Run(
        id=item.run_id,
        name=item.display_name,
        state=_STATES.get(str(item.state), "pending"),
        pipeline=reference.pipeline_id or "" if reference else "",
        version=reference.pipeline_version_id or "" if reference else "",
        created=item.created_at,
        finished=item.finished_at if _STATES.get(str(item.state)) in {"succeeded", "failed", "canceled"} else None,
        error=str(item.error.message or "") if item.error else "",
        schedule=item.recurring_run_id or "",
        service_account=item.service_account or "",
        parameters=dict(config.parameters or {}) if config else {},
        tasks=tuple(_task(detail) for detail in details),
        # KFP 2.14 says so only until the workflow has ended; see `kfp_workflow.was_stopped`.
        terminated=any(state in {"CANCELING", "CANCELED"} for state in (*history, str(item.state))),
    )


def _task(item: Any) -> Task:
    pods = [child.pod_name for child in item.child_tasks or () if child.pod_name]
    if item.pod_name:
        pods.append(item.pod_name)
    return Task(
        name=item.display_name or "",
        state=_STATES.get(str(item.state), "pending"),
        pods=tuple(pods),
        started=item.start_time,
        ended=item.end_time,
        error=str(item.error.message or "") if item.error else "",
    )


def schedule_of(item: Any) -> Schedule:
    reference, config = item.pipeline_version_reference, item.runtime_config
    cron = item.trigger.cron_schedule.cron if item.trigger and item.trigger.cron_schedule else ""
    return Schedule(
        id=item.recurring_run_id,
        name=item.display_name,
        pipeline=reference.pipeline_id or "" if reference else "",
        version=reference.pipeline_version_id or "" if reference else "",
        cron=cron or "",
        enabled=str(item.status or item.mode) in {"ENABLED", "ENABLE"},
        max_concurrency=int(item.max_concurrency or 0),
        no_catchup=bool(item.no_catchup),
        parameters=dict(config.parameters or {}) if config else {},
        description=item.description or "",
        service_account=item.service_account or "",
        experiment=item.experiment_id or "",
    )


def equals(name: str) -> str:
    """The filter of a list: what has this name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})
