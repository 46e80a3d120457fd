"""The rollout timeline as a picture: who got which share of the users, and what was decided when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tidegate.ledger import LedgerEntry

_WIDTH, _HEIGHT, _DPI = 11.0, 5.2, 140
_GOOD, _BAD, _NEUTRAL = "#2e7d32", "#c62828", "#555555"
_MARKED = {"Succeeded": _GOOD, "RolledBack": _BAD, "RollingBack": _BAD, "Paused": _NEUTRAL, "Shadow": _NEUTRAL}
_LABEL_CHARACTERS = 34


def draw_timeline(entries: Sequence[LedgerEntry], deployment: str, path: Path) -> Path:
    """Draws the weights of every version over time from the ledger's facts.

    Args:
        entries: facts of kind `routing.published` and `rollout.transition` of the deployment, oldest first.
        deployment: for the title.
        path: of the PNG.
    """
    import matplotlib as mpl  # noqa: PLC0415 - a second to import

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    weights = _weights(entries)
    figure, axes = plt.subplots(figsize=(_WIDTH, _HEIGHT), dpi=_DPI, layout="constrained")
    if weights:
        start = weights[0][0]
        end = max([entries[-1].time, weights[-1][0]])
        versions = sorted({version for _, shares in weights for version in shares}, key=int)
        times = [(moment - start).total_seconds() for moment, _ in weights] + [(end - start).total_seconds()]
        stacks = [[shares.get(version, 0.0) for _, shares in weights] for version in versions]
        stacks = [[*values, values[-1]] for values in stacks]
        axes.stackplot(times, stacks, labels=[f"version {version}" for version in versions], step="post", alpha=0.85)
        _mark(axes, entries, start)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        axes.set_xlim(0, max(times[-1], 1.0))
    axes.set_ylim(0, 100)
    axes.set_xlabel("seconds since the first version served")
    axes.set_ylabel("share of users (%)")
    axes.set_title(f"{deployment}: which version answered whom", loc="left", pad=78)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path)
    plt.close(figure)
    return path


def _weights(entries: Sequence[LedgerEntry]) -> list[tuple[datetime, dict[str, float]]]:
    points = []
    for entry in entries:
        if entry.kind == "routing.published":
            arms = entry.payload["table"]["arms"]
            points.append((entry.time, {str(arm["version"]): float(arm["weight"]) for arm in arms}))
    return points


def _mark(axes: Any, entries: Sequence[LedgerEntry], start: datetime) -> None:
    """A line and a slanted label for every transition that a reader looks for."""
    for entry in entries:
        if entry.kind != "rollout.transition" or entry.payload.get("to_phase") not in _MARKED:
            continue
        phase = entry.payload["to_phase"]
        at = (entry.time - start).total_seconds()
        if at < 0:
            continue
        label = f"{phase}: {entry.payload.get('reason', '')}"[:_LABEL_CHARACTERS]
        axes.axvline(at, color=_MARKED[phase], linewidth=1.0, linestyle=":")
        axes.annotate(
            label,
            xy=(at, 100),
            xytext=(0, 4),
            textcoords="offset points",
            rotation=35,
            fontsize=8,
            color=_MARKED[phase],
            ha="left",
            va="bottom",
            annotation_clip=False,
        )
