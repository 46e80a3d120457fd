"""The tests behind the verdict, and the verdict."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from monitoring.drift import checks, statistics, verdict
from monitoring.drift.descriptors import INVALID, OOV, PREDICTION, align
from monitoring.drift.window import _sample
from tidegate.domain.drift import ColumnDrift


def test_equal_samples_have_no_effect() -> None:
    assert statistics.homogeneity(["a"] * 30 + ["b"] * 70, ["a"] * 30 + ["b"] * 70) == (1.0, 0.0)
    p_value, distance = statistics.kolmogorov_smirnov(range(100), range(100))
    assert (p_value, distance) == (1.0, 0.0)
    assert statistics.proportion_drop((90, 100), (90, 100))[1] == 0.0


def test_moved_samples_have_the_effect_of_their_move() -> None:
    p_value, distance = statistics.homogeneity(["a"] * 100, ["a"] * 60 + ["b"] * 40)
    assert distance == pytest.approx(0.4)
    assert p_value < 1e-6
    p_value, drop = statistics.proportion_drop((95, 100), (70, 100))
    assert drop == pytest.approx(0.25)
    assert p_value < 1e-4


def test_rare_categories_alone_are_no_evidence() -> None:
    reference, window = ["a"] * 200 + [f"r{n}" for n in range(4)], ["a"] * 200 + [f"w{n}" for n in range(4)]
    assert statistics.homogeneity(reference, window)[0] == 1.0


def test_the_homogeneity_test_keeps_its_level_with_a_small_reference() -> None:
    """Chi-square against the reference's own frequencies would reject about four times too often here."""
    rng = np.random.default_rng(0)
    letters = [f"i{n}" for n in range(12)]
    hits = sum(
        statistics.homogeneity(list(rng.choice(letters, 200)), list(rng.choice(letters, 200)))[0] < 0.05
        for _ in range(400)
    )
    assert hits <= 34  # mean 20, standard deviation 4.4


def test_the_domain_classifier_tells_new_messages_and_only_those() -> None:
    rng = np.random.default_rng(1)
    old, new = ["card", "arrive", "wait", "post", "order"], ["crypto", "wallet", "bitcoin", "token", "mining"]

    def texts(words: list[str], count: int) -> list[str]:
        return [" ".join(rng.choice([*words, "my", "the", "please", "how"], 6)) + f" n{n}" for n in range(count)]

    reference = texts(old, 300)
    p_value, area = statistics.text_content(reference, texts(new, 150))
    assert (p_value < 1e-9, area > 0.95) == (True, True)
    p_value, area = statistics.text_content(reference, texts(old, 150))
    assert p_value > 0.001
    assert area < 0.6


def test_texts_without_words_cannot_be_told_apart() -> None:
    assert statistics.text_content(["?"] * 10, ["!"] * 10) == (1.0, 0.5)
    assert statistics.text_content([f"{n}" for n in range(9)], ["?", "!", "."]) == (1.0, 0.5)


def test_a_customer_s_features_count_once_and_gibberish_is_one_category() -> None:
    reference = pd.DataFrame(
        {
            "text": ["a b"] * 4,
            "prediction": ["x", "y", "x", "?"],
            "group": ["g1", "g1", "g2", "g3"],
            "tier": list("ppqr"),
        }
    )
    window = pd.DataFrame(
        {"text": ["new words"] * 3, "answer": ["x", None, "zzz"], "customer": ["c", "c", "d"], "tier": ["p", "p", None]}
    )
    aligned = align(reference, window, features=["tier"], labels=["x", "y"])
    assert aligned.reference["tier"].notna().sum() == 3
    assert aligned.window["tier"].notna().sum() == 2
    assert list(aligned.window[PREDICTION]) == ["x", INVALID, INVALID]
    assert list(aligned.window[OOV]) == [100.0] * 3


def column(name: str, *, drifted: bool, kind: checks.Kind = "text") -> ColumnDrift:
    return ColumnDrift(
        column=name,
        kind=kind,
        method="K-S",
        value=1e-6 if drifted else 0.5,
        threshold=0.001,
        drifted=drifted,
        effect=0.3,
    )


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ([], "no_drift"),
        (["text_length"], "no_drift"),
        (["text_length", "word_count"], "drift"),
        (["text"], "drift"),
        (["labels"], "drift"),
    ],
)
def test_a_decisive_column_decides_alone_and_others_only_together(changed: list[str], expected: str) -> None:
    names = ["text", "text_length", "word_count", "labels", "segment"]
    columns = [column(name, drifted=name in changed) for name in names]
    decided = verdict.decide(columns, share_threshold=0.4, window_rows=100)
    assert decided.verdict == expected
    assert decided.reason


def test_a_vanished_feature_is_drift() -> None:
    found = checks.schema(["segment", "tier"], {"segment": 1.0, "extra": 0.0, "tier": 0.2})
    assert [(one.column, one.method) for one in found] == [
        ("segment", "missing in the window"),
        ("extra", "not in the reference"),
    ]
    assert verdict.decide(found, share_threshold=0.9, window_rows=100).verdict == "drift"


def test_small_windows_are_too_few_rows_never_no_drift() -> None:
    assert verdict.too_few(59, 300, 60) is not None
    assert verdict.too_few(300, 59, 60) is not None
    assert verdict.too_few(60, 60, 60) is None


def test_the_budget_is_shared_over_the_columns_and_trifles_do_not_count() -> None:
    tests = [
        checks.Test(column=f"c{n}", kind="text", method="K-S", p_value=p, effect=effect, effect_floor=0.15)
        for n, (p, effect) in enumerate([(0.003, 0.5), (0.002, 0.5), (0.0001, 0.1), (0.9, 0.9)])
    ]
    assert [one.drifted for one in checks.judged(tests, alpha=0.01)] == [False, True, False, False]


@pytest.mark.parametrize("size", [3, 50])
def test_a_request_id_that_comes_again_counts_once(size: int) -> None:
    rows = [{"request_id": "same", "features": {}} for _ in range(10)] + [{"request_id": str(n)} for n in range(5)]
    kept, seen = _sample([*rows, *rows[:10]], size, 7)
    assert len({row["request_id"] for row in kept}) == len(kept) == min(size, 6)
    assert seen >= 6


def test_the_sample_depends_on_ids_and_seed_not_on_order() -> None:
    rows = [{"request_id": str(n)} for n in range(1000)]
    one, seen = _sample(rows, 50, 7)
    other, _ = _sample(rows[::-1], 50, 7)
    key = lambda row: row["request_id"]  # noqa: E731
    assert seen == 1000
    assert sorted(one, key=key) == sorted(other, key=key)
    assert sorted(one, key=key) != sorted(_sample(rows, 50, 8)[0], key=key)
