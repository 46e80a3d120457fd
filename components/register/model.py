"""The model as MLflow loads it (models from code): base, adapter, prompt and tokenizer, checked before any answer.

MLflow copies this file into every version and runs it at load. It needs torch, transformers, peft, pandas and pydantic;
the prompt and token code of tidegate is shipped with the version, so that tidegate itself need not be installed.

Nothing but JSON and safetensors is read. A base model that reloads as random weights, a changed file, another tokenizer
or another way to render the prompt would all change the logits: they are compared with those of registration.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlflow
import torch
from mlflow.pyfunc import PythonModel
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

LOGITS_TOLERANCE = 2e-2
"""Largest difference of a float32 logit (of about ±20) that another processor's order of summation explains."""


class TidegateModel(PythonModel):  # type: ignore[misc]  # mlflow has no types
    """Answers conversations (`messages`) or single texts (`text`); feature columns fill the prompt template."""

    def load_context(self, context: Any) -> None:
        """Loads and checks.

        Raises:
            RuntimeError: a file is missing or changed, or the logits are not those of registration.
        """
        documents = Path(context.artifacts["tidegate"])
        # Appended, not put first: an installed tidegate is newer or equal, and the logits check covers its template.
        if find_spec("tidegate") is None:
            sys.path.append(str(Path(context.artifacts["code"])))
        from tidegate.prompt import GenerationDefaults, PromptTemplate  # noqa: PLC0415  only now on the path

        self.template = PromptTemplate.model_validate_json((documents / "prompt.json").read_bytes())
        self.generation = GenerationDefaults.model_validate_json((documents / "generation.json").read_bytes())
        base = base_folder(documents)
        self.tokenizer, self.model = load(
            base, Path(context.artifacts["adapter"]), Path(context.artifacts["tokenizer"])
        )
        check_logits(self.tokenizer, self.model, documents)

    # A comment, not annotations: MLflow would take annotations for a schema of the input.
    def predict(self, context, model_input, params=None):  # type: (Any, Any, dict[str, Any] | None) -> list[str]
        """One answer a row. `params` may narrow `max_tokens` and set `temperature`."""
        from tidegate.tokens import encode_prompt  # noqa: PLC0415

        del context
        rows = model_input.to_dict("records") if hasattr(model_input, "to_dict") else list(model_input)
        prompts = [encode_prompt(self.tokenizer, self._conversation(row)) for row in rows]
        limits = {
            "max_tokens": self.generation.max_tokens,
            "temperature": self.generation.temperature,
            **(params or {}),
        }
        sampling: dict[str, Any] = {"do_sample": False}
        if limits["temperature"]:
            sampling = {"do_sample": True, "temperature": float(limits["temperature"])}
        answers: list[str] = []
        for start in range(0, len(prompts), 16):
            tokens, mask = _left_padded(prompts[start : start + 16], self.tokenizer.pad_token_id or 0)
            with torch.inference_mode():
                output = self.model.generate(
                    input_ids=tokens,
                    attention_mask=mask,
                    max_new_tokens=min(int(limits["max_tokens"]), self.generation.max_tokens),
                    pad_token_id=self.tokenizer.pad_token_id or 0,
                    **sampling,
                )
            texts = self.tokenizer.batch_decode(output[:, tokens.shape[1] :], skip_special_tokens=True)
            answers.extend(self._stopped(text).strip() for text in texts)
        return answers

    def _conversation(self, row: dict[str, Any]) -> Any:
        from tidegate.domain.example import Message  # noqa: PLC0415

        turns: Any = row.get("messages")
        if hasattr(turns, "tolist"):  # MLflow turns lists into arrays
            turns = turns.tolist()
        if not isinstance(turns, list):  # absent, or a missing value
            turns = [{"role": "user", "content": row["text"]}]
        return self.template.render([Message(role=turn["role"], content=turn["content"]) for turn in turns], row)

    def _stopped(self, text: str) -> str:
        for stop in self.generation.stop:
            text = text.split(stop, 1)[0]
        return text


def base_folder(documents: Path) -> Path:
    """The base model's folder: beside the documents (an export), in TIDEGATE_BASE_MODELS, or where it was stored.

    Raises:
        RuntimeError: there is none, or its files are not those that the version was made with.
    """
    base = json.loads((documents / "base.json").read_text(encoding="utf-8"))
    beside = documents.parent / "base"
    mirror = os.environ.get("TIDEGATE_BASE_MODELS")
    if beside.is_dir():
        folder = beside
    elif mirror:
        folder = Path(mirror) / base["digest"].removeprefix("sha256:")
    elif "://" in base["uri"]:
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=base["uri"]))
    else:
        folder = Path(base["uri"])
    for name, digest in base["files"].items():
        path = folder / name
        if not path.is_file():
            raise RuntimeError(
                f"base model {base['digest']} has no file {path}. Set TIDEGATE_BASE_MODELS to the folder that holds "
                "base models by digest, or export the version: tidegate models export."
            )
        with path.open("rb") as file:
            if f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" != digest:
                raise RuntimeError(f"base model file {path} is not the one the version was made with ({digest}).")
    return folder


def load(base: Path, adapter: Path, tokenizer: Path) -> tuple[Any, Any]:
    """(tokenizer, model with the adapter on it) in float32, from files alone: no hub, no code of a model, no pickle."""
    model = AutoModelForCausalLM.from_pretrained(
        str(base), dtype=torch.float32, use_safetensors=True, local_files_only=True, trust_remote_code=False
    )
    model = PeftModel.from_pretrained(model, str(adapter), local_files_only=True)
    model.eval()
    return AutoTokenizer.from_pretrained(str(tokenizer), local_files_only=True, trust_remote_code=False), model


def next_token_logits(tokenizer: Any, model: Any, conversations: list[list[dict[str, str]]]) -> Any:
    """(conversations, vocabulary) float32 logits of the first token of the answer."""
    from tidegate.domain.example import Message  # noqa: PLC0415
    from tidegate.tokens import encode_prompt  # noqa: PLC0415

    rows = []
    for turns in conversations:
        tokens = encode_prompt(tokenizer, [Message(role=t["role"], content=t["content"]) for t in turns])
        with torch.inference_mode():
            rows.append(model(input_ids=torch.tensor([tokens])).logits[0, -1].float())
    return torch.stack(rows)


def check_logits(tokenizer: Any, model: Any, documents: Path) -> None:
    """Compares with the logits that registration kept.

    Raises:
        RuntimeError: they differ by more than LOGITS_TOLERANCE.
    """
    conversations = json.loads((documents / "reference_prompts.json").read_text(encoding="utf-8"))
    wanted = load_file(str(documents / "reference_logits.safetensors"))["logits"]
    found = next_token_logits(tokenizer, model, conversations)
    distance = float((found - wanted).abs().max()) if found.shape == wanted.shape else float("inf")
    if not distance <= LOGITS_TOLERANCE:
        raise RuntimeError(
            f"the reloaded model's logits differ from the registered ones by {distance:.3g} (at most "
            f"{LOGITS_TOLERANCE:g} is rounding): base, adapter, tokenizer or prompt code is not what was registered."
        )


def _left_padded(prompts: list[list[int]], pad: int) -> tuple[Any, Any]:
    """(rows, longest) token ids and attention mask, padded on the left as generation needs it."""
    longest = max(len(prompt) for prompt in prompts)
    tokens = [[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(tokens), torch.tensor(mask)


mlflow.models.set_model(TidegateModel())
