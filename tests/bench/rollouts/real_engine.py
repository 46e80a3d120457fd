"""Rollouts of identical versions through the real engine's batching.

    python -m tests.bench.rollouts.real_engine --version <artifacts folder of a registered version> --pairs 28000

With --pairs 28000 each of the 200 rollouts has pairs of its own; with fewer they are drawn from those that were made.
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
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.datasets import generator as messages
from components.datasets.intents import BASE_INTENTS
from serving.engines.generator import AdapterGenerator, Dtype
from serving.engines.requests import GenerationRequest
from serving.rollout.evidence import PairedSeries
from serving.rollout.statistics import paired
from serving.rollout.statistics.forecast import Prospect, pairs_to_promote
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
_TOLD_PAIRS = 500


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
) -> list[Asked]:
    """Both arms' answers to all turns, in the mixed batches of a busy engine.

    Args:
        in_flight: mean live requests that wait or run; a batch holds them and their mirrored twins.
    """
    waiting = list(reversed(asked))
    running: dict[int, tuple[Asked, int]] = {}
    done: list[Asked] = []
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
                done.append(pair)
                if len(done) % _TOLD_PAIRS == 0:
                    sys.stderr.write(f"{len(done)} of {len(asked)} pairs\n")
    return done


def _ask(engine: AdapterGenerator, pair: Asked, arm: int) -> int:
    request = GenerationRequest(adapter=ARMS[arm], messages=pair.turn.prompt, max_tokens=_MAX_TOKENS)
    return engine.add(request)


def differences(engine: AdapterGenerator, pairs: Sequence[Asked]) -> tuple[Floats, int]:
    """Candidate minus stable score of every pair, and how many pairs' texts differ."""
    found = []
    for pair in pairs:
        right = pair.turn.label
        if right is None:
            alone = GenerationRequest(adapter=ARMS[0], messages=pair.turn.prompt, max_tokens=_MAX_TOKENS)
            right = engine.generate([alone])[0].text
        scores = [float(pair.answers[arm].strip() == right.strip()) for arm in (0, 1)]
        found.append(scores[1] - scores[0])
    return np.array(found), sum(pair.answers[0] != pair.answers[1] for pair in pairs)


def planned_pairs(difference: Floats) -> int:
    """Pairs that the example's plan wants for versions that differ as often as these."""
    plan = example_plan()
    discordant = float(np.count_nonzero(difference)) / len(difference)
    return (
        pairs_to_promote(Prospect(0.0, discordant), _margin(), promotion_alpha(plan), 0.9, plan.max_pairs)
        or plan.max_pairs
    )


def rollouts_of(difference: Floats, rollouts: int, planned: int, rng: np.random.Generator) -> Iterator[Floats]:
    """The pairs of each rollout: its own, in the order in which they were answered, where enough were made; else drawn
    from those that were."""
    for number in range(rollouts):
        if len(difference) >= rollouts * planned:
            yield difference[number * planned : (number + 1) * planned]
        else:
            yield rng.choice(difference, planned)


def judge(series: Iterable[Floats]) -> tuple[int, int]:
    """(rolled back, passed the gate) by the example's plan; the tolerance is left out, so that a crossing counts as a
    rollback."""
    plan = example_plan()
    harmed = passed = 0
    for pairs in series:
        seen = PairedSeries(pairs, 0.0, 0.0, binary=True)
        harmed += paired.harm(seen, harm_alpha(plan), plan.max_pairs).crossed_at is not None
        passed += paired.non_inferiority(seen, _margin(), promotion_alpha(plan), plan.max_pairs).passed_at is not None
    return harmed, passed


def _margin() -> float:
    return float(example_plan().metrics[0].max_drop_points or 0) / 100


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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--version", type=Path, help="folder with adapter/ and tidegate/version.json of a version")
    parser.add_argument("--pairs", type=int, default=4000, help="pairs that the engine really answers")
    parser.add_argument("--rollouts", type=int, default=200, help="rollouts to judge")
    parser.add_argument("--in-flight", type=float, default=6.0, help="mean live requests at a time")
    parser.add_argument("--dtype", choices=["auto", "bfloat16", "float32"], default="auto", help="as the engine's")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        engine, template = loaded(options.version, Path(folder), options.dtype)
        asked = turns(options.pairs, template, options.seed)
        started = time.monotonic()
        pairs = answer_pairs(engine, asked, options.in_flight, rng)
        seconds = time.monotonic() - started
        difference, texts = differences(engine, pairs)
    planned = planned_pairs(difference)
    whose = "of their own" if len(difference) >= options.rollouts * planned else "drawn from these"
    harmed, passed = judge(rollouts_of(difference, options.rollouts, planned, rng))
    n, discordant = len(difference), int(np.count_nonzero(difference))
    losses = int(np.count_nonzero(difference < 0))
    chance = math.erfc(abs(2 * losses - discordant) / math.sqrt(2 * max(1, discordant)))
    lines = [
        f"| identical versions through the engine, {options.dtype} | |",
        "|---|---|",
        f"| pairs answered in mixed batches | {n}, {2 * n / seconds:.1f} answers/s |",
        f"| texts that differ | {share(texts, n)} |",
        f"| scores that differ (discordant) | {share(discordant, n)} |",
        f"| of these losses of the candidate | {losses} of {discordant} (chance explains more in {chance:.0%}) |",
        f"| {options.rollouts} rollouts of {planned} pairs {whose}, rolled back | {share(harmed, options.rollouts)} |",
        f"| that passed the gate | {share(passed, options.rollouts)} |",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
