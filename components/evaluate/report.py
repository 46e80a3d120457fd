"""The evaluation as Markdown and as one self-contained HTML page, for people."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tidegate.domain.evaluation import EvalReport, Metric


def verdict_line(report: EvalReport) -> str:
    """One loud sentence: passed, overridden by whom and why, or failed."""
    if report.gate.passed:
        return f"Gate passed: all {len(report.gate.checks)} checks."
    failed = "; ".join(report.gate.reasons)
    if report.override is not None:
        return (
            f"GATE OVERRIDDEN by {report.override.by} at {report.override.at:%Y-%m-%d %H:%M} UTC: "
            f"{report.override.reason}. The gate had failed: {failed}."
        )
    return f"GATE FAILED: {failed}."


def format_value(metric: Metric) -> str:
    """'0.931 [0.881, 0.961]' or '0.52 s'."""
    if metric.unit == "seconds":
        return f"{metric.value:.2f} s"
    if metric.interval is None:
        return f"{metric.value:.3f}"
    return f"{metric.value:.3f} [{metric.interval.low:.3f}, {metric.interval.high:.3f}]"


def to_markdown(report: EvalReport) -> str:
    """The whole report; intervals are 95 %."""
    return "\n\n".join(
        ["# Evaluation", f"**{_md(verdict_line(report))}**", *(_md_table(*table) for table in _tables(report))]
    )


def to_html(report: EvalReport, classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """A page without any external resource; every text from outside is escaped."""
    colour = "#1a7f37" if report.gate.passed else "#b42318"
    tables = "".join(_html_table(*table) for table in _tables(report))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Evaluation</title><style>'
        "body{font:14px/1.5 system-ui,sans-serif;margin:2rem;max-width:70rem}"
        "table{border-collapse:collapse;margin:1rem 0}"
        "td,th{border:1px solid #d0d7de;padding:.25rem .6rem;text-align:left}th{background:#f6f8fa}"
        f".verdict{{color:{colour};font-weight:600}}</style></head><body><h1>Evaluation</h1>"
        f'<p class="verdict">{escape(verdict_line(report))}</p>{tables}{_confusion(classes, matrix)}</body></html>'
    )


Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]


def _tables(report: EvalReport) -> list[Table]:
    tables: list[Table] = [
        (
            "Metrics",
            ("metric", "value [95% interval]", "rows"),
            [(metric.name, format_value(metric), str(metric.n)) for metric in report.metrics],
        ),
        (
            "Same rows, paired",
            ("baseline", "candidate", "baseline value", "difference [95% interval]", "won", "lost", "p (McNemar)"),
            [
                (
                    item.baseline,
                    f"{item.candidate_value:.3f}",
                    f"{item.baseline_value:.3f}",
                    f"{item.difference:+.3f} [{item.interval.low:+.3f}, {item.interval.high:+.3f}]",
                    str(item.wins),
                    str(item.losses),
                    "" if item.p_value is None else f"{item.p_value:.3g}",
                )
                for item in report.comparisons
            ],
        ),
        (
            "Gate",
            ("check", "outcome", "reason"),
            [(check.name, "passed" if check.passed else "FAILED", check.reason) for check in report.gate.checks],
        ),
        (
            "Per label",
            ("label", "exact match [95% interval]", "rows"),
            [(item.slice, format_value(item.metric), str(item.metric.n)) for item in report.slices],
        ),
    ]
    return [table for table in tables if table[2]]


def _md_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_md(cell) for cell in row)} |" for row in rows]
    return f"## {title}\n\n" + "\n".join(lines)


def _md(text: str) -> str:
    """Text as a table cell: neither ends the cell nor opens HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _html_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    header = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<h2>{escape(title)}</h2><table><tr>{header}</tr>{body}</table>"


def _confusion(classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    rows = [(name, *(str(count) if count else "" for count in row)) for name, row in zip(classes, matrix, strict=True)]
    return _html_table("Confusion: rows are labels, columns are answers", ("", *classes), rows)
