"""How long the whole loop takes and where the seconds go: `tidegate demo` several times, in a fresh state folder each.

    python -m tests.bench.demo [--runs 3] [--data generated banking77]

Prints the tables of docs/benchmarks/demo.md. Every run is the command that a user gives, in a process of its own; the
figures are those of its summary.json. A run that fails ends the measurement with its output.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

OPTIONS = {"generated": [], "banking77": ["--banking77"]}
_TOTAL = "all"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="per data set")
    parser.add_argument("--data", nargs="+", choices=sorted(OPTIONS), default=list(OPTIONS))
    options = parser.parse_args(arguments)
    write = sys.stdout.write
    write(_machine() + "\n")
    for name in options.data:
        summaries = []
        for _ in range(options.runs):
            summaries.append(_run(OPTIONS[name]))
            sys.stderr.write(f"{name}: {summaries[-1]['seconds']:.0f} s\n")
        write(f"\n## {name}\n\n{stage_table(summaries)}\n\n{outcome_table(summaries)}\n")
        sys.stdout.flush()


def stage_table(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Seconds of every stage and step, a column per run; a step's row is indented under its stage."""
    rows: list[tuple[str, list[float | None]]] = []
    for stage in summaries[0]["stages"]:
        if stage["part_of"] is not None:
            continue
        rows.append((stage["name"], [_seconds(summary, stage["name"], None) for summary in summaries]))
        for part in dict.fromkeys(s["name"] for s in summaries[0]["stages"] if s["part_of"] == stage["name"]):
            rows.append((f"· {part}", [_seconds(summary, part, stage["name"]) for summary in summaries]))
    rows.append((f"**{_TOTAL}**", [summary["seconds"] for summary in summaries]))
    lines = [_row(["stage", *(f"run {number}" for number in range(1, len(summaries) + 1))])]
    lines.append(_row(["---", *("---:" for _ in summaries)]))
    lines += [_row([name, *("-" if value is None else f"{value:.0f}" for value in values)]) for name, values in rows]
    return "\n".join(lines)


def outcome_table(summaries: Sequence[Mapping[str, Any]]) -> str:
    """What came out: scores, pairs until the decisions, requests."""
    rows = [
        [f"{role}: exact match [95%]", *(summary["versions"][role]["exact_match"] for summary in summaries)]
        for role in summaries[0]["versions"]
    ]
    rows += [
        [f"{role}", *(_ended(summary["rollouts"][role]) for summary in summaries)] for role in summaries[0]["rollouts"]
    ]
    rows.append(["drift check", *(summary["drift"]["verdict"] for summary in summaries)])
    rows.append(["requests sent / failed", *(_requests(summary["requests"]) for summary in summaries)])
    lines = [_row(["outcome", *(f"run {number}" for number in range(1, len(summaries) + 1))])]
    lines.append(_row(["---"] * (len(summaries) + 1)))
    return "\n".join([*lines, *(_row(row) for row in rows)])


def _run(options: Sequence[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as home:
        command = [sys.executable, "-m", "tidegate.cli.main", "demo", *options]
        done = subprocess.run(
            command, env={**os.environ, "TIDEGATE_HOME": home}, capture_output=True, text=True, check=False
        )
        found = list(Path(home).glob("demo/*/summary.json"))
        if done.returncode or not found:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        summary: dict[str, Any] = json.loads(found[0].read_text())
        return summary


def _seconds(summary: Mapping[str, Any], name: str, part_of: str | None) -> float | None:
    found = [s["seconds"] for s in summary["stages"] if s["name"] == name and s["part_of"] == part_of]
    return sum(found) if found else None


def _ended(rollout: Mapping[str, Any]) -> str:
    return f"{rollout['phase']} after {rollout['pairs']} pairs"


def _requests(requests: Mapping[str, Any]) -> str:
    return f"{requests['sent']} / {requests['failed']}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _machine() -> str:
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "ray", "mlflow", "kfp", "feast", "evidently"))
    return (
        f"Machine: {len(os.sched_getaffinity(0))} cores ({models[0] if models else platform.machine()}), "
        f"{int(memory) / 2**20:.0f} GiB, no GPU; Python {platform.python_version()}, {packages}; "
        f"load average before: {os.getloadavg()[0]:.1f}."
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


if __name__ == "__main__":
    main()
