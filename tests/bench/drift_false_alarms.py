"""How often a drift check alarms when nothing changed, and how often it finds what did.

    python -m tests.bench.drift_false_alarms [--windows 200] [--seed 0]

Real Banking77 rows (`TIDEGATE_BANKING77` names the folder), 12 intents. Every window splits the rows anew into a
reference of 300 rows and a window of 150 to 300 other ones; a version that is right 90% of the time answers both.
Prints one line per situation: alarms out of windows, with the 95% Wilson interval, and the columns that alarmed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from monitoring.drift.check import check
from monitoring.drift.reference import Reference

ACCURACY = 0.9
REFERENCE_ROWS = 300
KNOWN, NEW = 12, 6

Change = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(os.environ["TIDEGATE_BANKING77"])
    data = pd.concat([pd.read_csv(folder / name) for name in ("train.csv", "test.csv")]).drop_duplicates("text")
    intents = sorted(data["category"].unique())
    known = data[data["category"].isin(intents[:KNOWN])]
    new = data[data["category"].isin(intents[KNOWN : KNOWN + NEW])]
    situations: dict[str, Change | None] = {
        "nothing changed": None,
        "new intents, 30% of rows": lambda rows, rng: _mixed(rows, new, 0.3, rng),
        "new wording (typos in 30% of words)": _typos,
        "quality falls to 70%": lambda rows, rng: _answered(rows, rng, 0.7),
        "answers not in the label set, 20%": _gibberish,
    }
    for name, change in situations.items():
        began, alarms, columns = time.perf_counter(), 0, Counter[str]()
        windows = options.windows if change is None else max(20, options.windows // 5)
        for number in range(windows):
            drifted = _one(known, change, np.random.default_rng([options.seed, number]))
            alarms += bool(drifted)
            columns.update(drifted)
        low, high = _wilson(alarms, windows)
        seconds = (time.perf_counter() - began) / windows
        print(  # noqa: T201 - a script's output
            f"{name}: {alarms}/{windows} alarms ({low:.1%} to {high:.1%}), {seconds:.2f} s a check, {dict(columns)}",
            flush=True,
        )
    return 0


def _one(known: pd.DataFrame, change: Change | None, rng: np.random.Generator) -> list[str]:
    """Columns that drifted in one window; empty unless the verdict is drift."""
    rows = known.sample(frac=1, random_state=rng).rename(columns={"category": "label"})
    size = int(rng.integers(150, 301))
    reference = _answered(_customers(rows[:REFERENCE_ROWS], rng), rng, ACCURACY)
    window = _answered(_customers(rows[REFERENCE_ROWS : REFERENCE_ROWS + size], rng), rng, ACCURACY)
    window = change(window, rng) if change else window
    features = ("segment", "channel", "tenure_years")
    of_version = reference.assign(correct=reference["prediction"] == reference["label"])
    served = pd.DataFrame(
        {
            "request_id": [f"r{n}" for n in range(len(window))],
            "customer": window["group"].to_numpy(),
            "text": window["text"].to_numpy(),
            "answer": window["prediction"].to_numpy(),
            "features": window[list(features)].to_dict("records"),
        }
    )
    labels = dict(zip(served["request_id"], window["label"], strict=True))
    checked = check(
        Reference(of_version, features, tuple(sorted(known["category"].unique()))),
        served,
        labels,
        min_rows=60,
        share_threshold=0.3,
    )
    return [c.column for c in checked.columns if c.drifted] if checked.verdict.verdict == "drift" else []


def _customers(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Sixty customers with features of their own, several rows each."""
    group = rng.integers(0, 60, len(rows)) + int(rng.integers(0, 10**6)) * 1000
    per = {
        g: (rng.choice(["retail", "premium", "business"]), rng.choice(["app", "web"]), int(rng.gamma(2, 4)))
        for g in set(group)
    }
    return rows.assign(
        group=[str(g) for g in group],
        segment=[per[g][0] for g in group],
        channel=[per[g][1] for g in group],
        tenure_years=[per[g][2] for g in group],
    )


def _answered(rows: pd.DataFrame, rng: np.random.Generator, accuracy: float) -> pd.DataFrame:
    labels = rows["label"].to_numpy()
    others = rng.permutation(labels)
    right = rng.random(len(rows)) < accuracy
    return rows.assign(prediction=np.where(right, labels, others))


def _mixed(rows: pd.DataFrame, new: pd.DataFrame, share: float, rng: np.random.Generator) -> pd.DataFrame:
    """A share of the rows asks for intents that the version does not know; it answers with some known label."""
    count = int(len(rows) * share)
    fresh = new.sample(count, random_state=rng)
    head = rows[:count].assign(text=fresh["text"].to_numpy(), label=fresh["category"].to_numpy())
    return pd.concat([head, rows[count:]])


def _typos(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    def mistyped(word: str) -> str:
        if len(word) < 4 or rng.random() > 0.3:
            return word
        at = int(rng.integers(1, len(word) - 1))
        return word[:at] + word[at + 1 :]

    return rows.assign(text=[" ".join(mistyped(word) for word in text.split()) for text in rows["text"]])


def _gibberish(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    spoiled = rng.random(len(rows)) < 0.2
    return rows.assign(prediction=np.where(spoiled, "I am a language model", rows["prediction"]))


def _wilson(hits: int, rows: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson 1927."""
    share, square = hits / rows, z * z / rows
    centre, half = share + square / 2, z * np.sqrt(share * (1 - share) / rows + square / rows / 4)
    return float((centre - half) / (1 + square)), float((centre + half) / (1 + square))


if __name__ == "__main__":
    sys.exit(main())
