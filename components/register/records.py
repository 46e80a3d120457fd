"""What MLflow's run of a registered version shows: parameters and metrics. Pure."""

from __future__ import annotations

from typing import Any

from components.register.inputs import RegisterInputs


def params(inputs: RegisterInputs) -> dict[str, Any]:
    """What the version was made of, and with."""
    return {
        "base": inputs.base.ref.name,
        "base_digest": inputs.base.ref.digest,
        "adapter_digest": inputs.report.candidate,
        "data_digest": inputs.manifest.content_digest,
        "system_prompt": inputs.template.system,
        "max_tokens": inputs.report.generation.max_tokens,
        "temperature": inputs.report.generation.temperature,
        **{f"train_{name}": value for name, value in _hyperparameters(inputs).items()},
    }


def _hyperparameters(inputs: RegisterInputs) -> dict[str, Any]:
    """What the adapter was trained with; nothing of one that was trained elsewhere."""
    training = inputs.training
    return training.hyperparameters.flat() if training is not None and training.hyperparameters is not None else {}


def metrics(inputs: RegisterInputs) -> dict[str, float]:
    """The evaluation's values with their intervals, differences to base and champion, and the training's cost."""
    values: dict[str, float] = {}
    for metric in inputs.report.metrics:
        values[metric.name] = metric.value
        if metric.interval is not None:
            values[f"{metric.name}_low"] = metric.interval.low
            values[f"{metric.name}_high"] = metric.interval.high
    for comparison in inputs.report.comparisons:
        what = "base" if comparison.baseline == "base" else "champion"
        values[f"{comparison.metric}_minus_{what}"] = comparison.difference
    if inputs.training is not None:
        values |= {
            "final_loss": inputs.training.final_loss,
            "train_seconds": inputs.training.seconds,
            "tokens_per_second": inputs.training.tokens_per_second,
            "cost": inputs.training.cost,
        }
    return values
