"""The rollout timeline as a picture: who got which share of the users, who was shadowed, what was decided when."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tidegate.ledger import LedgerEntry

_WIDTH, _HEIGHT, _DPI = 11.0, 5.0, 140
_GOOD, _BAD, _NEUTRAL = "#2e7d32", "#c62828", "#444444"
_COLOURS = ("#4477aa", "#ee9933", "#aa3377", "#228833", "#66ccee", "#999933")
"""Told apart by colour-blind readers too."""
_PHASES = {"Shadow": ("in shadow", _NEUTRAL), "Succeeded": ("promoted", _GOOD), "RolledBack": ("rolled back", _BAD)}
_PHASES |= {"Paused": ("paused", _NEUTRAL)}
_CHARACTER = 0.0085
"""Width of a label's character as a share of the picture's time axis."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A moment that a reader looks for."""

    time: datetime
    text: str
    colour: str


@dataclass(frozen=True, kw_only=True)
class Shares:
    """What the gateways were told at a moment: percent of users per version, and the version that gets copies."""

    time: datetime
    users: dict[str, float]
    shadowed: str | None


def draw_timeline(entries: Sequence[LedgerEntry], deployment: str, path: Path) -> Path:
    """Draws the weights of every version over time from the ledger's facts.

    Args:
        entries: facts of kind `routing.published`, `rollout.transition` and `retrain.requested`, oldest first.
        deployment: for the title.
        path: of the PNG.
    """
    import matplotlib as mpl  # noqa: PLC0415 - a second to import

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    shares = published(entries)
    figure, (top, strip) = plt.subplots(
        2, 1, figsize=(_WIDTH, _HEIGHT), dpi=_DPI, layout="constrained", sharex=True, height_ratios=(12, 1)
    )
    rows = 0
    if shares:
        start = shares[0].time
        end = max((max(entries[-1].time, shares[-1].time) - start).total_seconds(), 1.0)
        _draw_shares(top, strip, shares, end)
        rows = _draw_marks(top, [mark for mark in marks(entries) if mark.time >= start], start, end)
        top.set_xlim(0, end)
        top.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    top.set_ylim(0, 100)
    top.set_ylabel("share of users (%)")
    top.set_title(f"{deployment}: which version answered whom", loc="left", pad=10 + 15 * rows)
    strip.set_yticks([])
    strip.set_ylabel("shadow", rotation=0, ha="right", va="center")
    strip.set_xlabel("seconds since the first version served")
    for axes in (top, strip):
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.savefig(path)
    plt.close(figure)
    return path


def published(entries: Sequence[LedgerEntry]) -> list[Shares]:
    """The shares over time, from the facts of kind `routing.published`."""
    found = []
    for entry in entries:
        if entry.kind != "routing.published":
            continue
        table = entry.payload["table"]
        versions = [str(arm["version"]) for arm in table["arms"]]
        mirrored = table["mirror"]["percent"] > 0 and len(versions) > 1
        users = {str(arm["version"]): float(arm["weight"]) for arm in table["arms"]}
        found.append(Shares(time=entry.time, users=users, shadowed=versions[-1] if mirrored else None))
    return found


def marks(entries: Sequence[LedgerEntry]) -> list[Mark]:
    """The moments worth a label: drift, a candidate's shadow, its promotion or end."""
    found = []
    for entry in entries:
        if entry.kind == "retrain.requested":
            found.append(Mark(time=entry.time, text="drift alert: retraining", colour=_NEUTRAL))
        elif entry.kind == "rollout.transition" and entry.payload.get("reason") != "InitialDeployment":
            phase = _PHASES.get(str(entry.payload.get("to_phase")))
            version = re.search(r"-v(\d+)-\d+$", str(entry.payload.get("rollout")))
            if phase is not None and version is not None:
                found.append(Mark(time=entry.time, text=f"version {version[1]} {phase[0]}", colour=phase[1]))
    return found


def label_rows(spans: Sequence[tuple[float, float]]) -> list[int]:
    """The lowest row for each label, of (left, right) spans, so that none covers another."""
    taken: list[list[tuple[float, float]]] = []
    rows = []
    for left, right in spans:
        free = (n for n, row in enumerate(taken) if all(right <= begin or end <= left for begin, end in row))
        number = next(free, len(taken))
        if number == len(taken):
            taken.append([])
        taken[number].append((left, right))
        rows.append(number)
    return rows


def _draw_shares(top: Any, strip: Any, shares: Sequence[Shares], end: float) -> None:
    start = shares[0].time
    versions = sorted({version for item in shares for version in item.users}, key=int)
    colours = {version: _COLOURS[at % len(_COLOURS)] for at, version in enumerate(versions)}
    times = [(item.time - start).total_seconds() for item in shares] + [end]
    stacks = [[item.users.get(version, 0.0) for item in (*shares, shares[-1])] for version in versions]
    labels = [f"version {version}" for version in versions]
    top.stackplot(times, stacks, labels=labels, colors=list(colours.values()), step="post")
    for item, left, right in zip(shares, times[:-1], times[1:], strict=True):
        if item.shadowed is not None:
            strip.axvspan(left, right, color=colours[item.shadowed], linewidth=0)


def _draw_marks(axes: Any, found: Sequence[Mark], start: datetime, end: float) -> int:
    """A line and a label for every mark; returns how many rows of labels there are."""
    places = [(mark.time - start).total_seconds() for mark in found]
    widths = [len(mark.text) * _CHARACTER * end for mark in found]
    lefts = [place if place + width <= end else place - width for place, width in zip(places, widths, strict=True)]
    rows = label_rows([(left, left + width) for left, width in zip(lefts, widths, strict=True)])
    for mark, place, left, row in zip(found, places, lefts, rows, strict=True):
        axes.axvline(place, color=mark.colour, linewidth=1.2, linestyle=":")
        axes.annotate(
            mark.text,
            xy=(place, 100),
            xytext=(0, 5 + 15 * row),
            textcoords="offset points",
            fontsize=8.5,
            color=mark.colour,
            ha="left" if left == place else "right",
            annotation_clip=False,
        )
    return max(rows, default=-1) + 1
