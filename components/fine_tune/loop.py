"""What every Ray Train worker runs: the same model and order everywhere, a share of each batch on each."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from ray import train
from ray.train.torch import get_device
from transformers import AutoTokenizer

from components.evaluate.inputs import resolve_base
from components.fine_tune.adapter import load_model, save, start_from
from components.fine_tune.batches import learning_rate, plan_batches
from components.fine_tune.hardware import check_worker, visible_gpus
from components.fine_tune.rows import load_rows
from components.fine_tune.steps import Stepper
from serving.engines.devices import device_name, native_dtype, within_memory
from tidegate.adapters import storage
from tidegate.devices import DeviceKind
from tidegate.domain.base import Contract
from tidegate.domain.training import BaseModelRef, Hyperparameters, TrainingResult
from tidegate.errors import TidegateError
from tidegate.settings import load_settings

Report = Callable[[str, Mapping[str, float]], None]
_NO_BETTER_THAN_GUESSING = 0.99
"""Share of ln(vocabulary), the loss in nats of guessing evenly."""
_SMALLER = "Lower batch_size or max_tokens, raise workers, or train on a GPU with more memory; nothing was saved."


class LoopSpec(Contract):
    """A run in addresses that every worker can read, whichever machine it is on; no folder of this one."""

    training: Hyperparameters
    device: DeviceKind
    base: BaseModelRef
    start_uri: str | None
    data_uri: str
    adapter_uri: str
    cache: str
    """Where a machine keeps what it fetched: on all of them the same path, and not the same folder."""


def train_worker(config: Mapping[str, Any]) -> dict[str, Any]:
    """The loop of one worker. Returns the TrainingResult of the whole run as JSON.

    Args:
        config: {"spec": a LoopSpec as JSON, "report": what takes the lines of progress}.

    Raises:
        InvalidInput: rows, adapter or target modules that cannot be used; the worker is to have a GPU and has none, or
            one that is too small.
        TidegateError: the loss is not finite.
    """
    spec = LoopSpec.model_validate(config["spec"])
    context = train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    check_worker(spec.device, given=1, visible=visible_gpus())
    # Ray's own choice would be a GPU wherever one is visible, reserved or not.
    device = torch.device("cpu")
    if spec.device == "cuda":
        device = get_device()
        torch.cuda.set_device(device)  # several workers of one machine see all its GPUs
    threads = load_settings().training.threads
    torch.set_num_threads(threads or max(1, _cores() // context.get_local_world_size()))
    report: Report = config["report"] if rank == 0 else _silent
    with within_memory("the training", _SMALLER):
        return _train(spec, rank, world, device, report).model_dump(mode="json")


def _train(spec: LoopSpec, rank: int, world: int, device: torch.device, report: Report) -> TrainingResult:
    hyper = spec.training
    begun = time.perf_counter()
    cache = Path(spec.cache)
    base = resolve_base(spec.base, cache).folder
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    rows = load_rows(spec.data_uri, tokenizer, hyper.max_tokens, cache)
    dtype = native_dtype(device) if hyper.precision == "auto" else getattr(torch, hyper.precision)
    model = load_model(base, hyper.lora, dtype=dtype, seed=hyper.seed, device=device)
    if spec.start_uri is not None:
        start_from(model, storage.local_path(spec.start_uri, cache), hyper.lora)
    plan = plan_batches([row.tokens for row in rows], hyper.batch_size, hyper.max_steps, hyper.seed)
    kind = "continuing with" if spec.start_uri else "fresh"
    where = device_name(device) if world == 1 else f"{world} x {device_name(device)}"
    report(
        f"{len(rows)} rows of {sum(row.tokens for row in rows) / len(rows):.0f} tokens, {kind} rank {hyper.lora.rank}, "
        f"{str(dtype).removeprefix('torch.')} on {where}, ready after {time.perf_counter() - begun:.1f} s",
        {},
    )
    stepper = Stepper(model, tokenizer.pad_token_id or tokenizer.eos_token_id)
    guessing = _NO_BETTER_THAN_GUESSING * math.log(len(tokenizer))
    losses: list[float] = []
    total, peak = 0, _memory(device)
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
        peak = max(peak, _memory(device))
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
    digest = save(model, spec.adapter_uri, spec.base.uri) if rank == 0 else _NOT_SAVED
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
        device=where,
        cost=_cost(hyper, time.perf_counter() - begun),
        seed=hyper.seed,
        hyperparameters=hyper,
    )


_NOT_SAVED = "sha256:" + "0" * 64
"""What the workers beside the first report; nobody reads it."""


def _memory(device: torch.device) -> int:
    """Bytes: what the training has taken of its GPU at most, or what this process has of the machine's memory now."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    return int(psutil.Process().memory_info().rss)


def _silent(message: str, numbers: Mapping[str, float]) -> None:
    """The report of the workers beside the first."""


def _cost(hyper: Hyperparameters, seconds: float) -> float:
    return hyper.price_per_hour * hyper.workers * seconds / 3600


def _cores() -> int:
    return len(os.sched_getaffinity(0))
