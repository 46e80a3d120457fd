"""The row accounting as Markdown: what the Kubeflow UI and the log of a run show."""

from __future__ import annotations

from tidegate.domain.manifest import DataManifest


def markdown(manifest: DataManifest) -> str:
    """Tables of the stages and the splits, then what was found and what was invented."""
    lines = ["# Row accounting", "", "| stage | rows in | rows out | dropped |", "|---|---:|---:|---|"]
    for stage in manifest.stages:
        dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(stage.dropped.items())) or "–"
        lines.append(f"| {stage.stage} | {stage.rows_in} | {stage.rows_out} | {dropped} |")
    lines += ["", "| split | rows | customers | from | to |", "|---|---:|---:|---|---|"]
    for split in manifest.splits:
        start, end = (f"{moment:%Y-%m-%d %H:%M}" if moment else "–" for moment in (split.start, split.end))
        lines.append(f"| {split.name} | {split.rows} | {split.groups} | {start} | {end} |")
    findings = ", ".join(f"{count} {kind}" for kind, count in sorted(manifest.pii_findings.items())) or "none"
    lines += [
        "",
        f"- labels: {len(manifest.labels)} ({', '.join(manifest.labels)})",
        f"- personal data redacted: {findings}",
        f"- synthetic columns: {', '.join(manifest.synthetic_columns) or 'none'}",
        f"- texts in more than one split: {manifest.duplicates_across_splits}",
        f"- content digest: `{manifest.content_digest}`",
    ]
    return "\n".join(lines) + "\n"


def metrics(manifest: DataManifest) -> dict[str, float]:
    """Figures for the run's metrics: rows by split, dropped rows by reason, redacted spans."""
    figures: dict[str, float] = {f"rows_{split.name}": float(split.rows) for split in manifest.splits}
    for stage in manifest.stages:
        for reason, count in stage.dropped.items():
            figures[f"dropped_{reason}"] = figures.get(f"dropped_{reason}", 0.0) + count
    figures["pii_spans"] = float(sum(manifest.pii_findings.values()))
    figures["duplicates_across_splits"] = float(manifest.duplicates_across_splits)
    return figures
