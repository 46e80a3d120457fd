"""The first training of the session: what later tests look at, and retrain from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.kfp.backend import Backend, kill_container, wait_for
from tests.cluster.kfp.command import Command
from tests.cluster.kfp.platform import nominated
from tests.cluster.kfp.runs import Data, RayJobs, parameters, pods_of, run_in

MODEL = "banking-intent"
_STEPS = 12
_PARAMETERS: Mapping[str, Any] = {
    "model_name": MODEL,
    "max_steps": _STEPS,
    "learning_rate": 0.002,
    "eval_max_rows": 40,
    "gate": {"checks": [{"check": "min_rows", "rows": 20}, {"check": "beats_base"}]},
}


@dataclass(frozen=True, kw_only=True)
class First:
    """A run that was followed to its end, though the pod of its fine-tune step was killed in the middle."""

    run: str
    code: int
    log: str
    killed: str
    version: str
    watched: RayJobs
    model: str = MODEL
    steps: int = _STEPS

    def rayjobs(self, step: str = "") -> dict[str, str]:
        """Names by uid, of a step's or of all."""
        return {uid: name for uid, name in self.watched.seen().items() if name.startswith(step)}


def fine_tune(backend: Backend, command: Command, data: Data, folder: Path) -> First:
    """Runs it."""
    log = folder / "fine-tune.log"
    arguments = parameters({**_PARAMETERS, **data.parameters, "data": data.uri})
    with RayJobs(backend, folder / "fine-tune.rayjobs") as watched:
        process = command.start(log, "pipelines", "run", "fine-tune", "--wait", "-n", "kubeflow", *arguments)
        try:
            run = wait_for(lambda: run_in(log.read_text()), "the command has started no run", 60, process)
            wait_for(lambda: f"step 1 of {_STEPS}" in log.read_text(), "training has not begun", 600, process)
            killed = pods_of(backend, run, "fine-tune")[-1]
            kill_container(killed, "main")
            code = process.wait(900)
        finally:
            process.kill()
    return First(
        run=run,
        code=code,
        log=log.read_text(),
        killed=killed["metadata"]["name"],
        version=nominated(command.platform, MODEL)["version"],
        watched=watched,
    )
