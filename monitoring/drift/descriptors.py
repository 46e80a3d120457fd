"""Row-level descriptors of text, and both windows brought to one table shape. Pure: data frames in and out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

LENGTH, WORDS, NON_LETTERS = "text_length", "word_count", "non_letters_percent"
OOV = "unseen_words_percent"
PREDICTION = "prediction"
INVALID = "<invalid>"
UNKNOWN = "<missing>"
MAX_CATEGORIES = 20
"""A feature with more different values than this, all numbers, is compared as a number."""

_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class Windows:
    """Both windows with equal columns: `text`, `prediction`, the unseen-words descriptor and the shared features."""

    reference: pd.DataFrame
    window: pd.DataFrame
    numerical: tuple[str, ...]
    categorical: tuple[str, ...]


def align(reference: pd.DataFrame, window: pd.DataFrame, *, features: Sequence[str], labels: Sequence[str]) -> Windows:
    """Equal columns for both windows.

    A customer's rows all carry the same features; counting them as independent would alarm on chance. So a customer's
    features stand in the first of its rows only and are missing in the others.

    Args:
        reference: columns `text`, `prediction`, the features, and `group` (the customer) if known.
        window: columns `text`, `answer`, `customer` and the features.
        features: features that both have.
        labels: valid answers; any other becomes one category, so that gibberish cannot make a category each.
    """
    ref = pd.DataFrame({"text": reference["text"], PREDICTION: _answers(reference["prediction"], labels)})
    win = pd.DataFrame({"text": window["text"], PREDICTION: _answers(window["answer"], labels)})
    ref[OOV], win[OOV] = _unseen_percent(list(ref["text"]), list(win["text"]))
    numerical, categorical = [OOV], [PREDICTION]
    first_ref = ~reference["group"].duplicated() if "group" in reference.columns else pd.Series(True, reference.index)
    first_win = ~window["customer"].duplicated()
    for name in features:
        if _is_numerical(reference[name], window[name]):
            of_ref, of_win = pd.to_numeric(reference[name]), pd.to_numeric(window[name], errors="coerce")
            numerical.append(name)
        else:
            of_ref, of_win = _categories(reference[name]), _categories(window[name])
            categorical.append(name)
        ref[name], win[name] = of_ref.where(first_ref), of_win.where(first_win)
    return Windows(
        reference=ref.reset_index(drop=True),
        window=win.reset_index(drop=True),
        numerical=tuple(numerical),
        categorical=tuple(categorical),
    )


def _answers(answers: pd.Series[str], labels: Sequence[str]) -> pd.Series[str]:
    texts = answers.fillna("").astype(str).str.strip()
    if not labels:
        return texts.map(lambda text: "answered" if text else INVALID)
    return texts.where(texts.isin(list(labels)), INVALID)


def _categories(values: pd.Series[str]) -> pd.Series[str]:
    return values.map(lambda value: UNKNOWN if value == "" or pd.isna(value) else str(value))


def _is_numerical(reference: pd.Series[float], window: pd.Series[float]) -> bool:
    known = reference.dropna()
    if known.empty or not pd.api.types.is_numeric_dtype(known) or pd.api.types.is_bool_dtype(known):
        return False
    return bool(known.nunique() > MAX_CATEGORIES and pd.to_numeric(window, errors="coerce").notna().any())


def _unseen_percent(reference: Sequence[str], window: Sequence[str]) -> tuple[list[float], list[float]]:
    """Percent of a text's words that no *other* reference text has.

    A reference row is held against the rest of the reference, as a window row is held against all of it: otherwise
    the reference would have no unseen words by construction and every window would look new.
    """
    words = [_words(text) for text in reference]
    documents = Counter(word for row in words for word in set(row))
    ref = [_percent(row, lambda word: documents[word] <= 1) for row in words]
    win = [_percent(_words(text), lambda word: documents[word] == 0) for text in window]
    return ref, win


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _percent(words: Sequence[str], unseen: Callable[[str], bool]) -> float:
    return 100.0 * sum(1 for word in words if unseen(word)) / len(words) if words else 0.0
