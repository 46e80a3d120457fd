"""Rows come back as they were written, by window, whatever part they are in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.adapters import storage
from tidegate.errors import ContractBroken, InvalidInput, Unavailable
from tidegate.ids import new_id
from tidegate.inference_log import LogRow, read_batches, read_window, schema, write_rows

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def row(moment: datetime, identifier: str = "r", **fields: Any) -> LogRow:
    values: dict[str, Any] = {
        "request_id": identifier, "time": moment, "model": "m", "deployment": "m", "version": "1", "role": "stable",
        "epoch": 1, "rollout": None, "step": None, "user": "u", "customer": "c", "text": "t", "answer": "a",
        "outcome": "ok", "latency_seconds": 0.5, "ttft_seconds": None, "prompt_tokens": 3, "completion_tokens": 1,
    }  # fmt: skip
    return LogRow(**(values | fields))


def test_a_row_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_rows(tmp_path, [row(NOON, features={"tenure": 3, "segment": "retail", "gone": float("nan")}, stream=True)])
    (found,) = read_window(tmp_path, "m", NOON, NOON + timedelta(seconds=1)).to_pylist()
    assert found["features"] == '{"gone": null, "segment": "retail", "tenure": 3}'
    assert (found["time"], found["stream"], found["mirrored"], found["ttft_seconds"]) == (NOON, True, False, None)
    assert [field for field in LogRow.__dataclass_fields__ if field != "model"] == schema().names


@settings(deadline=None, max_examples=25)
@given(minutes=st.lists(st.integers(0, 3 * 1440), max_size=12), start=st.integers(0, 4320), length=st.integers(0, 4320))
def test_a_window_has_exactly_the_rows_inside_it(
    tmp_path_factory: pytest.TempPathFactory, minutes: list[int], start: int, length: int
) -> None:
    root = tmp_path_factory.mktemp("log")
    write_rows(root, [row(NOON + timedelta(minutes=minute), str(minute)) for minute in minutes])
    begin = NOON + timedelta(minutes=start)
    found = read_window(root, "m", begin, begin + timedelta(minutes=length))
    wanted = sorted(minute for minute in minutes if start <= minute < start + length)
    assert [int(identifier) for identifier in found["request_id"].to_pylist()] == wanted


def test_parts_lie_by_model_and_hour_and_nothing_half_written_stays(tmp_path: Path) -> None:
    write_rows(tmp_path, [row(NOON), row(NOON + timedelta(hours=1)), row(NOON, model="other")])
    folders = sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("*.*"))
    assert folders == [
        "model=m/date=2026-01-02/hour=12",
        "model=m/date=2026-01-02/hour=13",
        "model=other/date=2026-01-02/hour=12",
    ]


def test_what_another_process_is_writing_is_not_read(tmp_path: Path) -> None:
    (path,) = write_rows(tmp_path, [row(NOON)])
    Path(path).with_name(".part-x.parquet.tmp").write_bytes(b"half")
    assert read_window(tmp_path, "m", NOON, NOON + timedelta(hours=1)).num_rows == 1


def _damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = bytes(byte ^ 0x5A for byte in content[200:400])
    damaged = {
        "empty": b"",
        "cut off": content[: len(content) // 2],
        "changed in its middle": content[:200] + middle + content[400:],
    }
    path.write_bytes(damaged[how])


@pytest.mark.parametrize("how", ["empty", "cut off", "changed in its middle"])
def test_a_damaged_part_is_named_and_no_outage(tmp_path: Path, how: str) -> None:
    write_rows(tmp_path, [row(NOON - timedelta(hours=1))])
    (path,) = write_rows(tmp_path, [row(NOON, str(number), text="again " * number) for number in range(200)])
    _damage(Path(path), how)
    for root in (str(tmp_path), tmp_path.as_uri()):
        with pytest.raises(ContractBroken, match=f"{path} is no part .* or damaged: "):
            read_window(root, "m", NOON, NOON + timedelta(hours=1))


def test_a_damaged_part_elsewhere_is_named_by_its_address() -> None:
    root = f"memory://{new_id()}/log"
    (path,) = write_rows(root, [row(NOON)])
    storage.write_bytes(path, b"no Parquet")
    with pytest.raises(ContractBroken, match=f"{path} is no part"):
        read_window(root, "m", NOON, NOON + timedelta(hours=1))
    pa.parquet.write_table(pa.table({"time": ["yesterday"]}), sink := pa.BufferOutputStream())
    storage.write_bytes(path, sink.getvalue().to_pybytes())
    with pytest.raises(ContractBroken, match=f"{path} is no part"):
        read_window(root, "m", NOON, NOON + timedelta(hours=1))


def test_a_log_whose_first_part_is_written_while_it_is_looked_for_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    root, asked = f"memory://{new_id()}/log", MemoryFileSystem.isdir
    write_rows(root, [row(NOON)])
    answers = iter([False])  # as it was a moment ago
    monkeypatch.setattr(MemoryFileSystem, "isdir", lambda self, path: next(answers, None) is None and asked(self, path))
    assert read_window(root, "m", NOON, NOON + timedelta(hours=1)).num_rows == 1


def test_a_root_may_be_an_address(tmp_path: Path) -> None:
    write_rows(tmp_path.as_uri(), [row(NOON)])
    assert sum(batch.num_rows for batch in read_batches(tmp_path.as_uri(), "m", NOON, NOON + timedelta(hours=1))) == 1


def test_an_empty_log_gives_an_empty_table_with_all_columns(tmp_path: Path) -> None:
    found = read_window(tmp_path / "absent", "m", NOON, NOON + timedelta(hours=1))
    assert (found.num_rows, found.schema) == (0, schema())


def test_a_folder_that_cannot_be_written_is_said_by_name(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("x")
    with pytest.raises(Unavailable, match="file"):
        write_rows(root, [row(NOON)])


@pytest.mark.parametrize(
    ("model", "start", "end"),
    [("../m", NOON, NOON), ("m", NOON.replace(tzinfo=None), NOON), ("m", NOON + timedelta(seconds=1), NOON)],
)
def test_a_window_that_makes_no_sense_is_refused(tmp_path: Path, model: str, start: datetime, end: datetime) -> None:
    with pytest.raises(InvalidInput):
        read_window(tmp_path, model, start, end)
