"""Rollouts of identical versions through the real engine's batching.

    python -m tests.bench.rollouts.real_engine --version <folder of a registered version> --pairs 20000 --keep FILE

One version is loaded twice, as two adapters. Live traffic arrives at random and is answered by one or the other in
mixed batches; every first answer's turn is then asked of the other arm too, as the gateway mirrors it, beside whatever
runs at that moment. In bfloat16 an answer depends on what else is in its batch, so identical versions differ now and
then. The tests that judge real rollouts judge these.

Without `--version` the base model answers with an adapter of small random weights, and an answer counts as right when
it is what the same adapter answers alone: enough to see that the script works, and how often answers differ.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from components.datasets import generator as messages
from components.datasets.intents import BASE_INTENTS
from serving.engines.generator import AdapterGenerator, Dtype
from serving.engines.requests import GenerationRequest
from serving.rollout.evidence import PairedSeries
from serving.rollout.statistics import paired
from serving.rollout.verdicts import harm_alpha, promotion_alpha
from tests.bench.rollouts.plans import example_plan
from tests.bench.rollouts.statistics import share
from tests.bench.rollouts.traffic import Floats
from tests.integration.engines.adapters import write_adapter
from tidegate.adapters.base_model import resolve_base_model
from tidegate.domain.example import Message
from tidegate.prompt import PromptTemplate
from tidegate.settings import load_settings

ARMS = ("bench/stable", "bench/candidate")
_CANDIDATE_WEIGHT = 0.5
_MAX_TOKENS = 12
_TOLD_PAIRS = 100
_FARTHEST_PAIRS = 1000
"""Of versions that hardly differ a gate passes within some ninety pairs."""


@dataclass(frozen=True)
class Kept:
    """A pair: whether each arm's answer is right (1 or 0), and whether their texts are the same."""

    stable: int
    candidate: int
    same_text: bool


@dataclass(frozen=True)
class Turn:
    """A user's first turn and the answer that counts as right, None while it is not known."""

    prompt: tuple[Message, ...]
    label: str | None


@dataclass
class Asked:
    """A turn on its way: who was asked first, and what each arm said."""

    turn: Turn
    shown: int
    answers: dict[int, str]


def turns(count: int, template: PromptTemplate | None, seed: int) -> list[Turn]:
    """Generated messages of a bank's customers, with their intents as labels when a trained version answers them."""
    made = []
    for sent in messages.traffic(seed, 250, count, intents=BASE_INTENTS):
        user = Message(role="user", content=sent.text)
        rendered = template.render([user], {}) if template is not None else [user]
        made.append(Turn(tuple(rendered), sent.intent if template is not None else None))
    return made


def answer_pairs(
    engine: AdapterGenerator, asked: Sequence[Turn], in_flight: float, rng: np.random.Generator
) -> Iterator[Asked]:
    """Both arms' answers to all turns, in the mixed batches of a busy engine, in the order in which they are whole.

    Args:
        in_flight: mean live requests that wait or run; a batch holds them and their mirrored twins.
    """
    waiting = list(reversed(asked))
    running: dict[int, tuple[Asked, int]] = {}
    while waiting or running:
        missing = in_flight - sum(len(pair.answers) == 0 for pair, _ in running.values())
        for _ in range(min(len(waiting), int(rng.poisson(max(0.0, missing))))):
            pair = Asked(waiting.pop(), int(rng.random() < _CANDIDATE_WEIGHT), {})
            running[_ask(engine, pair, pair.shown)] = (pair, pair.shown)
        for delta in engine.step():
            if delta.result is None:
                continue
            pair, arm = running.pop(delta.row)
            pair.answers[arm] = delta.result.text
            if len(pair.answers) == 1:  # the user has the answer; now the other arm gets the same turn
                running[_ask(engine, pair, 1 - arm)] = (pair, 1 - arm)
            else:
                yield pair


def _ask(engine: AdapterGenerator, pair: Asked, arm: int) -> int:
    request = GenerationRequest(adapter=ARMS[arm], messages=pair.turn.prompt, max_tokens=_MAX_TOKENS)
    return engine.add(request)


def scored(engine: AdapterGenerator, pair: Asked) -> Kept:
    """A pair as a scorer has it. Without a label an answer is right when it is what the adapter answers alone."""
    right = pair.turn.label
    if right is None:
        alone = GenerationRequest(adapter=ARMS[0], messages=pair.turn.prompt, max_tokens=_MAX_TOKENS)
        right = engine.generate([alone])[0].text
    stable, candidate = (int(pair.answers[arm].strip() == right.strip()) for arm in (0, 1))
    return Kept(stable, candidate, pair.answers[0] == pair.answers[1])


