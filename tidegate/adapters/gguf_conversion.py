"""One-time conversion of a llama-family GGUF file to a bf16 safetensors folder that transformers and PEFT can train."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

# Change this when the conversion's output changes: old conversions are then left alone and a new one is made.
CONVERSION = 1


def convert_gguf(source: Path, folder: Path) -> None:
    """Writes the dequantised model and its tokenizer with chat template into `folder`, which must exist.

    The bytes depend on the source alone, not on the version of transformers, so that the digest of the conversion
    is the same on every machine.
    """
    import torch  # noqa: PLC0415  torch and transformers take seconds to import, and a conversion happens once
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig  # noqa: PLC0415

    # Progress bars of transformers go to stderr and would tear the display of whoever waits for the conversion.
    with contextlib.redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        quantised = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
        config = quantised.config
        del config.quantization_config  # or save_pretrained refuses: it believes the weights are still quantised
        config.dtype = torch.bfloat16
        config.architectures = [type(quantised).__name__]
        plain = type(quantised)(config).to(torch.bfloat16)
        plain.load_state_dict(quantised.state_dict())
        plain.generation_config = GenerationConfig(
            bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
        )
        plain.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        _drop(folder / name, "transformers_version", "_model_name_or_path")


def _drop(path: Path, *keys: str) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    values = {key: value for key, value in values.items() if key not in keys}
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
