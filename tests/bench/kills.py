"""Kills controllers at random boundaries while versions are promoted and rolled back, and counts what went wrong.

    python -m tests.bench.kills --kills 500 --substrate cluster --write

`--write` puts the substrate's table into docs/benchmarks/kills.md. Every second version is good (it has to end
promoted) and every second one bad (it has to end rolled back, without a user). The exit status is 1 when anything is
not as it must be. Registry and engines are stand-ins in files; everything else is the real part.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.integration.controller.killing import FARTHEST, Diary, controlled
from tests.integration.controller.kube_world import KubeWorld
from tests.integration.controller.world import World
from tests.kube_api import ROOT, KubeApi, kube_programs
from tidegate import logging
from tidegate.plane_settings import Intervals

REPORT = ROOT / "docs" / "benchmarks" / "kills.md"
_TICKS = 8
_ROUNDS_A_VERSION = 200
"""Controllers after which a version that is still undecided counts as stuck."""
_EVIDENCE = {"Succeeded": "+=+=+", "RolledBack": "-=-=-"}


@dataclass(frozen=True)
class Findings:
    """What there is to report of one run."""

    versions: int
    boundaries: Counter[str]
    resumed: list[float]
    wrong: dict[str, int]

    @property
    def kills(self) -> int:
        return self.boundaries.total()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--substrate", choices=["machine", "cluster"], required=True)
    parser.add_argument("--lease-seconds", type=float, default=Intervals().lease_ttl, help="the platform's is default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--machine", default="2 cores, shared", help="what the figures were measured on, in words")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    logging.configure("kills", "ERROR")
    with tempfile.TemporaryDirectory() as folder, platform(options.substrate, Path(folder)) as make:
        home = Path(folder) / "home"
        home.mkdir()
        findings = measure(lambda: make(home, options.lease_seconds), home, options.kills, options.seed)
    command = f"python -m tests.bench.kills --kills {options.kills} --substrate {options.substrate}"
    if options.lease_seconds != Intervals().lease_ttl:
        command += f" --lease-seconds {options.lease_seconds:g}"
    text = section(findings, f"{command} --write", options.machine, options.lease_seconds)
    sys.stdout.write(text)
    if options.write:
        write(_TITLES[options.substrate, options.lease_seconds == Intervals().lease_ttl], text)
    return int(any(findings.wrong.values()))


@contextmanager
def platform(substrate: str, folder: Path) -> Iterator[Callable[[Path, float], World]]:
    """Makes worlds: on one machine's database, or over a real API server."""
    if substrate == "machine":
        yield lambda home, lease: World(home, None, lease)
        return
    with KubeApi(folder / "api", kube_programs()) as api:
        KubeWorld.install(api)
        namespace = api.make_namespace()
        yield lambda home, lease: KubeWorld(home, api, namespace, None, lease)


def measure(make: Callable[[], World], home: Path, kills: int, seed: int) -> Findings:
    """Decides version after version until so many controllers were killed."""
    dice, world, diary = random.Random(seed), make(), Diary(home / "diary.jsonl")
    world.set_up()
    controlled(make, home, "", None, _TICKS)
    number, killed, stuck = 1, 0, 0
    while killed < kills:
        number += 1
        phase = "Succeeded" if number % 2 == 0 else "RolledBack"
        world.nominate(str(number), against=str(world.status["stable"]))
        for _ in range(_ROUNDS_A_VERSION):
            if decided(world, str(number), phase):
                break
            after = dice.randint(1, FARTHEST) if killed < kills else None
            killed += controlled(make, home, _EVIDENCE[phase], after, _TICKS)
            world.around(_EVIDENCE[phase])
        else:
            stuck += 1
        sys.stderr.write(f"version {number}: {world.status['phase']} after {killed} kills\n")
    controlled(make, home, "", None, _TICKS)
    wrong = {"versions that were not decided as they had to be": stuck} | faults(world, diary)
    return Findings(number - 1, Counter(line["boundary"] for line in diary.lines("killed")), resumed(diary), wrong)


def decided(world: World, number: str, phase: str) -> bool:
    state = world.state
    attempt = state.attempt
    return attempt is not None and attempt.candidate == number and state.phase == phase


def resumed(diary: Diary) -> list[float]:
    """Seconds from a kill to the end of the next leader's first round."""
    found, killed = [], None
    for line in diary.lines("killed", "round"):
        if line["what"] == "round" and killed is not None:
            found.append(line["at"] - killed)
        killed = line["at"] if line["what"] == "killed" else None
    return found


