"""The whole loop with the real model: data, training, gate, serving, drift, retraining, canary, rollback.

It runs what `tidegate demo` runs, on Banking77 where `TIDEGATE_BANKING77` names its folder and on generated messages
where it does not, in a state folder of its own, and asserts on what came out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tidegate.adapters import storage
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.ledger import Ledger
from tidegate.local.demo import story as stories
from tidegate.local.demo.tell import tell
from tidegate.local.platform import LocalPlatform
from tidegate.settings import load_settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]
SEED = 7


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("loop") / "home"
    yield folder
    LocalPlatform(folder).down(lambda _: None)


@pytest.fixture(scope="module")
def loop(home: Path) -> dict[str, Any]:
    """The facts of one telling; the platform is stopped at its end."""
    real = bool(os.environ.get("TIDEGATE_BANKING77"))
    make = stories.real if real else stories.generated
    console = Console(width=160)
    console.print("the loop runs on", "Banking77" if real else "generated messages: TIDEGATE_BANKING77 is not set")
    return tell(lambda folder: make(SEED, folder), seed=SEED, keep=False, console=console, home=home)


def test_no_request_failed(loop: dict[str, Any]) -> None:
    assert loop["requests"]["sent"] > 300
    assert loop["requests"]["failed"] == 0
    assert loop["requests"]["labels_refused"] == 0


def test_the_first_version_beats_the_untuned_base(loop: dict[str, Any]) -> None:
    first = loop["versions"]["first"]
    assert first["gate"] == "passed"
    assert first["against"].startswith("base ")


def test_the_changed_traffic_was_found_to_have_drifted(loop: dict[str, Any]) -> None:
    assert loop["drift"]["verdict"] == "drift"
    assert b"cannot answer" in storage.read_bytes(loop["drift"]["html_uri"])  # its head says what changed


def test_the_retrained_version_was_promoted_by_evidence(loop: dict[str, Any]) -> None:
    rollout = loop["rollouts"]["retrained version"]
    assert rollout["phase"] == "Succeeded"
    assert rollout["pairs"] >= 40


def test_the_bad_version_was_let_past_the_gate_and_rolled_back(loop: dict[str, Any]) -> None:
    assert "overridden by demo" in loop["versions"]["bad, rolled back"]["gate"]
    assert loop["rollouts"]["bad version"]["phase"] == "RolledBack"


def test_the_users_end_on_the_retrained_version_alone(loop: dict[str, Any]) -> None:
    retrained = loop["versions"]["retrained, promoted"]["version"]
    assert loop["weights"][-1]["weights"] == {retrained: 100.0}


def test_the_record_is_whole_and_says_why(loop: dict[str, Any], home: Path) -> None:
    ledger = Ledger(Database.open(load_settings(home).database_url), SystemClock())
    assert ledger.verify().ok
    kinds = {entry.kind for entry in ledger.entries()}
    assert {"version.registered", "gate.overridden", "alert.received", "retrain.requested", "rollout.decision"} <= kinds
    serving = ledger.serving_at(loop["deployment"], SystemClock().now())
    assert serving is not None
    assert [arm.version for arm in serving.arms] == [loop["versions"]["retrained, promoted"]["version"]]


def test_the_alert_started_exactly_one_retraining(loop: dict[str, Any], home: Path) -> None:
    ledger = Ledger(Database.open(load_settings(home).database_url), SystemClock())
    assert len(ledger.entries(kind="retrain.requested")) == 1
    registered = ledger.entries(kind="version.registered")
    assert len(registered) == 3


def test_nothing_is_left_running(loop: dict[str, Any], home: Path) -> None:
    assert loop["seconds"] > 0
    assert [part.name for part in LocalPlatform(home).status() if part.state == "running"] == []


def test_the_pictures_and_reports_are_there(loop: dict[str, Any], home: Path) -> None:
    folder = home / "demo" / loop["deployment"]
    assert (folder / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "summary.json").exists()
