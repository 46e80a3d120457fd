"""The pictures of docs/judgement.md, drawn from simulated figures."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from serving.rollout.evidence import PairedSeries
from serving.rollout.statistics import paired
from serving.rollout.statistics.boundary import NEVER, Boundary, fair_coin, spend_within
from tests.bench.rollouts.detection import ALPHA, pairs
from tests.bench.rollouts.plans import LEVELS
from tests.bench.rollouts.side_by_side import SCENARIOS, Cells
from tests.bench.rollouts.traffic import Floats

_PAIRS = 1000
_INK = {"5%": "#c2571a", "1%": "#d9a441", "ours": "#1b6ca8"}


def peeking(rng: np.random.Generator, rollouts: int, folder: Path | None) -> list[str]:
    """How many identical versions have been called worse by pair n, when one looks after every pair; the rows too."""
    rows = [pairs(rng, _PAIRS, 0.0, 0.16) for _ in range(rollouts)]
    by = {
        f"t-test at {percent}, looked at after every pair": _ever(np.array([_t(row) for row in rows]), alpha)
        for percent, alpha in (("5%", 0.05), ("1%", 0.01))
    }
    at = np.array([_crossing(row) for row in rows])
    by["tidegate at 1%, looked at after every pair"] = np.array([(at <= n).mean() for n in range(1, _PAIRS + 1)])
    if folder is not None:
        _draw_peeking(by, folder)
    looks = (20, 100, 300, 1000)
    table = ["| method | " + " | ".join(f"by pair {n}" for n in looks) + " |", "|---" * (len(looks) + 1) + "|"]
    return table + [
        f"| {name} | " + " | ".join(f"{100 * share[n - 1]:.1f}%" for n in looks) + " |" for name, share in by.items()
    ]


def _draw_peeking(by: dict[str, Floats], folder: Path) -> None:
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    for (name, share), ink in zip(by.items(), _INK.values(), strict=True):
        axes.plot(range(1, _PAIRS + 1), 100 * share, label=name, color=ink, linewidth=2)
    axes.axhline(1, color="#888888", linewidth=0.8, linestyle="--")
    axes.set_xlabel("pairs seen")
    axes.set_ylabel("identical versions called worse, %")
    axes.set_ylim(0, None)
    axes.legend(frameon=False, fontsize=8)
    _save(figure, folder / "judgement-peeking.png")


def _t(row: Floats) -> Floats:
    """z of "the mean is below zero" after every pair; none before 10 pairs."""
    n = np.arange(1, len(row) + 1)
    mean = np.cumsum(row) / n
    spread = np.sqrt(np.maximum(np.cumsum(row * row) / n - mean * mean, 1e-12) / np.maximum(n - 1, 1))
    z: Floats = np.where(n >= 10, -mean / spread, 0.0)
    return z


def _ever(z: Floats, alpha: float) -> Floats:
    shares: Floats = np.maximum.accumulate(z > NormalDist().inv_cdf(1 - alpha), axis=1).mean(axis=0)
    return shares


def _crossing(row: Floats) -> float:
    at = paired.harm(PairedSeries(row, 0, 0, binary=True), ALPHA, _PAIRS).crossed_at
    return math.inf if at is None else float(at)


def boundary(rng: np.random.Generator, folder: Path) -> None:
    """An equal version and one that is 10 points worse on the same discordant pairs, and the line they may cross."""
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    horizon = 300
    at = np.flatnonzero(rng.random(horizon) < 0.16)
    line = Boundary(ALPHA, spend_within(horizon))
    steps = [line.step(*fair_coin((int(position) + 1,))) for position in at]
    needed = np.array([math.nan if step == NEVER else float(step) for step in steps])
    seen = np.arange(1, len(at) + 1)
    paid = np.isfinite(needed)  # elsewhere the budget pays for no new outcome yet
    axes.plot(at[paid] + 1, (2 * needed - seen)[paid], color="#555555", linewidth=1, label="beyond chance: rolled back")
    for loss_share, name, ink in ((0.5, "an equal version", "#1b6ca8"), (13 / 16, "10 points worse", "#c2571a")):
        losses = np.cumsum(rng.random(len(at)) < loss_share)
        excess = 2 * losses - seen
        crossed = np.flatnonzero(losses >= np.where(paid, needed, math.inf))
        end = int(crossed[0]) + 1 if len(crossed) else len(at)
        axes.step(at[:end] + 1, excess[:end], where="post", color=ink, linewidth=2, label=name)
        if len(crossed):
            where = (int(at[end - 1]) + 1, int(excess[end - 1]))
            axes.plot(*where, marker="o", color=ink)
            axes.annotate(f"  pair {where[0]}", (where[0], where[1] - 1.5), color=ink, fontsize=8)
    axes.set_xlabel("pairs seen")
    axes.set_ylabel("losses minus wins")
    axes.set_xlim(0, horizon)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    _save(figure, folder / "judgement-boundary.png")


def map_of_methods(cells: Cells, folder: Path) -> None:
    """False rollbacks against missed harm, one picture a traffic level: the lower left corner is where to be."""
    equal, *harms = (scenario.name for scenario in SCENARIOS)
    figure, frames = plt.subplots(1, len(LEVELS), figsize=(9.6, 3.6), sharex=True, sharey=True)
    names = list(dict.fromkeys(name for _, _, name in cells))
    inks = plt.get_cmap("tab10")
    for axes, level in zip(frames, LEVELS, strict=True):
        for i, name in enumerate(names):
            if (equal, level.rate, name) not in cells:
                continue
            false = cells[(equal, level.rate, name)]
            missed = [cells[(harm, level.rate, name)] for harm in harms]
            y = 100 * sum(cell.promoted for cell in missed) / sum(cell.n for cell in missed)
            mark = "*" if name.startswith("tidegate") else "o"
            x = 100 * false.rolled_back / false.n
            axes.scatter([x], [y], marker=mark, s=160 if mark == "*" else 45, color=inks(i), label=name)
        axes.set_title(f"{level.rate:g} requests/s", fontsize=9)
        axes.set_xlim(-3, 103)
        axes.set_ylim(-3, 103)
    frames[0].set_ylabel("harmful versions promoted, %")
    frames[1].set_xlabel("identical versions rolled back, %")
    handles, labels = frames[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False, fontsize=7)
    figure.subplots_adjust(bottom=0.3)
    _save(figure, folder / "judgement-methods.png", tight=False)


def _save(figure: plt.Figure, path: Path, *, tight: bool = True) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    if tight:
        figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
