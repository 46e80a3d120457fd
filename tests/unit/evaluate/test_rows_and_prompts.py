"""Which rows are asked, how they become prompts, and what of it is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.evaluate.inference import base_key, keep_answers, load_answers, prompts
from components.evaluate.sampling import stratified_sample
from tidegate.errors import InvalidInput
from tidegate.ids import digest_bytes
from tidegate.prompt import GenerationDefaults, PromptTemplate

TEMPLATE = PromptTemplate(system="s={segment} t={tenure_years}", features=("segment", "tenure_years"), labels=("a",))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("aabbbcccccd"), min_size=1, max_size=120), st.integers(4, 60), st.integers(0, 5))
def test_sample_is_seeded_stratified_and_never_too_large(labels: list[str], limit: int, seed: int) -> None:
    rows = pd.DataFrame({"id": range(len(labels)), "label": labels})
    sample = stratified_sample(rows, max_rows=limit, seed=seed)
    assert len(sample) == min(limit, len(rows))
    assert set(sample["label"]) == set(labels)
    assert sample["id"].is_monotonic_increasing
    assert sample.equals(stratified_sample(rows, max_rows=limit, seed=seed))
    if len(rows) > limit:
        share = rows["label"].value_counts() / len(rows)
        drawn = sample["label"].value_counts() / len(sample)
        assert (drawn - share).abs().max() <= (len(share) + 1) / limit


def test_empty_test_split_is_an_error_for_the_user() -> None:
    with pytest.raises(InvalidInput, match="test split is empty"):
        stratified_sample(pd.DataFrame({"label": []}), max_rows=10, seed=0)


def test_missing_features_render_as_unknown_and_numpy_values_as_themselves() -> None:
    rows = pd.DataFrame({"text": ["hi", "ho"], "segment": ["retail", None], "tenure_years": np.array([3, 4])})
    first, second = prompts(rows, TEMPLATE)
    assert first[0].content == "s=retail t=3"
    assert second[0].content == "s=unknown t=4"
    assert prompts(rows.drop(columns="tenure_years"), TEMPLATE)[0][0].content == "s=retail t=unknown"
    assert [turn.role for turn in first] == ["system", "user"]


def test_key_of_base_answers_changes_with_everything_they_depend_on() -> None:
    rows = pd.DataFrame({"text": ["hi"], "segment": ["retail"], "tenure_years": [3]})
    conversations, generation = prompts(rows, TEMPLATE), GenerationDefaults()
    digest = digest_bytes(b"base")
    keys = {
        base_key(digest, conversations, generation),
        base_key(digest_bytes(b"other"), conversations, generation),
        base_key(digest, prompts(rows.assign(text="ho"), TEMPLATE), generation),
        base_key(digest, prompts(rows.assign(segment="business"), TEMPLATE), generation),
        base_key(digest, conversations, GenerationDefaults(max_tokens=3)),
    }
    assert len(keys) == 5


def test_kept_answers_come_back_and_damaged_ones_do_not(tmp_path: Path) -> None:
    key = digest_bytes(b"key")
    assert load_answers(tmp_path, key) is None
    keep_answers(tmp_path, key, ["a", "ü"])
    assert load_answers(tmp_path, key) == ["a", "ü"]
    (file,) = (tmp_path / "base-answers").iterdir()
    file.write_text('["a", ')
    assert load_answers(tmp_path, key) is None
