"""What engine and training do on a GPU, beside PEFT and transformers on the same GPU, in the same process.

    python -m tests.bench.gpu                     the built-in base model
    python -m tests.bench.gpu --shape llama-8b    random weights in the shape of an 8-billion-parameter Llama

Answers are greedy and of one length, with the base and three adapters of rank 16 mixed in each batch. Every figure is
the median of the repetitions after one that does not count. Weights do not change how long a matrix product takes, so
random ones measure speed and memory as well as learned ones; that answers are right is for the tests to show.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from components.fine_tune.adapter import load_model
from components.fine_tune.rows import Row
from components.fine_tune.steps import Stepper, collate
from serving.engines.devices import device_name
from serving.engines.generator import ADAPTABLE, AdapterGenerator
from serving.engines.requests import GenerationRequest
from tidegate.adapters.base_model import resolve_base_model
from tidegate.domain.example import Message
from tidegate.domain.training import LoraSpec
from tidegate.settings import load_settings
from tidegate.tokens import encode_prompt

T = TypeVar("T")
BUILTIN = "builtin:smollm2-135m-instruct"
SHAPES = {
    "llama-8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
    }
}
RANK = 16
NAMES = ("one", "two", "three")
TEXT = (
    "Write a long story about a card that never arrived, the letters it crossed on its way, and who found it at last."
)
_PROFILED = 4
"""Tokens of an answer whose kernels are counted: two thousand a step take the profiler long enough."""
GPU = torch.device("cuda")
GIB = 2**30


@dataclass(frozen=True)
class Subject:
    """A base model's folder and its adapters' folders."""

    name: str
    base: Path
    adapters: dict[str, Path]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(SHAPES), help="instead of the built-in base model")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("torch sees no GPU here: nothing to measure")
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        subject = prepare(options.shape, Path(folder))
        say(f"{subject.name} on {device_name(GPU)}, torch {torch.__version__}")
        engine(subject, options.batches, options.tokens, options.repetitions)
        training(subject, options.repetitions)


def prepare(shape: str | None, folder: Path) -> Subject:
    """The model and three adapters that change its answers."""
    builtin = resolve_base_model(BUILTIN, load_settings().cache).folder
    base = builtin
    if shape is not None:
        base = folder / "base"
        tokenizer = json.loads((builtin / "config.json").read_text())
        config = LlamaConfig(vocab_size=tokenizer["vocab_size"], eos_token_id=None, bos_token_id=None, **SHAPES[shape])
        with torch.device(GPU):
            torch.set_default_dtype(torch.bfloat16)
            LlamaForCausalLM(config).save_pretrained(base)
            torch.set_default_dtype(torch.float32)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(builtin / name, base / name)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, device_map=GPU)
    adapters = {}
    for name in NAMES:
        lora = LoraConfig(r=RANK, target_modules=list(ADAPTABLE), init_lora_weights=False, task_type="CAUSAL_LM")
        adapted = get_peft_model(model, lora)
        adapted.save_pretrained(folder / name)
        model = adapted.unload()
        adapters[name] = folder / name
    return Subject(shape or BUILTIN, base, adapters)


# --- the engine -------------------------------------------------------------------------------------------------------


def engine(subject: Subject, batches: Sequence[int], tokens: int, repetitions: int) -> None:
    """Tokens per second of both, and milliseconds between two tokens of a row."""
    ours, of_ours = measured(_ours, subject, batches, tokens, repetitions)
    theirs, of_theirs = measured(_theirs, subject, batches, tokens, repetitions)
    say(f"\nAnswers of {tokens} tokens, base and {len(NAMES)} adapters mixed.\n")
    say("| rows | engine tokens/s | ms a token | PEFT `adapter_names=` tokens/s | ms a token | engine / PEFT |")
    say("|---|---|---|---|---|---|")
    for size in batches:
        a, b = ours[size], theirs[size]
        say(f"| {size} | {a:.0f} | {1000 * size / a:.1f} | {b:.0f} | {1000 * size / b:.1f} | {a / b:.2f} |")
    say(f"\nGPU memory reserved at most: engine {of_ours:.1f} GiB, PEFT {of_theirs:.1f} GiB.")


def _mixed(rows: int) -> list[str | None]:
    return [(None, *NAMES)[row % 4] for row in range(rows)]


def _each(who: str, run: Callable[[int], int], batches: Sequence[int], repetitions: int) -> dict[int, float]:
    rates = {}
    for size in batches:
        rates[size] = rate(partial(run, size), repetitions)
        sys.stderr.write(f"{who}: {size} rows at once, {rates[size]:.0f} tokens/s\n")
    return rates


def _ours(subject: Subject, batches: Sequence[int], tokens: int, repetitions: int) -> dict[int, float]:
    generator = AdapterGenerator(subject.base, device=GPU, max_adapter_rank=RANK, max_batch_size=max(batches))
    for name, folder in subject.adapters.items():
        generator.load(name, folder)

    def run(rows: int, tokens: int = tokens) -> int:
        turn = (Message(role="user", content=TEXT),)
        requests = [GenerationRequest(adapter=name, messages=turn, max_tokens=tokens) for name in _mixed(rows)]
        return sum(result.completion_tokens for result in generator.generate(requests))

    rates = _each("engine", run, batches, repetitions)
    profile(partial(run, max(batches), _PROFILED))
    return rates


def _theirs(subject: Subject, batches: Sequence[int], tokens: int, repetitions: int) -> dict[int, float]:
    base = AutoModelForCausalLM.from_pretrained(subject.base, dtype=torch.bfloat16, device_map=GPU)
    first, *others = subject.adapters.items()
    model = PeftModel.from_pretrained(base, first[1], first[0], autocast_adapter_dtype=False)
    for name, folder in others:
        model.load_adapter(folder, name, autocast_adapter_dtype=False)
    model.eval()
    prompt = encode_prompt(AutoTokenizer.from_pretrained(subject.base), (Message(role="user", content=TEXT),))

    def run(rows: int) -> int:
        ids = torch.tensor([prompt] * rows, device=GPU)
        with torch.inference_mode():
            model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                adapter_names=[name or "__base__" for name in _mixed(rows)],
                do_sample=False,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                pad_token_id=0,
            )
        return rows * tokens

    return _each("PEFT", run, batches, repetitions)


# --- training ---------------------------------------------------------------------------------------------------------


def training(subject: Subject, repetitions: int, batch: int = 16, prompt: int = 120, answer: int = 8) -> None:
    """Tokens per second and memory of an optimiser step: ours, with fused adapters and the output layer at the answers
    alone, and PEFT's as its documentation has it."""
    rows = [
        Row(id=str(n), prompt=[100 + (n + i) % 900 for i in range(prompt)], answer=[5] * answer) for n in range(batch)
    ]
    ours, of_ours = measured(_our_training, subject, rows, 10 * repetitions)
    theirs, of_theirs = measured(_their_training, subject, rows, 10 * repetitions)
    say(f"\nAn optimiser step on {batch} rows of {prompt + answer} tokens, {answer} of them answer; rank {RANK}.\n")
    say("| training | tokens/s | GiB reserved at most |")
    say("|---|---|---|")
    say(f"| tidegate | {ours:.0f} | {of_ours:.1f} |")
    say(f"| PEFT | {theirs:.0f} | {of_theirs:.1f} |")
    say(f"\ntidegate / PEFT: {ours / theirs:.2f}")


