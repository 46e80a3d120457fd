import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.unit.store.examples import table
from tidegate.cli.ledger import app
from tidegate.cli.times import parse_time
from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.errors import ContractBroken, InvalidInput, NotFound
from tidegate.settings import load_settings
from tidegate.store.routing import RoutingStore

NOW = datetime(2026, 1, 10, tzinfo=UTC)


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    database, clock = Database.open(load_settings().database_url), ManualClock()
    RoutingStore(database, clock).publish(table(1), reason="first version")
    clock.advance(3600)
    RoutingStore(database, clock).publish(table(2, 25.0, rollout="r1"), reason="step canary begins")
    return database


def run(*args: str) -> str:
    result = CliRunner().invoke(app, args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_facts_are_listed_and_filtered(db: Database) -> None:
    assert "first version" in run("list")
    rows = json.loads(run("list", "--kind", "routing.", "--rollout", "r1", "-o", "json"))
    assert [row["payload"]["reason"] for row in rows] == ["step canary begins"]
    with pytest.raises(InvalidInput, match="'routing'"):
        run("list", "--kind", "routing")


def test_a_fact_is_shown_by_number_and_by_id(db: Database) -> None:
    by_number = json.loads(run("show", "1", "-o", "json"))
    assert json.loads(run("show", by_number["id"], "-o", "json")) == by_number
    with pytest.raises(NotFound, match="'99'"):
        run("show", "99")


def test_what_served_at_a_moment_and_why(db: Database) -> None:
    early = json.loads(run("at", "intent-assistant", "2026-01-01T00:30:00Z", "-o", "json"))
    assert (early["epoch"], early["why"]) == (1, "first version")
    late = run("at", "intent-assistant", "2026-01-01T01:00:00")
    assert "stable 1: 75%, candidate 2: 25%" in late
    with pytest.raises(NotFound, match="nothing was in production"):
        run("at", "intent-assistant", "2025-01-01T00:00:00Z")


def test_verify_prints_a_head_that_later_finds_a_rewritten_chain(db: Database) -> None:
    head = json.loads(run("verify", "-o", "json"))["head"]
    run("verify", "--anchor", head)
    with pytest.raises(ContractBroken, match="rewritten"):
        run("verify", "--anchor", "2:sha256:" + "0" * 64)
    with pytest.raises(InvalidInput, match="SEQ:HASH"):
        run("verify", "--anchor", "2")


def test_verify_names_the_edited_row(db: Database) -> None:
    with db.write() as conn:
        conn.execute(sa.text("DROP TRIGGER ledger_no_update"))
        conn.execute(sa.text("UPDATE ledger SET actor = 'eve' WHERE seq = 2"))
    with pytest.raises(ContractBroken, match="broken at row 2"):
        run("verify")


def test_looking_creates_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(NotFound, match="no database"):
        run("list")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", NOW),
        ("90s", NOW - timedelta(seconds=90)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("2026-01-01", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T02:00:00+02:00", datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_iso_or_ages(text: str, moment: datetime) -> None:
    assert parse_time(text, NOW) == moment


@given(st.text(max_size=20) | st.from_regex(r"\A\d{1,30}[smhdx]\Z"))
def test_any_text_is_a_time_in_utc_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InvalidInput):  # any other exception fails the test
        assert parse_time(text, NOW).tzinfo is UTC