def rollouts(difference: Floats) -> Iterator[tuple[bool, int]]:
    """(rolled back, pairs it took) of one rollout after another, each on pairs of its own.

    By the example's plan it ends when harm is found or the gate passes. The tolerance is left out, so that a crossing
    counts as a rollback. One that has not ended when the pairs do is not counted.
    """
    plan = example_plan()
    margin, start = float(plan.metrics[0].max_drop_points or 0) / 100, 0
    while start < len(difference):
        pairs = PairedSeries(difference[start : start + _FARTHEST_PAIRS], 0.0, 0.0, binary=True)
        harmed = paired.harm(pairs, harm_alpha(plan), plan.max_pairs).crossed_at
        passed = paired.non_inferiority(pairs, margin, promotion_alpha(plan), plan.max_pairs).passed_at
        ends = [(at, rolled_back) for at, rolled_back in ((harmed, True), (passed, False)) if at is not None]
        if not ends:
            return
        at, rolled_back = min(ends)
        yield rolled_back, at
        start += at


def kept(paths: Iterable[Path]) -> list[Kept]:
    """The pairs of files; a line that was cut off when a run was ended is left out."""
    lines = [line for path in paths if path.exists() for line in path.read_text().splitlines()]
    return [Kept(**json.loads(line)) for line in lines if line.endswith("}")]


def loaded(version: Path | None, folder: Path, dtype: Dtype) -> tuple[AdapterGenerator, PromptTemplate | None]:
    """The engine with the same adapter under two names, and the version's prompt."""
    base = resolve_base_model("builtin:smollm2-135m-instruct", load_settings().cache)
    engine = AdapterGenerator(base.folder, dtype=dtype, max_adapters=2, max_adapter_rank=32)
    template = None
    adapter = write_adapter(folder / "adapter", seed=1, spread=0.005) if version is None else version / "adapter"
    if version is not None:
        document = json.loads((version / "tidegate" / "version.json").read_text())
        template = PromptTemplate.model_validate(document["prompt"])
    for arm in ARMS:
        engine.load(arm, adapter)
    return engine, template


def table(pairs: Sequence[Kept], dtype: str) -> Iterator[str]:
    """The report's lines."""
    difference = np.array([float(pair.candidate - pair.stable) for pair in pairs])
    n, discordant = len(pairs), int(np.count_nonzero(difference))
    losses = int(np.count_nonzero(difference < 0))
    chance = math.erfc(abs(2 * losses - discordant) / math.sqrt(2 * max(1, discordant)))
    ended = list(rollouts(difference))
    yield f"| identical versions through the engine, {dtype} | |"
    yield "|---|---|"
    yield f"| pairs answered in mixed batches | {n} |"
    yield f"| texts that differ | {share(sum(not pair.same_text for pair in pairs), n)} |"
    yield f"| scores that differ (discordant) | {share(discordant, n)} |"
    yield f"| of these losses of the candidate | {losses} of {discordant} (chance explains more in {chance:.0%}) |"
    if ended:
        most = max(at for _, at in ended)
        yield f"| rollouts, each on pairs of its own | {len(ended)}, of at most {most} pairs |"
        yield f"| rolled back | {share(sum(harmed for harmed, _ in ended), len(ended))} |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--version", type=Path, help="folder with adapter/ and tidegate/version.json of a version")
    parser.add_argument("--pairs", type=int, default=4000, help="pairs that the engine really answers now")
    parser.add_argument("--keep", type=Path, help="file to which the pairs are added: a run that is ended loses none")
    parser.add_argument("--add", type=Path, action="append", default=[], help="files of other runs, counted too")
    parser.add_argument("--in-flight", type=float, default=6.0, help="mean live requests at a time")
    parser.add_argument("--dtype", choices=["auto", "bfloat16", "float32"], default="auto", help="as the engine's")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "pairs"
        if options.pairs:
            engine, template = loaded(options.version, Path(folder), options.dtype)
            asked = turns(options.pairs, template, options.seed)
            with path.open("a") as file:
                answered = answer_pairs(engine, asked, options.in_flight, np.random.default_rng(options.seed))
                for number, pair in enumerate(answered, start=1):
                    file.write(json.dumps(asdict(scored(engine, pair))) + "\n")
                    if number % _TOLD_PAIRS == 0:
                        file.flush()
                        sys.stderr.write(f"{number} of {len(asked)} pairs\n")
        sys.stdout.write("\n".join(table(kept([path, *options.add]), options.dtype)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
