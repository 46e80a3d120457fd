import contextlib
import json
import socket
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from tests.ports import free_port
from tests.unit.store.examples import table
from tidegate.api_keys import ensure_default_keys
from tidegate.cli import doctor
from tidegate.cli.checks import base_model, disk, packages, platform, records
from tidegate.cli.checks.base_model import BaseFacts
from tidegate.cli.checks.platform import PartFacts
from tidegate.clock import ManualClock
from tidegate.db import Database
from tidegate.migrations import REVISIONS
from tidegate.platform_file import read_platform_file, write_platform_file
from tidegate.settings import Settings, load_settings
from tidegate.store.routing import RoutingStore

REQUIREMENTS = [
    "httpx>=0.28",
    'ray[serve]<3,>=2.60; extra == "serve"',
    'tidegate[serve]; extra == "local"',
    'openai>=2.0; extra == "local"',
    'pytest>=8.4; extra == "dev"',
]


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """A home whose endpoints nobody listens on."""
    free = free_port()
    names = ("mlflow_uri", "ray_dashboard_url", "gateway_url", "receiver_url")
    write_platform_file(tmp_path, dict.fromkeys(names, f"http://127.0.0.1:{free}"))
    return load_settings(tmp_path)


# --- packages -------------------------------------------------------------------------------------------------------


def test_extras_that_name_extras_are_followed_and_others_left_out() -> None:
    assert packages.bounds(REQUIREMENTS, ["local"]) == [("httpx", ">=0.28"), ("openai", ">=2.0"), ("ray", "<3,>=2.60")]
    assert packages.bounds(REQUIREMENTS, []) == [("httpx", ">=0.28")]


@pytest.mark.parametrize(
    ("version", "limits", "fit"),
    [
        ("2.60.0", ">=2.60,<3", True),
        ("2.60.0+cpu", ">=2.60", True),
        ("2.9.9", ">=2.60", False),
        ("3.0.0", "<3,>=2.60", False),
        ("2.13.1rc1", ">=2.13,<2.14", True),
        ("10", ">=9.0", True),
        ("1.0", "", True),
    ],
)
def test_versions_are_compared_by_number(version: str, limits: str, fit: bool) -> None:
    assert packages.fits(version, limits) is fit


def test_missing_and_old_packages_are_all_named() -> None:
    have = {"httpx": "0.27.0", "ray": "2.60.0"}
    finding = packages.decide((3, 11), packages.bounds(REQUIREMENTS, ["local"]), have.get)
    assert finding.state == "problem"
    assert "httpx 0.27.0 is installed, wanted >=0.28" in finding.message
    assert "openai is missing" in finding.message
    assert "ray" not in finding.message


def test_an_old_python_is_the_first_thing_to_mend() -> None:
    finding = packages.decide((3, 10), [], lambda _: None)
    assert finding.state == "problem"
    assert "Python 3.10" in finding.message


# --- disk -----------------------------------------------------------------------------------------------------------


def room(what: str, free: float, *, device: int = 1, writable: bool = True) -> disk.Room:
    needed = disk.HOME_BYTES if what == "home" else disk.CACHE_BYTES
    return disk.Room(what, Path(f"/{what}"), int(free * disk.GIB), needed, device, writable)


@pytest.mark.parametrize(
    ("rooms", "state", "named"),
    [
        ([room("home", 3.0), room("cache", 3.0)], "ok", "home"),
        ([room("home", 2.5), room("cache", 2.5)], "problem", "3 GiB needed"),  # one disk holds both
        ([room("home", 2.5), room("cache", 1.5, device=2)], "ok", "cache"),
        ([room("home", 9.0), room("cache", 0.5, device=2)], "problem", "TIDEGATE_CACHE"),
        ([room("home", 9.0, writable=False), room("cache", 9.0)], "problem", "cannot be written"),
    ],
)
def test_room_is_judged_by_disk(rooms: list[disk.Room], state: str, named: str) -> None:
    finding = disk.decide(rooms)
    assert finding.state == state
    assert named in finding.message + finding.mend


# --- platform -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "state"),
    [
        (PartFacts("gateway", recorded=True, alive=True, url="u", answer="healthy"), "ok"),
        (PartFacts("controller", recorded=True, alive=True), "ok"),
        (PartFacts("gateway", recorded=False, alive=False, url="u", answer="silent"), "ok"),
        (PartFacts("gateway", recorded=True, alive=True, url="u", answer="silent"), "problem"),
        (PartFacts("gateway", recorded=True, alive=True, url="u", answer="unhealthy"), "problem"),
        (PartFacts("gateway", recorded=True, alive=False, url="u", answer="silent"), "problem"),
        (PartFacts("gateway", recorded=False, alive=False, url="u", answer="other"), "warning"),
    ],
)
def test_parts_are_judged_by_record_process_and_answer(part: PartFacts, state: str) -> None:
    finding = platform.decide([part])
    assert finding.state == state
    assert bool(finding.mend) is (state != "ok")


