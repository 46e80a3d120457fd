"""Runs the training loop in Ray Train and hands its progress on while it runs."""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path
from typing import Any

from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from components.fine_tune.loop import LoopSpec, train_worker
from tidegate.domain.training import TrainingResult
from tidegate.errors import TidegateError, Unavailable
from tidegate.ports import Progress

_LOOK_SECONDS = 0.2


def run_training(spec: LoopSpec, progress: Progress) -> TrainingResult:
    """Trains with `spec.training.workers` workers and returns what the first of them reports.

    One worker is Ray Train's local mode: the loop runs in this process, which has imported everything and holds the
    cores already. Starting a worker group costs 10 s of imports for nothing then.

    Raises:
        TidegateError: what the loop raised.
        Unavailable: a worker died.
    """
    workers = spec.training.workers
    with tempfile.TemporaryDirectory(prefix="tidegate-train-") as storage:
        lines = Path(storage) / "progress.jsonl"
        lines.touch()
        trainer = TorchTrainer(
            train_worker,
            train_loop_config=spec.model_copy(update={"lines": str(lines)}).model_dump(mode="json"),
            scaling_config=ScalingConfig(num_workers=0 if workers == 1 else workers, use_gpu=False),
            run_config=RunConfig(storage_path=storage, name="fine-tune"),
            torch_config=TorchConfig(backend="gloo"),
        )
        ended = threading.Event()
        reader = threading.Thread(target=_hand_on, args=(lines, progress, ended), daemon=True)
        reader.start()
        try:
            result = trainer.fit()
        except Exception as error:
            raise _cause(error) from error
        finally:
            ended.set()
            reader.join()
    return TrainingResult.model_validate(result.return_value)


def _hand_on(lines: Path, progress: Progress, ended: threading.Event) -> None:
    with lines.open(encoding="utf-8") as file:
        waiting = ""
        while True:
            last = ended.is_set()  # before reading: what was written until now is read once more
            waiting += file.read()
            *whole, waiting = waiting.split("\n")
            for line in whole:
                value = json.loads(line)
                progress(value["message"], value["numbers"])
            if last:
                return
            ended.wait(_LOOK_SECONDS)


def _cause(error: Exception) -> Exception:
    """The loop's own error, out of what Ray wraps around it."""
    seen: list[Any] = [error]
    for item in seen:
        if isinstance(item, TidegateError):
            return item
        inner = [item.__cause__, getattr(item, "cause", None), *getattr(item, "worker_failures", {}).values()]
        seen += [e for e in inner if isinstance(e, BaseException) and not any(e is known for known in seen)]
    if any(type(item).__name__ in {"ActorDiedError", "RayActorError", "WorkerHealthCheckFailedError"} for item in seen):
        return Unavailable(
            "a training worker died", next_step="Run the step again; look for killed processes (memory)."
        )
    return error
