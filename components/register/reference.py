"""The logits that a version must give when it is loaded again, computed from the files as they were trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tidegate.adapters.mlflow_server import apply_mlflow_environment
from tidegate.domain.example import Message
from tidegate.errors import ContractBroken


def write_reference_logits(
    base: Path, adapter: Path, conversations: Sequence[Sequence[Message]], documents: Path
) -> None:
    """Writes reference_prompts.json and reference_logits.safetensors: shape (conversations, vocabulary), float32.

    Raises:
        ContractBroken: the adapter changes no logit, so a version that lost it would go unnoticed.
    """
    apply_mlflow_environment()
    from safetensors.torch import save_file  # noqa: PLC0415  torch takes seconds

    from components.register.model import load, next_token_logits  # noqa: PLC0415

    turns = [[message.model_dump() for message in conversation] for conversation in conversations]
    tokenizer, model = load(base, adapter, base)
    logits = next_token_logits(tokenizer, model, turns)
    with model.disable_adapter():
        bare = next_token_logits(tokenizer, model, turns)
    if float((logits - bare).abs().max()) == 0.0:
        raise ContractBroken(
            f"adapter {adapter} changes nothing: with and without it the logits are equal",
            next_step="Train it for at least one step; check that its target modules exist in the base model.",
        )
    (documents / "reference_prompts.json").write_text(json.dumps(turns), encoding="utf-8")
    save_file({"logits": logits.contiguous()}, str(documents / "reference_logits.safetensors"))