def _our_training(subject: Subject, rows: Sequence[Row], repetitions: int) -> float:
    lora = LoraSpec(rank=RANK, alpha=2 * RANK, target_modules=ADAPTABLE)
    stepper = Stepper(load_model(subject.base, lora, dtype=torch.bfloat16, seed=0, device=GPU), pad=0)
    return rate(lambda: stepper.step(rows, 1e-4)[1], repetitions)


def _their_training(subject: Subject, rows: Sequence[Row], repetitions: int) -> float:
    base = AutoModelForCausalLM.from_pretrained(subject.base, dtype=torch.bfloat16, device_map=GPU)
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=list(ADAPTABLE), task_type="CAUSAL_LM")
    model: Any = get_peft_model(base, config).train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-4)
    batch = collate(rows, 0).to(GPU)
    prompt = len(rows[0].prompt)
    labels = torch.full_like(batch.ids, -100)
    labels[:, prompt:] = batch.ids[:, prompt:]

    def step() -> int:
        loss = model(input_ids=batch.ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        float(loss.detach())  # a run reports every step's loss
        return batch.tokens

    return rate(step, repetitions)


# --- measuring --------------------------------------------------------------------------------------------------------


def measured(what: Callable[..., T], *arguments: Any) -> tuple[T, float]:
    """What it returns, and the GPU's memory that it reserved at most (GiB)."""
    released()
    found = what(*arguments)
    taken = torch.cuda.max_memory_reserved() / GIB
    released()
    return found, taken


def released() -> None:
    """Gives the GPU's memory back, and forgets how much there was."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def rate(run: Callable[[], int], repetitions: int) -> float:
    """What `run` counts, per second: the median."""
    run()
    rates = []
    for _ in range(repetitions):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        counted = run()
        torch.cuda.synchronize()
        rates.append(counted / (time.perf_counter() - begun))
    return statistics.median(rates)


def profile(run: Callable[[], int]) -> None:
    """Tells how much of the time the GPU computed, and how many kernels it was given."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        begun = time.perf_counter()
        run()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - begun
    kernels = [event for event in seen.events() if event.device_type.name == "CUDA"]
    busy = sum(event.self_device_time_total for event in kernels) / 1e6
    say(f"engine: the GPU computed {100 * busy / seconds:.0f}% of {seconds:.2f} s, {len(kernels)} kernels")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