def faults(world: World, diary: Diary) -> dict[str, int]:
    """What must not be, counted from the ledger and from what the killed processes have seen."""
    entries = world.ledger.entries()
    tables = [entry.payload["table"] for entry in entries if entry.kind == "routing.published"]
    epochs = [table["epoch"] for table in tables]
    transitions = [(e.rollout, e.payload) for e in entries if e.kind == "rollout.transition"]
    acts = Counter((rollout, p["to_phase"], p["step"], p["reason"]) for rollout, p in transitions)
    passed = {
        entry.payload["epoch"]
        for entry in entries
        if entry.kind == "rollout.decision" and entry.payload["reason"] == "GatesPassed" and entry.payload["passed"]
    }
    full = first_full_epochs(tables)
    bad = {arm["version"] for table in tables for arm in table["arms"] if int(arm["version"]) % 2 and arm["weight"]}
    known = {entry.id for entry in entries}
    recorded = {fact for line in diary.lines("recorded") for fact in line["transitions"]}
    routed = {line["epoch"] for line in diary.lines("routed")}
    return {
        "double acts (an epoch published twice, a transition made twice)": len(epochs)
        - len(set(epochs))
        + sum(count - 1 for count in acts.values()),
        "epochs out of order": int(epochs != sorted(epochs)),
        "promotions without a recorded pass": len([epoch for epoch in full if epoch not in passed]),
        "bad versions that got a user": len(bad - {"1"}),
        "lost facts: tables that were in force": len(routed - set(epochs)),
        "lost facts: transitions that were on record": len(recorded - known),
        "breaks in the ledger's chain": int(not world.ledger.verify().ok),
    }


def first_full_epochs(tables: Sequence[dict[str, Any]]) -> list[int]:
    """For each version but the first, the epoch that first gave it all users."""
    found: dict[str, int] = {}
    for table in tables:
        for arm in table["arms"]:
            if arm["weight"] == 100.0:
                found.setdefault(arm["version"], table["epoch"])
    return [epoch for version, epoch in found.items() if version != "1"]


# --- the report ------------------------------------------------------------------------------------------------------


def section(findings: Findings, command: str, machine: str, lease: float) -> str:
    """One substrate's part of the report."""
    p50, p95, most = np.quantile(findings.resumed, [0.5, 0.95, 1.0], method="higher")
    hits = "\n".join(f"| {boundary} | {count} |" for boundary, count in sorted(findings.boundaries.items()))
    wrong = "\n".join(f"| {what} | {count} |" for what, count in findings.wrong.items())
    return f"""```
{command}
```

{machine}. {findings.kills} kills while {findings.versions} versions were decided; lease of {lease:g} s.

| kill to the end of the next leader's first round | seconds |
|---|---|
| p50 | {p50:.1f} |
| p95 | {p95:.1f} |
| max | {most:.1f} |

The time includes what is left of the killed leader's lease, {lease:g} s at most.

| what must not be | count |
|---|---|
{wrong}

| killed | times |
|---|---|
{hits}
"""


_HEAD = """# Controllers that are killed

Controllers are killed with SIGKILL at random boundaries around a record and an act, while good versions are promoted
and bad ones rolled back. The next controller starts when the last one is dead, waits for its lease and goes on.
Registry and engines are stand-ins in files, gateway and scorer are played by the script; controller, database, ledger
and API server are the real ones.

The tables of boundaries name the call just before or after which a controller died: `Reconciler.record` decides and
puts on record, `ResourceStore.update_status` and `Objects.replace` write the status, `publish` the routing,
`append_many` the ledger, `ensure` the engine, `set_alias` the registry, `answer` what a person hears.
"""
_TITLES = {
    ("machine", False): "One machine",
    ("machine", True): "One machine, the default lease",
    ("cluster", False): "Cluster",
    ("cluster", True): "Cluster, the default lease",
}
"""By substrate, and whether the lease is the platform's default."""


def write(title: str, text: str) -> None:
    """Replaces a section of the report."""
    before = REPORT.read_text(encoding="utf-8") if REPORT.exists() else ""
    parts = dict(part.split("\n", 1) for part in before.split("\n## ")[1:])
    parts[title] = f"\n{text}"
    ordered = [f"## {title}\n\n{parts[title].strip()}\n" for title in _TITLES.values() if title in parts]
    REPORT.write_text("\n".join([_HEAD, *ordered]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
