"""Reads a LoRA adapter's folder: checks first, tensors after. Nothing but JSON and safetensors is ever opened."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.errors import ContractBroken, InvalidInput, NotFound
from tidegate.ids import digest_tree

if TYPE_CHECKING:
    import torch

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_KEY = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight$")
_HARMLESS = frozenset(
    {  # Settings of PEFT that say how the adapter was made or where it goes, not how it is computed.
        *("peft_type", "r", "lora_alpha", "use_rslora", "target_modules"),
        *("auto_mapping", "base_model_name_or_path", "revision", "task_type", "peft_version", "inference_mode"),
        *("lora_dropout", "exclude_modules", "layers_pattern", "layers_to_transform", "ensure_weight_tying"),
        *("megatron_core", "qalora_group_size"),  # parameters of options that are refused themselves
    }
)
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "bias": ("none",),
    # Other initialisations (PiSSA, OLoRA, CorDA, LoftQ) change the base weights too.
    "init_lora_weights": (True, "gaussian", "orthogonal", "eva"),
}
"""Settings that are not simply on or off, with the values that leave the arithmetic alone."""


@dataclass(frozen=True, kw_only=True)
class AdapterWeights:
    """One LoRA adapter in memory.

    `layers` maps a module's path in the base model to (A, B), shapes (rank, in_features) and (out_features, rank).
    `scaling` multiplies B·A·x: alpha / rank, or alpha / sqrt(rank) for rank-stabilised LoRA (arXiv:2312.03732).
    """

    rank: int
    scaling: float
    layers: dict[str, tuple[torch.Tensor, torch.Tensor]]


def adapter_digest(folder: Path) -> str:
    """The digest of an adapter: over its configuration and its weights, by file name.

    Raises:
        NotFound: one of the two files is missing.
    """
    files = {name: folder / name for name in (CONFIG_FILE, WEIGHTS_FILE)}
    for name, path in files.items():
        if not path.is_file():
            raise NotFound(
                f"adapter folder {folder} has no {name}", next_step="Name the folder that a fine-tuning run wrote."
            )
    return digest_tree(files)


def read_adapter(folder: Path, *, max_rank: int, digest: str | None = None) -> AdapterWeights:
    """The adapter in `folder`, with its digest, rank and arithmetic checked before a tensor is read.

    Raises:
        NotFound: a file is missing.
        ContractBroken: the files are not those that `digest` names.
        InvalidInput: the rank is above `max_rank`, or the adapter asks for arithmetic that the engine does not do.
    """
    found = adapter_digest(folder)
    if digest is not None and found != digest:
        raise ContractBroken(
            f"adapter {folder} has digest {found}, not {digest}",
            next_step="The files changed after registration: restore them, or register them as a new version.",
        )
    rank, scaling = _arithmetic(folder, max_rank)
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in _tensors(folder).items():
        match = _KEY.match(key)
        if match is None:
            raise InvalidInput(
                f"adapter {folder} holds tensor {key!r}, which is not a LoRA matrix of a linear layer",
                next_step="Train with plain LoRA on linear layers.",
            )
        layers.setdefault(match["module"], {})[match["side"]] = tensor
    return AdapterWeights(rank=rank, scaling=scaling, layers=_paired(folder, layers, rank))


def adapter_rank(folder: Path) -> int:
    """The rank that the adapter's configuration declares.

    Raises:
        InvalidInput: it is no LoRA configuration.
    """
    return _declared(folder)[1]


def _declared(folder: Path) -> tuple[dict[str, Any], int, float]:
    """(configuration, rank, alpha)."""
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        return config, int(config["r"]), float(config["lora_alpha"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{folder / CONFIG_FILE} is not a LoRA configuration: {error!r}", next_step="Write it with PEFT."
        ) from None


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError  # noqa: PLC0415  torch: not before an adapter is loaded
    from safetensors.torch import load_file  # noqa: PLC0415

    try:
        tensors: dict[str, torch.Tensor] = load_file(str(folder / WEIGHTS_FILE))
    except SafetensorError as error:
        raise InvalidInput(
            f"{folder / WEIGHTS_FILE} is not a safetensors file ({error})",
            next_step="The file is damaged: copy it again from the registry.",
        ) from None
    return tensors


def _arithmetic(folder: Path, max_rank: int) -> tuple[int, float]:
    """(rank, scaling) of the configuration, refusing what the engine does not compute."""
    config, rank, alpha = _declared(folder)
    if config.get("peft_type") != "LORA":
        raise InvalidInput(f"adapter {folder} is of type {config.get('peft_type')!r}", next_step="Use type LORA.")
    for option, value in config.items():
        if value and option not in _HARMLESS and value not in _NEUTRAL.get(option, ()):
            raise InvalidInput(
                f"adapter {folder} sets {option}={value!r}, which this engine does not compute",
                next_step="Train plain LoRA: without this option of PEFT.",
            )
    if not 1 <= rank <= max_rank:
        raise InvalidInput(
            f"adapter {folder} has rank {rank}, the engine takes at most {max_rank}",
            next_step="Train with a lower rank, or raise spec.engine.maxAdapterRank of the ModelRuntime.",
        )
    return rank, alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _paired(
    folder: Path, layers: dict[str, dict[str, torch.Tensor]], rank: int
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(A, B) by module, both there, finite and of the declared rank."""
    pairs = {}
    for module, sides in layers.items():
        a, b = sides.get("A"), sides.get("B")
        if a is None or b is None or a.dim() != 2 or b.dim() != 2 or a.shape[0] != rank or b.shape[1] != rank:
            raise InvalidInput(
                f"adapter {folder}: the matrices of {module} are not a pair of rank {rank}",
                next_step="The file is damaged: copy it again from the registry.",
            )
        if not (a.isfinite().all() and b.isfinite().all()):
            raise InvalidInput(
                f"adapter {folder}: {module} holds NaN or infinity", next_step="Train again with a lower learning rate."
            )
        pairs[module] = (a, b)
    return pairs
