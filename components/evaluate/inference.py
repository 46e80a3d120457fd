"""Asks models the test rows, through the generator that serving uses; the untuned base's answers are kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tidegate.domain.example import Message
from tidegate.ids import digest_json
from tidegate.prompt import FeatureValue, GenerationDefaults, PromptTemplate

if TYPE_CHECKING:
    import torch

    from serving.engines.generator import AdapterGenerator

_USUAL_RANK = 32
"""Columns of an adapter slot, as a ModelRuntime has by default; more where an adapter needs them."""
CACHE_VERSION = 1  # raise it when the meaning of a cached answer changes


@dataclass(frozen=True)
class Asked:
    """Answers in the order of the rows: stripped texts, and seconds from the start of each one's batch."""

    answers: list[str]
    seconds: list[float]


def prompts(rows: pd.DataFrame, template: PromptTemplate) -> list[list[Message]]:
    """The rendered conversation of every row; a feature without a column, or missing, renders as unknown."""
    records = rows.to_dict("records")
    return [
        template.render(
            [Message(role="user", content=str(record["text"]))],
            {name: _feature(record.get(name)) for name in template.features},
        )
        for record in records
    ]


def generation_device(gpus: int) -> tuple[torch.device, str]:
    """Where the evaluation generates, with `gpus` GPUs reserved for it, and what that is called.

    Raises:
        InvalidInput: a GPU is reserved and torch sees none.
    """
    from serving.engines import devices  # noqa: PLC0415  torch takes seconds

    device = devices.generation_device(gpus, "this evaluation")
    return device, devices.device_name(device)


def within_memory(who: str, next_step: str) -> AbstractContextManager[None]:
    """See `serving.engines.devices.within_memory`."""
    from serving.engines import devices  # noqa: PLC0415  torch takes seconds

    return devices.within_memory(who, next_step)


def load_generator(base: Path, rank: int, device: torch.device, batch_size: int) -> AdapterGenerator:
    """The generator of an engine, with room for a candidate and a champion of at most `rank`."""
    from serving.engines.generator import AdapterGenerator  # noqa: PLC0415  torch takes seconds

    return AdapterGenerator(
        base,
        device=device,
        max_model_length=None,  # prompts are as long as the base allows; a runtime may allow less
        max_adapter_rank=max(rank, _USUAL_RANK),
        max_adapters=2,
        max_batch_size=batch_size,
    )


def ask(
    generator: AdapterGenerator,
    adapter: str | None,
    conversations: Sequence[Sequence[Message]],
    generation: GenerationDefaults,
    *,
    batch_size: int,
    report: Callable[[int], None],
) -> Asked:
    """All answers, asked in batches of prompts of like length; `report` is told how many are done."""
    from serving.engines.requests import GenerationRequest  # noqa: PLC0415  pulls the engine in

    order = sorted(range(len(conversations)), key=lambda row: sum(len(m.content) for m in conversations[row]))
    answers = [""] * len(order)
    seconds = [0.0] * len(order)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        begun = time.perf_counter()
        pending = {
            generator.add(
                GenerationRequest(
                    adapter=adapter,
                    messages=conversations[row],
                    max_tokens=generation.max_tokens,
                    temperature=generation.temperature,
                    stop=generation.stop,
                    seed=row,
                )
            ): row
            for row in batch
        }
        while generator.busy:
            for delta in generator.step():
                if delta.result is not None:
                    row = pending.pop(delta.row)
                    answers[row] = delta.result.text.strip()
                    seconds[row] = time.perf_counter() - begun
        report(min(start + batch_size, len(order)))
    return Asked(answers, seconds)


def for_labels(labels: Sequence[str], generator: AdapterGenerator) -> GenerationDefaults:
    """Greedy, with room for the longest of the labels and its end: whatever is longer is no valid answer."""
    return GenerationDefaults(max_tokens=max(generator.answer_tokens(label) for label in labels))


def base_key(base_digest: str, conversations: Sequence[Sequence[Message]], generation: GenerationDefaults) -> str:
    """The digest of everything that an untuned answer depends on: base, rendered prompts, generation."""
    return digest_json(
        {
            "version": CACHE_VERSION,
            "base": base_digest,
            "prompts": [[message.model_dump() for message in turns] for turns in conversations],
            "generation": generation.model_dump(mode="json"),
        }
    )


def load_answers(cache: Path, key: str) -> list[str] | None:
    """Kept answers, or None; a damaged file counts as none."""
    try:
        answers = json.loads(_cache_file(cache, key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return answers if isinstance(answers, list) and all(isinstance(answer, str) for answer in answers) else None


def keep_answers(cache: Path, key: str, answers: Sequence[str]) -> None:
    """Keeps answers; a reader sees all of them or none."""
    path = _cache_file(cache, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{time.time_ns()}.part")
    part.write_text(json.dumps(list(answers)), encoding="utf-8")
    part.replace(path)


def _cache_file(cache: Path, key: str) -> Path:
    return cache / "base-answers" / f"{key.removeprefix('sha256:')}.json"


def _feature(value: object) -> FeatureValue:
    """A cell as a feature value: numpy scalars unpacked, missing as None."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    unpacked = value.item() if hasattr(value, "item") else value
    return unpacked if isinstance(unpacked, str | int | float | bool) else str(unpacked)
