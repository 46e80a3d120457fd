"""The head of a drift report's page: the verdict and every column's numbers, before Evidently's pictures. Pure."""

from __future__ import annotations

from html import escape

from tidegate.domain.drift import ColumnDrift, DriftReport

_VERDICTS = {
    "drift": ("Drift", "#c62828"),
    "no_drift": ("No drift", "#2e7d32"),
    "too_few_rows": ("Too few rows", "#555"),
}
_STYLE = """
<style>
.tidegate { font-family: system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
.tidegate h1 { margin: 0 0 .3rem; } .tidegate p { line-height: 1.5; }
.tidegate table { border-collapse: collapse; width: 100%; font-size: .92rem; }
.tidegate th, .tidegate td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid #ddd; }
.tidegate tr.drifted td { font-weight: 600; background: #fdecea; }
</style>
"""


def with_head(page: bytes, report: DriftReport) -> bytes:
    """Evidently's page with the head at the top of its body."""
    html = page.decode()
    start = html.find("<body")
    at = html.find(">", start) + 1 if start >= 0 else 0
    return (html[:at] + head(report) + html[at:]).encode()


def alone(report: DriftReport) -> bytes:
    """A page of its own, for a check that had nothing to compare."""
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Drift check</title>{head(report)}'.encode()


def head(report: DriftReport) -> str:
    """What was compared, what was found and, if so, what made it drift."""
    title, colour = _VERDICTS[report.verdict]
    times = f"{report.window_start:%Y-%m-%d %H:%M:%S} to {report.window_end:%Y-%m-%d %H:%M:%S} UTC"
    what = (
        f"Deployment <b>{escape(report.deployment)}</b>, version <b>{escape(f'{report.model}/{report.version}')}</b>."
    )
    rows = (
        f"{report.window_rows} requests from {times}, against {report.reference_rows} rows of the version's reference."
    )
    lines = [
        f'{_STYLE}<section class="tidegate"><h1 style="color: {colour}">{title}</h1>',
        f"<p>{what} {rows}</p><p>{escape(report.reason)}</p>",
    ]
    if report.columns:
        cells = "".join(f"<th>{name}</th>" for name in ("column", "test", "p", "limit", "effect", "least effect", ""))
        ordered = sorted(report.columns, key=lambda column: (not column.drifted, column.value))
        lines.append(f"<table><tr>{cells}</tr>{''.join(map(_row, ordered))}</table>")
        lines.append("<p>A column has changed when p is below its limit and the effect is at least the least one.</p>")
    return "".join([*lines, "</section>"])


def _row(column: ColumnDrift) -> str:
    cells = (
        column.column,
        column.method,
        f"{column.value:.2g}",
        f"{column.threshold:.2g}",
        "" if column.effect is None else f"{column.effect:.2f}",
        "" if column.effect_floor is None else f"{column.effect_floor:.2f}",
        "changed" if column.drifted else "",
    )
    kind = ' class="drifted"' if column.drifted else ""
    return f"<tr{kind}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
