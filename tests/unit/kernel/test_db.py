import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import tidegate.store.tables  # noqa: F401 - fills the metadata
from tests.postgres import execute
from tidegate import migrations
from tidegate.clock import SystemClock
from tidegate.db import Database, UtcDateTime, metadata
from tidegate.errors import ContractBroken, Denied, InvalidInput, ResourceExhausted, Unavailable
from tidegate.ledger import Ledger


def test_the_migrated_schema_is_the_declared_one(db: Database) -> None:
    with db.read() as conn:
        assert compare_metadata(MigrationContext.configure(conn), metadata) == []


def test_the_list_of_revisions_is_what_the_files_say() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(found)) == migrations.REVISIONS


def test_a_database_of_a_newer_version_is_refused_untouched(db: Database, database_url: str) -> None:
    with db.write() as conn:
        conn.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ContractBroken, match="'9999'") as caught:
        Database.open(database_url)
    assert "Upgrade tidegate" in caught.value.next_step
    assert Database.open(database_url, migrate=False) is not None


def test_times_keep_their_moment_on_both_databases(db: Database) -> None:
    table = sa.Table("moments", sa.MetaData(), sa.Column("time", UtcDateTime))
    moment = datetime(2026, 3, 29, 3, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    with db.write() as conn:
        table.create(conn)
        conn.execute(table.insert().values(time=moment))
        found = conn.execute(sa.select(table.c.time)).scalar_one()
    assert found == moment
    assert found.tzinfo is UTC


def test_a_time_without_zone_is_refused(db: Database) -> None:
    table = sa.Table("moments", sa.MetaData(), sa.Column("time", UtcDateTime))

    def write() -> None:
        with db.write() as conn:
            table.create(conn)
            conn.execute(table.insert().values(time=datetime(2026, 1, 1)))  # noqa: DTZ001

    with pytest.raises(sa.exc.StatementError, match="time zone"):
        write()


def test_a_full_disk_names_the_file_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.db"
    database = Database.open(f"sqlite:///{path}")
    ledger = Ledger(database, SystemClock())
    ledger.append("alias.set", "m/1", {}, actor="a")

    def fill() -> None:
        with database.write() as conn:
            pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
            conn.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            ledger.append("alias.set", "m/2", {"text": "x" * 100_000}, actor="a", conn=conn)

    with pytest.raises(ResourceExhausted, match=r"tidegate\.db"):
        fill()
    assert [entry.subject for entry in ledger.entries()] == ["m/1"]
    assert ledger.verify().ok


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:", ""])
def test_a_url_of_another_database_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="URL"):
        Database.open(url)


def test_a_refused_url_does_not_show_its_password() -> None:
    with pytest.raises(InvalidInput) as caught:
        Database.open("mysql://me:hunter2@db/x")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.db"
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(Unavailable, match=r"tidegate\.db is damaged"):
        Database.open(f"sqlite:///{path}")


def test_a_reader_sees_no_half_of_a_write(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'tidegate.db'}")
    ledger = Ledger(database, SystemClock())
    with database.write() as conn:
        ledger.append("alias.set", "m/1", {}, actor="a", conn=conn)
        assert ledger.entries() == []
    assert len(ledger.entries()) == 1


def test_opening_an_up_to_date_database_does_not_import_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tidegate.db'}"
    Database.open(url)
    code = "import sys; from tidegate.db import Database; Database.open(sys.argv[1]); print('alembic' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code, url], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert found.stdout.strip() == "False"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("user", "database", "said"),
    [
        ("tidegate", "nobody_made_it", 'database "nobody_made_it" does not exist'),
        ("nobody", "postgres", 'role "nobody" does not exist'),
        ("looks_only", "postgres", "permission denied for schema public"),
    ],
)
def test_what_a_server_refuses_is_said_in_its_words(postgres_url: str, user: str, database: str, said: str) -> None:
    execute(f"{postgres_url}/postgres", "DROP ROLE IF EXISTS looks_only", "CREATE ROLE looks_only LOGIN")
    url = sa.make_url(f"{postgres_url}/{database}").set(username=user)
    with pytest.raises(Denied, match="TIDEGATE_DATABASE_URL") as caught:
        Database.open(url.render_as_string(hide_password=False))
    assert caught.value.problem.endswith(f"refuses: {said}")
