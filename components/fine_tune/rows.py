"""Training rows as tokens, through the code that serving uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from components.evaluate.inference import prompts
from tidegate.adapters import storage
from tidegate.errors import InvalidInput, NotFound
from tidegate.prompt import PromptTemplate
from tidegate.tokens import encode_answer, encode_prompt


@dataclass(frozen=True)
class Row:
    """One example: token ids of the prompt, and of the answer with its end."""

    id: str
    prompt: list[int]
    answer: list[int]

    @property
    def tokens(self) -> int:
        return len(self.prompt) + len(self.answer)


def load_rows(data_uri: str, tokenizer: Any, max_tokens: int, cache: Path) -> list[Row]:
    """The train split as tokens.

    Raises:
        NotFound: the folder is not one that the features step wrote.
        InvalidInput: no rows, an empty label, or a row of more than `max_tokens` tokens.
    """
    path = storage.local_path(storage.join(data_uri, "train.parquet"), cache)
    template = PromptTemplate.model_validate_json(storage.read_text(storage.join(data_uri, "prompt.json")))
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} is not Parquet: {error}", next_step="Run the features step again.") from None
    missing = sorted({"id", "text", "label"} - set(frame.columns))
    if missing:
        raise NotFound(f"{path} lacks the columns {', '.join(missing)}", next_step="Run the features step again.")
    if frame.empty:
        raise InvalidInput(f"{path} has no rows to train on", next_step="Give prepare more data.")
    return encode_rows(frame, template, tokenizer, max_tokens)


def encode_rows(frame: pd.DataFrame, template: PromptTemplate, tokenizer: Any, max_tokens: int) -> list[Row]:
    """Rows with the columns id, text, label and the template's features, as tokens.

    Raises:
        InvalidInput: an empty label, or a row of more than `max_tokens` tokens.
    """
    rows = []
    for (identity, label), messages in zip(
        frame[["id", "label"]].itertuples(index=False), prompts(frame, template), strict=True
    ):
        if not isinstance(label, str) or not label.strip():
            raise InvalidInput(f"row {identity!r} has no label", next_step="Run the prepare step on this data first.")
        row = Row(str(identity), encode_prompt(tokenizer, messages), encode_answer(tokenizer, label))
        if row.tokens > max_tokens:
            raise InvalidInput(
                f"row {row.id!r} has {row.tokens} tokens, and a training row may have {max_tokens}",
                next_step="Raise max_tokens, or drop the row: cut rows would teach cut answers.",
            )
        rows.append(row)
    return rows
