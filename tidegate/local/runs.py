"""Pipeline runs on this machine: recorded with their stages, followed line by line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipelines.compile import compiled_parameters
from tidegate.adapters.kfp_arguments import check_arguments
from tidegate.adapters.kfp_local import KfpLocalRunner, StepEvent
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.errors import TidegateError
from tidegate.settings import Settings
from tidegate.store.runs import RunStore

PIPELINES = {
    "fine-tune": "pipelines.fine_tune:fine_tune",
    "retrain": "pipelines.fine_tune:retrain",
    "drift-check": "pipelines.drift_check:drift_check",
}


def run_pipeline(
    settings: Settings,
    pipeline: str,
    arguments: Mapping[str, Any],
    *,
    run: str,
    actor: str,
    on_event: Callable[[StepEvent], None],
) -> dict[str, Any]:
    """Runs a pipeline to its end, with a record of the run and of every stage.

    Args:
        settings: of the platform that runs.
        pipeline: a key of `PIPELINES`.
        arguments: the pipeline's parameters.
        run: the run's name; the record refuses a name that has ended.
        actor: who started it, for the ledger.
        on_event: called for every event of every step.

    Returns:
        The pipeline's outputs.

    Raises:
        InvalidInput: the pipeline does not take an argument; the name is not used up by it.
        TidegateError: the failing step's own error; the record says so too.
    """
    check_arguments(pipeline, compiled_parameters(pipeline), arguments)
    store = RunStore(Database.open(settings.database_url), SystemClock())
    store.start(run, pipeline, dict(arguments), actor=actor)

    def record(event: StepEvent) -> None:
        if event.kind == "started":
            store.stage(run, event.step, 0.0, "running")
        elif event.kind in {"succeeded", "failed"}:
            store.stage(run, event.step, event.seconds, "succeeded" if event.kind == "succeeded" else "failed")
        on_event(event)

    try:
        outputs = KfpLocalRunner(settings.home).run(PIPELINES[pipeline], arguments, run=run, on_event=record)
    except TidegateError as error:
        store.finish(run, "failed", str(error), actor=actor)
        raise
    except (KeyboardInterrupt, SystemExit):
        store.finish(run, "failed", "interrupted", actor=actor)
        raise
    store.finish(run, "succeeded", actor=actor)
    return outputs
