"""What every Ray Train worker runs: the same model and order everywhere, a share of each batch on each."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from ray import train
from transformers import AutoTokenizer

from components.fine_tune.adapter import load_model, save, start_from
from components.fine_tune.batches import learning_rate, plan_batches
from components.fine_tune.rows import load_rows
from components.fine_tune.steps import Stepper
from serving.engines.loading import native_dtype
from tidegate.domain.base import Contract
from tidegate.domain.training import Hyperparameters, TrainingResult
from tidegate.errors import TidegateError
from tidegate.settings import load_settings

Report = Callable[[str, Mapping[str, float]], None]
_NO_BETTER_THAN_GUESSING = 0.99
"""Share of ln(vocabulary), the loss in nats of guessing evenly."""


class LoopSpec(Contract):
    """A run with every address resolved: folders that all workers can read, and where the lines of progress go."""

    training: Hyperparameters
    base_folder: str
    base_uri: str
    start_folder: str | None
    data_uri: str
    adapter_uri: str
    lines: str


def train_worker(config: dict[str, Any]) -> dict[str, Any]:
    """The loop of one worker. Returns the TrainingResult of the whole run as JSON.

    Raises:
        InvalidInput: rows, adapter or target modules that cannot be used.
        TidegateError: the loss is not finite.
    """
    spec = LoopSpec.model_validate(config)
    context = train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    settings = load_settings()
    torch.set_num_threads(settings.training.threads or max(1, _cores() // context.get_local_world_size()))
    with Path(spec.lines).open("a", encoding="utf-8") as lines:

        def report(message: str, numbers: Mapping[str, float]) -> None:
            if rank == 0:
                lines.write(json.dumps({"message": message, "numbers": dict(numbers)}) + "\n")
                lines.flush()

        result = _train(spec, rank, world, report)
    return result.model_dump(mode="json")


def _train(spec: LoopSpec, rank: int, world: int, report: Report) -> TrainingResult:
    hyper = spec.training
    begun = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(spec.base_folder, local_files_only=True, trust_remote_code=False)
    rows = load_rows(spec.data_uri, tokenizer, hyper.max_tokens, load_settings())
    dtype = native_dtype() if hyper.precision == "auto" else getattr(torch, hyper.precision)
    model = load_model(Path(spec.base_folder), hyper.lora, dtype=dtype, seed=hyper.seed)
    if spec.start_folder is not None:
        start_from(model, Path(spec.start_folder), hyper.lora)
    plan = plan_batches([row.tokens for row in rows], hyper.batch_size, hyper.max_steps, hyper.seed)
    kind = "continuing with" if spec.start_folder else "fresh"
    report(
        f"{len(rows)} rows of {sum(row.tokens for row in rows) / len(rows):.0f} tokens, {kind} rank {hyper.lora.rank}, "
        f"{str(dtype).removeprefix('torch.')}, ready after {time.perf_counter() - begun:.1f} s",
        {},
    )
    stepper = Stepper(model, tokenizer.pad_token_id or tokenizer.eos_token_id)
    process = psutil.Process()
    guessing = _NO_BETTER_THAN_GUESSING * math.log(len(tokenizer))
    losses: list[float] = []
    total, peak = 0, process.memory_info().rss
    started = time.perf_counter()
    for step, batch in enumerate(plan):
        rate = learning_rate(step, hyper.max_steps, hyper.learning_rate, hyper.warmup_fraction)
        loss, tokens = stepper.step([rows[row] for row in batch[rank::world]], rate)
        # A model that learns is never as bad as one that guesses evenly over the vocabulary: weights that have blown
        # up end there with a loss that is finite.
        if not math.isfinite(loss) or loss > guessing:
            raise TidegateError(
                f"the training has diverged: the loss of step {step + 1} is {loss:.3g} at learning rate {rate:g}",
                next_step="Lower learning_rate; nothing was saved.",
            )
        losses.append(loss)
        total += tokens
        peak = max(peak, process.memory_info().rss)
        seconds = time.perf_counter() - started
        numbers = {
            "loss": loss,
            "learning_rate": rate,
            "tokens_per_second": total / seconds,
            "memory_bytes": float(peak),
            "cost": _cost(hyper, time.perf_counter() - begun),
            "step": float(step + 1),
            "of": float(hyper.max_steps),
        }
        report(f"step {step + 1} of {hyper.max_steps}: loss {loss:.3f}, {total / seconds:.0f} tokens/s", numbers)
    seconds = time.perf_counter() - started
    digest = save(model, spec.adapter_uri, spec.base_uri) if rank == 0 else _NOT_SAVED
    return TrainingResult(
        adapter_uri=spec.adapter_uri,
        adapter_digest=digest,
        steps=hyper.max_steps,
        first_loss=losses[0],
        final_loss=losses[-1],
        train_tokens=total,
        tokens_per_second=total / seconds,
        seconds=time.perf_counter() - begun,
        peak_memory_bytes=peak,
        precision="bfloat16" if dtype is torch.bfloat16 else "float32",
        device=str(next(model.parameters()).device),
        cost=_cost(hyper, time.perf_counter() - begun),
        seed=hyper.seed,
    )


_NOT_SAVED = "sha256:" + "0" * 64
"""What the workers beside the first report; nobody reads it."""


def _cost(hyper: Hyperparameters, seconds: float) -> float:
    return hyper.price_per_hour * hyper.workers * seconds / 3600


def _cores() -> int:
    return len(os.sched_getaffinity(0))
