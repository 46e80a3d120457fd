"""Readers: bad rows are marked, bad files are refused with the thing, the value and the next step."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.datasets import banking77
from components.datasets.readers import MAX_ROW_BYTES, ColumnMapping, Format, format_of, read_rows
from tidegate.errors import InvalidInput, NotFound

FULL = ColumnMapping(group="who", event_time="when", features={"segment": "seg"})


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _read(path: Path, format_: Format, mapping: ColumnMapping = ColumnMapping()):  # type: ignore[no-untyped-def]  # noqa: B008
    return read_rows(path, format_, mapping, path.name)


def test_csv_jsonl_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    record = {"text": "hello, bank", "label": "a", "who": "c1", "when": "2026-01-02T03:04:05Z", "seg": "retail"}
    csv_file = _write(tmp_path / "d.csv", b'text,label,who,when,seg\n"hello, bank",a,c1,2026-01-02T03:04:05Z,retail\n')
    jsonl = _write(tmp_path / "d.jsonl", json.dumps(record).encode() + b"\n")
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    pq.write_table(
        pa.table({name: [value] for name, value in (record | {"when": when}).items()}), tmp_path / "d.parquet"
    )
    rows = [
        _read(csv_file, "csv", FULL),
        _read(jsonl, "jsonl", FULL),
        _read(tmp_path / "d.parquet", "parquet", FULL),
    ]
    for (row,) in rows:
        assert (row.text, row.label, row.group, row.event_time) == ("hello, bank", "a", "c1", when)
        assert row.features == {"segment": "retail"}


def test_wrong_column_names_those_that_exist_and_the_nearest(tmp_path: Path) -> None:
    path = _write(tmp_path / "d.csv", b"Text,labels\nhi there,a\n")
    with pytest.raises(InvalidInput) as caught:
        _read(path, "csv", ColumnMapping(text="Text"))
    assert "no column 'label'" in caught.value.problem
    assert "'Text', 'labels'" in caught.value.problem
    assert "Did you mean 'labels'?" in caught.value.next_step


@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet"])
def test_empty_file_is_refused(tmp_path: Path, format_: Format) -> None:
    with pytest.raises(InvalidInput, match="is empty"):
        _read(_write(tmp_path / "d", b""), format_)


def test_header_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no rows"):
        _read(_write(tmp_path / "d.csv", b"text,label\n"), "csv")


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.csv"):
        _read(tmp_path / "gone.csv", "csv")


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_invalid_utf8_costs_its_row_only(tmp_path: Path, format_: Format) -> None:
    text = {
        "csv": b"text,label\ngood,a\nbad \xff\xfe,b\nfine,b\n",
        "jsonl": b'{"text":"good","label":"a"}\n{"text":"bad \xff","label":"b"}\n{"text":"fine","label":"b"}\n',
    }[str(format_)]
    rows = _read(_write(tmp_path / "d", text), format_)
    assert [row.problem for row in rows] == [None, "invalid_encoding", None]


def test_invalid_utf8_in_parquet_costs_its_row_only(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"bad \xff"], pa.binary())
    broken = pa.StringArray.from_buffers(len(texts), texts.buffers()[1], texts.buffers()[2])
    pq.write_table(pa.table({"text": broken, "label": ["a", "b"]}), tmp_path / "d.parquet")
    assert [row.problem for row in _read(tmp_path / "d.parquet", "parquet")] == [None, "invalid_encoding"]


def test_utf16_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="UTF-16"):
        _read(_write(tmp_path / "d.csv", "text,label\nx,a\n".encode("utf-16")), "csv")


def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert len(_read(_write(tmp_path / "d.csv", b"\xef\xbb\xbftext,label\nhello,a\n"), "csv")) == 1


def test_huge_row_is_dropped_in_json_lines_and_refuses_a_csv(tmp_path: Path) -> None:
    huge = b"x" * (MAX_ROW_BYTES + 10)
    lines = b'{"text":"a b","label":"a"}\n{"text":"' + huge + b'","label":"a"}\n{"text":"c d","label":"b"}\n'
    rows = _read(_write(tmp_path / "d.jsonl", lines), "jsonl")
    assert [row.problem for row in rows] == [None, "too_long", None]
    with pytest.raises(InvalidInput, match="quote that is not closed"):
        _read(_write(tmp_path / "d.csv", b'text,label\n"' + huge), "csv")


def test_unquoted_comma_and_broken_json_are_malformed(tmp_path: Path) -> None:
    rows = _read(_write(tmp_path / "d.csv", b"text,label\nhello, bank,a\nfine,b\n"), "csv")
    assert [row.problem for row in rows] == ["malformed_row", None]
    rows = _read(
        _write(tmp_path / "d.jsonl", b'{"text":"ok","label":"a"}\n{oops\n[1]\n{"text":5,"label":"a"}\n'), "jsonl"
    )
    assert [row.problem for row in rows] == [None, "malformed_row", "malformed_row", "malformed_row"]


def test_bad_time_is_malformed_and_a_naive_one_is_utc(tmp_path: Path) -> None:
    mapping = ColumnMapping(event_time="t")
    rows = _read(_write(tmp_path / "d.csv", b"text,label,t\na,x,2026-01-01T00:00:00\nb,x,soon\n"), "csv", mapping)
    assert rows[0].event_time == datetime(2026, 1, 1, tzinfo=UTC)
    assert rows[1].problem == "malformed_row"


def test_a_file_that_is_no_parquet_and_a_text_column_of_numbers(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not Parquet"):
        _read(_write(tmp_path / "d.parquet", b"text,label\n"), "parquet")
    pq.write_table(pa.table({"text": [1], "label": ["a"]}), tmp_path / "n.parquet")
    with pytest.raises(InvalidInput, match="type int64"):
        _read(tmp_path / "n.parquet", "parquet")


def test_unknown_ending_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"\.xlsx"):
        format_of("data.xlsx")


@given(st.binary(max_size=300))
def test_garbage_is_read_or_refused_never_a_crash(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage"
    for format_, head in (("csv", b"text,label\n"), ("jsonl", b'{"text":"x","label":"y"}\n'), ("parquet", b"")):
        path.write_bytes(head + data)
        try:
            rows = _read(path, format_)  # type: ignore[arg-type]
        except InvalidInput:
            continue
        assert all(row.problem or row.text is None or row.text.encode() is not None for row in rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = (*banking77.BASE_INTENTS, *banking77.NEW_INTENTS, "another")
    for split in ("train", "test"):
        lines = [f"{split} question {number} on {name},{name}" for name in names for number in range(5)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,category", *lines]))
    return tmp_path


def test_banking77_reads_the_documented_subset_with_a_cap(folder: Path) -> None:
    rows = banking77.read_banking77(folder, cap=3)
    assert len(rows) == 36
    assert {row.label for row in rows} == set(banking77.BASE_INTENTS)


def test_banking77_traffic_is_held_out_and_complete_before_it_repeats(folder: Path) -> None:
    messages = banking77.traffic(folder, 1, users=10, count=60)
    assert all(message.text.startswith("test") for message in messages)
    assert len({message.text for message in messages}) == 60
    restyled = banking77.traffic(folder, 1, users=10, count=60, new_wording=True)
    assert {message.text for message in restyled}.isdisjoint(message.text for message in messages)


def test_banking77_variable_with_a_wrong_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(banking77.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(NotFound, match=r"train\.csv"):
        banking77.folder_from_environment()
