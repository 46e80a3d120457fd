"""The drift check's job, under the name that every step's job has. The work is `monitoring.drift.job`'s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitoring.drift.spec import DriftCheckResult
from tidegate.ports import Progress


def run(payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """A `DriftCheckSpec` in, a `DriftCheckResult` out; errors as `monitoring.drift.job.run`."""
    from monitoring.drift import job  # noqa: PLC0415 - Evidently is not for the step's own process

    return job.run(payload, progress)


def metrics(result: DriftCheckResult) -> Mapping[str, float]:
    """The numbers that the step shows."""
    report = result.report
    return {
        "drift": float(report.verdict == "drift"),
        "drifted_share": report.drifted_share,
        "window_rows": float(report.window_rows),
        "reference_rows": float(report.reference_rows),
    }


def summary(result: DriftCheckResult) -> str:
    """The report as Markdown."""
    report = result.report
    lines = [
        f"# {report.model}/{report.version}: {report.verdict}",
        "",
        f"{report.reason}.",
        "",
        f"{report.window_rows} requests against {report.reference_rows} reference rows. Alert: {result.alert}.",
        f"Window: {report.window_start:%Y-%m-%d %H:%M} to {report.window_end:%Y-%m-%d %H:%M} UTC.",
        "",
        "| column | kind | method | p-value | threshold | effect | least effect | drifted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for column in report.columns:
        effect = "" if column.effect is None else f"{column.effect:.3f}"
        floor = "" if column.effect_floor is None else f"{column.effect_floor:.2f}"
        drifted = "**yes**" if column.drifted else "no"
        lines.append(
            f"| {column.column} | {column.kind} | {column.method} | {column.value:.2g} | {column.threshold:.2g} "
            f"| {effect} | {floor} | {drifted} |"
        )
    return "\n".join(lines) + "\n"