def record(home: Path, name: str, pid: int, started: float) -> None:
    (home / "pids").mkdir(exist_ok=True)
    (home / "pids" / f"{name}.json").write_text(json.dumps({"pid": pid, "started": started, "argv": []}))


def test_a_pid_that_another_program_got_is_stale(home: Settings) -> None:
    own = psutil.Process()
    record(home.home, "controller", own.pid, own.create_time())
    assert platform.check(home).state == "ok"
    record(home.home, "controller", own.pid, own.create_time() - 100)
    finding = platform.check(home)
    assert (finding.state, finding.message) == ("problem", "recorded but not running: controller")
    assert (home.home / "pids" / "controller.json").exists()  # the doctor looks, `up` heals


def test_a_stranger_on_a_port_is_told(home: Settings, tmp_path: Path) -> None:
    def hang_up() -> None:
        with contextlib.suppress(OSError):  # the test closes the listener
            while True:
                listener.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        write_platform_file(tmp_path, {**read_platform_file(tmp_path), "gateway_url": address})
        stranger = threading.Thread(target=hang_up)
        stranger.start()
        finding = platform.check(load_settings(tmp_path))
        listener.shutdown(socket.SHUT_RDWR)
        stranger.join()
    assert finding.state == "warning"
    assert f"another program answers at {address}/healthz (gateway)" in finding.message


# --- base model -----------------------------------------------------------------------------------------------------


def facts(**changes: Any) -> BaseFacts:
    values: dict[str, Any] = {
        "source": Path("/model.gguf"),
        "expected": "sha256:a",
        "actual": "sha256:a",
        "converted": None,
        "missing_tools": (),
    }
    return BaseFacts(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "ok"),
        ({"converted": Path("/cache/base"), "missing_tools": ("torch",)}, "ok"),
        ({"missing_tools": ("torch",)}, "problem"),
        ({"actual": "sha256:b"}, "problem"),
        ({"source": None, "trouble": "the wheel is not installed", "mend": "Install it."}, "problem"),
    ],
)
def test_the_base_model_is_judged_by_digest_and_tools(changes: dict[str, Any], state: str) -> None:
    assert base_model.decide(facts(**changes)).state == state


# --- records --------------------------------------------------------------------------------------------------------


def test_a_sound_database_verifies(home: Settings) -> None:
    assert records.check(home).message.startswith("no database yet")
    RoutingStore(Database.open(home.database_url), ManualClock()).publish(table(1))
    finding = records.check(home)
    assert (finding.state, finding.message) == ("ok", f"schema {REVISIONS[-1]}, 1 ledger rows verify")


def test_an_edited_ledger_is_found(home: Settings) -> None:
    db = Database.open(home.database_url)
    RoutingStore(db, ManualClock()).publish(table(1))
    with db.write() as conn:
        conn.execute(sa.text("DROP TRIGGER ledger_no_update"))
        conn.execute(sa.text("UPDATE ledger SET actor = 'eve'"))
    finding = records.check(home)
    assert finding.state == "problem"
    assert "broken at row 1" in finding.message


@pytest.mark.parametrize(
    ("statement", "state", "named"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "problem", "'9999'"),
        ("DROP TABLE alembic_version", "warning", "schema none"),
    ],
)
def test_a_schema_of_another_version_is_told(home: Settings, statement: str, state: str, named: str) -> None:
    db = Database.open(home.database_url)
    with db.write() as conn:
        conn.execute(sa.text(statement))
    finding = records.check(home)
    assert finding.state == state
    assert named in finding.message


def test_a_file_that_is_no_database_is_told(home: Settings) -> None:
    (home.home / "tidegate.db").write_bytes(b"no database" * 500)
    assert records.check(home).state == "problem"


def test_secrets_that_others_can_read_are_told_with_the_command_that_mends_it(home: Settings) -> None:
    ensure_default_keys(home.api_keys_path)
    assert records.check(home).state == "ok"
    home.api_keys_path.chmod(0o644)
    finding = records.check(home)
    assert finding.state == "problem"
    assert finding.mend == f"Run: chmod go-rwx {home.api_keys_path}"


# --- all ------------------------------------------------------------------------------------------------------------


def test_a_check_that_fails_itself_does_not_end_the_others(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_settings: Settings) -> None:
        raise RuntimeError("boom")

    for module in (packages, base_model):
        monkeypatch.setattr(module, "check", broken)
    findings = doctor.examine(home)
    assert [finding.check for finding in findings] == ["packages", "disk", "platform", "base-model", "records"]
    assert [finding.state for finding in findings if "boom" in finding.message] == ["problem", "problem"]


def test_the_doctor_changes_nothing(home: Settings) -> None:
    before = sorted(home.home.iterdir())
    doctor.examine(home)
    assert sorted(home.home.iterdir()) == before
