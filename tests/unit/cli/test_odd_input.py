"""Manifests and reasons that nobody expects."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.errors import InvalidInput
from tidegate.manifests import parse_manifests
from tidegate.store.actions import ActionStore


@pytest.mark.parametrize(
    "text",
    ["spec: 2026-13-45", f"spec: {'9' * 5000}", "[" * 3000, "a: &a [*a", "\tkind: x", "!!python/object:os.system {}"],
    ids=["month 13", "a number of 5000 digits", "3000 brackets", "an open anchor", "a tab", "a python tag"],
)
def test_what_no_yaml_reader_takes_is_a_sentence(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^my\.yaml "):
        parse_manifests(text, "my.yaml")


def test_a_reason_cannot_clear_another_person_s_terminal(tmp_path: Path) -> None:
    db = Database.open(f"sqlite:///{tmp_path / 'x.db'}")
    made = ActionStore(db, SystemClock()).submit("d", "abort", "ada", "wrong\x1b[2Jdata\r\nof 回滚")
    assert made.reason == "wrong [2Jdata  of 回滚"
    db.close()
