"""A Redis that could be installed and was not is no reason to skip the tests that need it."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

import pytest

from tests import redis_server


@pytest.mark.parametrize(("user", "outcome"), [(0, AssertionError), (1000, pytest.skip.Exception)])
def test_a_failing_installation_fails_for_root_and_skips_for_others(
    monkeypatch: pytest.MonkeyPatch, user: int, outcome: type[BaseException]
) -> None:
    def failing(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 100, "", "E: Unable to locate package redis-tools")

    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises((AssertionError, pytest.skip.Exception)) as caught:
        redis_server.program()
    assert caught.type is outcome
    assert "redis" in str(caught.value)
    assert user or "ends with 100: E: Unable to locate package" in str(caught.value)
