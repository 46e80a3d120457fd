"""kopf ends on errors that pass, as an API server gives that starts: its watches are begun again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import kopf
import pytest

import serving.operator.__main__ as program
from serving.operator.announcer import shortened
from serving.operator.assembly import Operator
from tidegate.errors import Unavailable


def test_watches_that_end_with_an_error_begin_again_and_an_orderly_end_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[Exception | None] = [RuntimeError("503"), OSError("refused"), None]
    begun = []

    def run(**options: Any) -> None:
        begun.append(options["namespaces"])
        error = ends.pop(0)
        if error is not None:
            raise error

    monkeypatch.setattr(kopf, "run", run)
    monkeypatch.setattr(program, "_BEGIN_AGAIN_SECONDS", 0.0)
    lists: list[Exception | None] = [Unavailable("the API server starts"), None, None, None]

    def refresh() -> None:
        error = lists.pop(0)
        if error is not None:
            raise error

    objects = SimpleNamespace(api=SimpleNamespace(namespace="team-a"), seen=lambda *_: None, refresh=refresh)
    program.watch(cast(Operator, SimpleNamespace(objects=objects)))
    assert begun == [["team-a"]] * 3
    assert lists == []  # and never before all kinds are served


@pytest.mark.parametrize("text", ["a" * 3000, "回滚原因" * 300, "é" * 512, "short"])
def test_a_note_fits_into_an_event_by_its_bytes(text: str) -> None:
    cut = shortened(text, 1024)
    assert len(cut.encode()) <= 1024
    assert cut == text or (cut.endswith("…") and text.startswith(cut[:-1]))
    assert len(cut.encode()) > 1015 or cut == text
