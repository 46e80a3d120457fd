"""Banking77 (Casanueva et al. 2020, arXiv:2003.04807): 13,083 real questions to a bank, 77 intents, CC BY 4.0.

The folder holds `train.csv` and `test.csv` with the columns `text,category`. A subset of intents keeps a run short on a
CPU: twelve that the first version learns, and four that appear only under drift. Rows of `test.csv` never reach
preparation: they are the held-out traffic. The set has no customers and no times; both are invented by the readers'
caller, and marked as synthetic.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from components.datasets.generator import user_order
from components.datasets.noise import restyle
from components.datasets.readers import ColumnMapping, read_rows
from components.datasets.rows import RawRow, TrafficMessage
from tidegate.errors import InvalidInput, NotFound

FOLDER_VARIABLE = "TIDEGATE_BANKING77"
MAPPING = ColumnMapping(text="text", label="category")
DEFAULT_CAP = 110
"""Rows per intent that a run reads by default: about 1,300 over twelve intents."""

# Short names and at least 110 training rows each; several share their vocabulary (transfer, card, money) on purpose.
BASE_INTENTS = (
    "activate_my_card",
    "cancel_transfer",
    "card_arrival",
    "card_linking",
    "cash_withdrawal_charge",
    "change_pin",
    "declined_card_payment",
    "edit_personal_details",
    "exchange_rate",
    "lost_or_stolen_phone",
    "pending_transfer",
    "request_refund",
)
NEW_INTENTS = ("age_limit", "apple_pay_or_google_pay", "terminate_account", "top_up_failed")


def folder_from_environment() -> Path | None:
    """The folder that `TIDEGATE_BANKING77` names; None when it names none.

    Raises:
        NotFound: it names a folder without the two files.
    """
    value = os.environ.get(FOLDER_VARIABLE)
    if not value:
        return None
    folder = Path(value)
    for name in ("train.csv", "test.csv"):
        if not (folder / name).is_file():
            raise NotFound(
                f"{FOLDER_VARIABLE}={value} has no {name}",
                next_step="Name the folder with Banking77's train.csv and test.csv, or unset the variable.",
            )
    return folder


def read_banking77(
    folder: Path,
    *,
    split: Literal["train", "test"] = "train",
    intents: Sequence[str] = BASE_INTENTS,
    cap: int | None = DEFAULT_CAP,
) -> list[RawRow]:
    """The first `cap` rows of each intent, in the file's order; rows of other intents are not part of the data set.

    Raises:
        NotFound: the folder has no such file.
        InvalidInput: an intent that the file does not have.
    """
    rows = read_rows(folder / f"{split}.csv", "csv", MAPPING, f"banking77/{split}.csv")
    return select(rows, intents, cap)


def select(rows: Sequence[RawRow], intents: Sequence[str], cap: int | None) -> list[RawRow]:
    """The first `cap` rows (None: all) of each of the intents.

    Raises:
        InvalidInput: an intent that no row has.
    """
    missing = sorted(set(intents) - {row.label for row in rows})
    if missing or not intents:
        raise InvalidInput(f"no row has the intents {missing}", next_step="Choose intents that the data set has.")
    wanted, seen, kept = set(intents), Counter[str](), []
    for row in rows:
        if row.label in wanted and (cap is None or seen[row.label] < cap):
            seen[row.label] += 1
            kept.append(row)
    return kept


def traffic(
    folder: Path,
    seed: int,
    users: int,
    count: int,
    *,
    intents: Sequence[str] = BASE_INTENTS,
    new_wording: bool = False,
) -> list[TrafficMessage]:
    """Held-out messages from `test.csv`: each row once before any repeats; users as `generator.traffic` gives them.

    `new_wording` puts real messages into a chat's style (typos, slang, openers): drift of wording.
    """
    rng = random.Random(f"banking77/{seed}")  # noqa: S311 - reproducible, not secret
    rows = read_banking77(folder, split="test", intents=intents, cap=None)
    drawn: list[RawRow] = []
    while len(drawn) < count:
        drawn += rng.sample(rows, len(rows))
    return [
        TrafficMessage(
            user=user, text=restyle(str(row.text), rng) if new_wording else str(row.text), intent=str(row.label)
        )
        for user, row in zip(user_order(users, count, rng), drawn, strict=False)
    ]
