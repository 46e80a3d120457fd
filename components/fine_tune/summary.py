"""The training as a page for the Kubeflow UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.fine_tune.spec import FineTuneSpec
from tidegate.domain.training import BaseModelRef, TrainingResult

_SHOWN_STEPS = 10


def markdown(
    spec: FineTuneSpec, base: BaseModelRef, result: TrainingResult, history: Sequence[Mapping[str, float]]
) -> str:
    """What was trained, with what effort, and how the loss fell."""
    hyper = spec.training
    every = max(1, len(history) // _SHOWN_STEPS)
    shown = [numbers for at, numbers in enumerate(history) if at % every == 0 or at == len(history) - 1]
    origin = f"continued from {hyper.start_from}" if hyper.start_from else "started afresh"
    setup = f"LoRA of rank {hyper.lora.rank} (alpha {hyper.lora.alpha}) on {', '.join(hyper.lora.target_modules)}"
    memory = f"{result.peak_memory_bytes / 2**30:.1f} GiB"
    effort = (
        f"| {result.steps} | {hyper.batch_size} | {result.train_tokens:,} | {result.tokens_per_second:,.0f} "
        f"| {result.seconds:.1f} | {memory} | {result.precision} on {result.device} | {result.cost:.4f} |"
    )
    return "\n".join(
        [
            f"# Fine-tuning {base.name}",
            "",
            f"{setup}; {origin}; seed {hyper.seed}.",
            "",
            "| steps | rows a step | tokens | tokens/s | seconds | memory | precision and device | cost |",
            "|---|---|---|---|---|---|---|---|",
            effort,
            "",
            "| step | loss |",
            "|---|---|",
            *(f"| {numbers['step']:.0f} | {numbers['loss']:.4f} |" for numbers in shown),
            "",
            f"Adapter `{result.adapter_digest}`",
            "",
        ]
    )
