"""A Redis that could be installed and was not is no reason to skip the tests that need it."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest

from tests import redis_server


@pytest.mark.parametrize(("status", "outcome"), [(100, AssertionError), (3, pytest.skip.Exception)])
def test_a_failing_installation_fails_and_one_that_cannot_be_skips(
    monkeypatch: pytest.MonkeyPatch, status: int, outcome: type[BaseException]
) -> None:
    def failing(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, status, "", "E: Unable to locate package redis-tools")

    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises((AssertionError, pytest.skip.Exception)) as caught:
        redis_server.program()
    assert caught.type is outcome
    assert "E: Unable to locate package redis-tools" in str(caught.value)
