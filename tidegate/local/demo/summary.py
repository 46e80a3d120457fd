"""The end of the demo: what was trained, how good it is, who served when, where the seconds went, where to look."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tidegate.domain.version import ModelVersion
from tidegate.ledger import LedgerEntry
from tidegate.local.demo.narrator import StageTime
from tidegate.local.demo.traffic import Tally
from tidegate.settings import Settings


def facts(  # noqa: PLR0913 - one argument for each part of the summary
    *,
    story: str,
    deployment: str,
    versions: Mapping[str, ModelVersion],
    rollouts: Mapping[str, Mapping[str, Any]],
    drift: Mapping[str, Any],
    tally: Tally,
    stages: Sequence[StageTime],
    routing: Sequence[LedgerEntry],
    seconds: float,
) -> dict[str, Any]:
    """Everything the summary shows, JSON-ready; `summary.json` holds it for programs."""
    return {
        "story": story,
        "deployment": deployment,
        "seconds": round(seconds, 1),
        "versions": {role: _version(version) for role, version in versions.items()},
        "rollouts": {
            role: {key: status.get(key) for key in ("candidate", "rollout", "phase", "pairs", "reason", "message")}
            for role, status in rollouts.items()
        },
        "drift": dict(drift),
        "requests": {"sent": len(tally.answers), "failed": len(tally.failed), "labels_refused": tally.labels_refused},
        "failures": sorted({str(answer.error) for answer in tally.failed}),
        "weights": [_weights(entry) for entry in routing],
        "stages": [{"name": item.name, "seconds": round(item.seconds, 1), "part_of": item.part_of} for item in stages],
    }


def show(console: Console, found: Mapping[str, Any], settings: Settings, picture: Path, *, running: bool) -> None:
    """Prints the summary."""
    console.print()
    console.rule("[bold]Summary", align="left")
    versions = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("version", "is", "exact match [95% interval]", "macro F1", "against", "gate"):
        versions.add_column(header)
    for role, version in found["versions"].items():
        versions.add_row(
            version["version"], role, version["exact_match"], version["macro_f1"], version["against"], version["gate"]
        )
    console.print(versions)
    console.print()
    for role, rollout in found["rollouts"].items():
        console.print(
            f"{role}: {rollout['phase']} after {rollout['pairs']} pairs. {rollout['message']}", highlight=False
        )
    drift = found["drift"]
    console.print(f"drift: {drift.get('verdict')}. {drift.get('reason', '')}", highlight=False)
    requests = found["requests"]
    console.print(f"requests: {requests['sent']} sent, {requests['failed']} failed", highlight=False)
    for failure in found["failures"]:
        console.print(f"  {failure}", highlight=False, markup=False)
    console.print()
    console.print(_weight_table(found["weights"]))
    console.print()
    console.print(_stage_table(found["stages"], found["seconds"]))
    console.print()
    _where(console, found, settings, picture, running=running)


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Writes `summary.json`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _version(version: ModelVersion) -> dict[str, Any]:
    report = version.report
    compared = [
        f"{item.baseline} {item.baseline_value:.2f} "
        f"({item.difference:+.2f} [{item.interval.low:+.2f}, {item.interval.high:+.2f}])"
        for item in report.comparisons
        if item.metric == "exact_match"
    ]
    verdict = (
        "passed"
        if report.gate.passed
        else f"failed, overridden by {report.override.by}"
        if report.override
        else "failed"
    )
    return {
        "version": version.version,
        "model": version.name,
        "exact_match": _metric(version, "exact_match"),
        "macro_f1": _metric(version, "macro_f1"),
        "against": "; ".join(compared),
        "gate": verdict,
        "rows": report.metric("exact_match").n,
    }


def _metric(version: ModelVersion, name: str) -> str:
    metric = version.report.metric(name)
    interval = f" [{metric.interval.low:.2f}, {metric.interval.high:.2f}]" if metric.interval else ""
    return f"{metric.value:.2f}{interval}"


def _weights(entry: LedgerEntry) -> dict[str, Any]:
    table = entry.payload["table"]
    return {
        "time": entry.time.isoformat(),
        "epoch": table["epoch"],
        "step": table.get("step"),
        "weights": {str(arm["version"]): arm["weight"] for arm in table["arms"]},
        "mirror_percent": table["mirror"]["percent"],
    }


def _weight_table(weights: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="weights over time", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for header in ("time (UTC)", "epoch", "step", "share of users", "mirrored"):
        table.add_column(header)
    for item in weights:
        shares = ", ".join(f"version {version}: {weight:g}%" for version, weight in item["weights"].items())
        mirrored = f"{item['mirror_percent']:g}%" if item["mirror_percent"] else "-"
        table.add_row(item["time"][11:19], str(item["epoch"]), item["step"] or "-", shares, mirrored)
    return table


def _stage_table(stages: Sequence[Mapping[str, Any]], total: float) -> Table:
    table = Table(title="where the seconds went", title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for stage in stages:
        if stage["part_of"] is None:
            table.add_row(stage["name"], f"{stage['seconds']:.0f}")
            for part in stages:
                if part["part_of"] == stage["name"]:
                    table.add_row(f"  [dim]{part['name']}[/dim]", f"[dim]{part['seconds']:.0f}[/dim]")
    table.add_row("[bold]all[/bold]", f"[bold]{total:.0f}[/bold]")
    return table


def _where(console: Console, found: Mapping[str, Any], settings: Settings, picture: Path, *, running: bool) -> None:
    where = Table(title="where to look", title_justify="left", box=None, pad_edge=False, show_header=False)
    where.add_column()
    where.add_column(overflow="fold")
    model = next(iter(found["versions"].values()))["model"]
    where.add_row("rollout timeline", str(picture))
    where.add_row("drift report", str(found["drift"].get("html_uri", "")))
    where.add_row("model card", f"tidegate models card {model}@champion")
    where.add_row("why", f"tidegate rollout history {found['deployment']}")
    where.add_row("the record", "tidegate ledger verify")
    where.add_row("MLflow", settings.mlflow_uri if running else "tidegate up, then see tidegate status")
    if running:
        where.add_row("gateway", f"{settings.gateway_url}/v1")
        where.add_row("stop it all", "tidegate down")
    console.print(where)
