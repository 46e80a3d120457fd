"""Preparation: the accounting closes for any garbage, the splits do not leak, the same input gives the same digest."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from components.datasets.customers import EPOCH
from components.datasets.generator import corrupt_labels, generate
from components.datasets.readers import GENERATED_MAPPING
from components.datasets.rows import RawRow, write_csv
from components.prepare import stages
from components.prepare.logic import MANIFEST, clean, duplicates_across, prepare, run
from components.prepare.near import jaccard, shingles
from components.prepare.spec import PrepareResult, PrepareSpec, SchemaContract, Source
from components.prepare.split import SPLITS, split_rows
from components.prepare.summary import markdown, metrics
from tidegate.clock import ManualClock
from tidegate.domain.manifest import DataManifest
from tidegate.errors import InvalidInput
from tidegate.redaction import redact

NO_LIMIT = SchemaContract(max_bad_share=1.0)
SPEC = PrepareSpec(sources=(Source(uri="x.csv"),), out_uri="out", contract=NO_LIMIT)


def silent(_message: str, _numbers: object) -> None:
    return


def row(text: str, label: str = "a", group: str = "c1", minutes: float = 0, source: str = "s") -> stages.Row:
    return stages.Row(text=text, label=label, group=group, event_time=EPOCH + timedelta(minutes=minutes), source=source)


def prepared(
    tmp_path: Path, rows: Sequence[RawRow], **options: Any
) -> tuple[dict[Any, list[stages.Row]], DataManifest]:
    write_csv(rows, tmp_path / "data.csv")
    source = Source(uri=str(tmp_path / "data.csv"), mapping=GENERATED_MAPPING)
    return prepare(PrepareSpec(sources=(source,), out_uri="unused", **options), tmp_path, ManualClock(), silent)


_RAW = st.builds(
    RawRow,
    text=st.none() | st.text(max_size=30) | st.sampled_from(["where is my card", "Where is my card?", "x" * 5000]),
    label=st.none() | st.sampled_from(["a", "b", "c"]),
    group=st.none() | st.sampled_from(["c1", "c2", "c3"]),
    event_time=st.none() | st.datetimes(timezones=st.just(UTC)),
    problem=st.none() | st.sampled_from(["malformed_row", "invalid_encoding", "too_long"]),
)


@given(st.lists(_RAW, max_size=40), st.booleans())
def test_accounting_closes_for_any_garbage(raw: list[RawRow], closed: bool) -> None:
    contract = NO_LIMIT.model_copy(update={"labels": ("a", "b") if closed else None})
    rows, accounts, _ = clean(raw, SPEC.model_copy(update={"contract": contract}), silent)
    # StageAccount refuses sums that do not close; here: the stages chain, and cover all rows from first to last.
    assert accounts[0].rows_in == len(raw)
    assert accounts[-1].rows_out == len(rows)
    for before, after in itertools.pairwise(accounts):
        assert before.rows_out == after.rows_in
    assert len({stages.identity(kept.text) for kept in rows}) == len(rows)


_ROWS = st.lists(
    st.builds(
        row,
        text=st.text(min_size=1, max_size=5),
        label=st.sampled_from("ab"),
        group=st.sampled_from([f"c{n}" for n in range(8)]),
        minutes=st.integers(0, 10_000),
        source=st.sampled_from(["s", "t"]),
    ),
    max_size=60,
)


@given(_ROWS, st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_no_group_straddles_and_time_runs_forward_in_each_source(
    rows: list[stages.Row], validation: float, test: float
) -> None:
    splits, account = split_rows(rows, validation_fraction=validation, test_fraction=test)
    groups = [{member.group for member in splits[name]} for name in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups))
    for source in ("s", "t"):
        times = [[member.event_time for member in splits[name] if member.source == source] for name in SPLITS]
        for i, j in ((0, 1), (0, 2), (1, 2)):
            if times[i] and times[j]:
                assert max(times[i]) < min(times[j])
    assert account.rows_out == sum(len(splits[name]) for name in SPLITS)
    assert account.rows_in - account.rows_out == account.dropped.get("group_leakage", 0)


def test_rows_of_a_retraining_reach_every_split() -> None:
    old = [row(f"old {n}", group=f"o{n}", minutes=n) for n in range(100)]
    new = [row(f"new {n}", group=f"n{n}", minutes=90_000 + n, source="traffic") for n in range(40)]
    splits, _ = split_rows([*old, *new], validation_fraction=0.1, test_fraction=0.2)
    assert [sum(member.source == "traffic" for member in splits[name]) for name in SPLITS] == [28, 4, 8]


def test_one_busy_customer_does_not_drain_the_test_split() -> None:
    rows = [row(f"{n}", group=f"c{n % 5}", minutes=n) for n in range(200)]
    splits, _ = split_rows(rows, validation_fraction=0.15, test_fraction=0.15)
    assert all(splits[name] for name in SPLITS)


@given(st.text())
def test_normalising_is_idempotent(text: str) -> None:
    once = stages.normal_text(text)
    assert stages.normal_text(once) == once


def test_normalising_removes_what_nobody_sees() -> None:
    assert stages.normal_text("  caf\u0065\u0301\u200b\tis\x00\n open \u202e") == "café is open"


def test_contract_drops_by_reason() -> None:
    raw = [
        RawRow(text="fine text", label="a", group="c", event_time=EPOCH),
        RawRow(text=" ", label="a", group="c", event_time=EPOCH),
        RawRow(text="no label", label=None, group="c", event_time=EPOCH),
        RawRow(text="é" * 2049, label="a", group="c", event_time=EPOCH),
        RawRow(text="strange label", label="z", group="c", event_time=EPOCH),
        RawRow(text="no time", label="a", group="c", event_time=None),
        RawRow(text=None, label=None, problem="invalid_encoding"),
    ]
    rows, account = stages.check_contract(raw, SchemaContract(labels=("a", "b")))
    assert [kept.text for kept in rows] == ["fine text"]
    assert account.dropped == {
        "invalid_encoding": 1,
        "malformed_row": 1,
        "missing_label": 1,
        "missing_text": 1,
        "too_long": 1,
        "unknown_label": 1,
    }


def test_a_text_with_two_labels_is_dropped_in_all_copies() -> None:
    rows, account = stages.drop_conflicts([row("my card!", "a"), row("My card", "b"), row("my pin", "a")])
    assert [kept.text for kept in rows] == ["my pin"]
    assert account.dropped == {"conflicting_labels": 2}


def test_the_earliest_copy_stays() -> None:
    rows, _ = stages.drop_exact_duplicates([row("My card?", minutes=5), row("my card", minutes=1)])
    assert [kept.text for kept in rows] == ["my card"]


def test_near_duplicates_go_within_a_label_and_stay_between_labels() -> None:
    text = "when will the replacement card that I ordered last week arrive"
    raw = [
        RawRow(text=text, label="a", group="c", event_time=EPOCH),
        RawRow(text=text.replace("arrive", "arive"), label="a", group="c", event_time=EPOCH + timedelta(minutes=1)),
        RawRow(text=text.replace("arrive", "arivve"), label="b", group="c", event_time=EPOCH),
        RawRow(text="how do I change my pin", label="a", group="c", event_time=EPOCH),
    ]
    rows, accounts, _ = clean(raw, SPEC, silent)
    assert {(kept.label, kept.text) for kept in rows} == {
        ("a", text),
        ("b", text.replace("arrive", "arivve")),
        ("a", "how do I change my pin"),
    }
    assert accounts[-1].dropped == {"near_duplicate": 1}


def test_near_duplicates_that_remain_are_few_in_generated_data(tmp_path: Path) -> None:
    splits, manifest = prepared(tmp_path, generate(1, 800))
    kept = [(member.label, shingles(member.text)) for name in SPLITS for member in splits[name]]
    pairs = sum(
        first[0] == second[0] and jaccard(first[1], second[1]) >= 0.85
        for number, first in enumerate(kept)
        for second in kept[:number]
    )
    assert pairs <= 2  # LSH may miss a pair, rarely
    assert sum(stage.dropped.get("near_duplicate", 0) for stage in manifest.stages) > 10


def test_generated_data_meets_every_stage_and_leaks_nothing(tmp_path: Path) -> None:
    splits, manifest = prepared(tmp_path, generate(1, 1200))
    reasons = {reason for stage in manifest.stages for reason in stage.dropped}
    assert reasons >= {
        "invalid_encoding",
        "missing_text",
        "missing_label",
        "too_long",
        "exact_duplicate",
        "near_duplicate",
        "group_leakage",
    }
    assert set(manifest.pii_findings) == {"card", "email", "iban", "name", "phone"}
    assert manifest.duplicates_across_splits == duplicates_across(splits) == 0
    assert manifest.synthetic_columns == ()
    assert len(manifest.labels) == 12
    assert all(redact(member.text)[1] == {} for name in SPLITS for member in splits[name])
    shares = [split.rows / sum(s.rows for s in manifest.splits) for split in manifest.splits]
    assert shares == pytest.approx([0.75, 0.10, 0.15], abs=0.04)


def test_duplicates_across_splits_are_counted() -> None:
    splits: dict[Any, list[stages.Row]] = {
        "train": [row("my card")],
        "validation": [],
        "test": [row("My card!"), row("other")],
    }
    assert duplicates_across(splits) == 1


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), order=st.integers(0, 1000))
def test_same_rows_same_digest_whatever_their_order(tmp_path: Path, seed: int, order: int) -> None:
    rows = generate(seed, 150)
    shuffled = rows[:]
    random.Random(order).shuffle(shuffled)
    try:
        first = prepared(tmp_path, rows)[1]
    except InvalidInput:
        assume(False)
    second = prepared(tmp_path, shuffled)[1]
    assert first.content_digest == second.content_digest
    assert first.content_digest != prepared(tmp_path, corrupt_labels(rows, 0.5, 1))[1].content_digest


def test_another_contract_has_another_hash(tmp_path: Path) -> None:
    rows = generate(1, 300)
    hashes = {prepared(tmp_path, rows, contract=SchemaContract(min_characters=n))[1].contract_hash for n in (3, 3, 4)}
    assert len(hashes) == 2


def test_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"1 label\(s\): \['card_lost'\]"):
        prepared(tmp_path, generate(1, 300, intents=["card_lost"]))


def test_mostly_broken_data_is_refused_with_the_reasons(tmp_path: Path) -> None:
    rows = [RawRow(text="ok then" if n % 2 else "\udcff", label="a", group="c", event_time=EPOCH) for n in range(20)]
    with pytest.raises(InvalidInput, match=r"10 of 20 rows .*10 invalid_encoding.*20%"):
        prepared(tmp_path, rows)


def test_too_little_to_split_is_refused(tmp_path: Path) -> None:
    rows = [RawRow(text=f"text number {n}", label="ab"[n % 2], group="one", event_time=EPOCH) for n in range(8)]
    with pytest.raises(InvalidInput, match="1 customers leave the train split empty"):
        prepared(tmp_path, rows, near_duplicate_similarity=1.0)


def test_run_writes_the_folder_and_answers_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    write_csv(generate(2, 400), tmp_path / "data.csv")
    said: list[str] = []
    out = tmp_path / "out"
    answer = run(
        {"sources": [{"uri": str(tmp_path / "data.csv"), "mapping": {"group": "customer_id"}}], "out_uri": str(out)},
        lambda message, _numbers: said.append(message),
    )
    result = PrepareResult.model_validate(answer)
    assert DataManifest.model_validate_json((out / MANIFEST).read_text()) == result.manifest
    assert result.manifest.synthetic_columns == ("event_time",)
    for split in result.manifest.splits:
        table = pq.read_table(out / f"{split.name}.parquet")
        assert table.column_names == ["id", "text", "label", "group", "event_time", "source"]
        assert table.num_rows == split.rows == len(set(table.column("id").to_pylist()))
    assert any(line.startswith("near_duplicates:") for line in said)


def test_bad_payload_names_the_field() -> None:
    with pytest.raises(InvalidInput, match=r"test_fraction = 2"):
        run({"sources": [{"uri": "x.csv"}], "out_uri": "y", "test_fraction": 2}, silent)


def test_summary_shows_every_stage_and_the_metrics_add_up(tmp_path: Path) -> None:
    _, manifest = prepared(tmp_path, generate(1, 400))
    text = markdown(manifest)
    assert all(f"| {stage.stage} | {stage.rows_in} | {stage.rows_out} |" in text for stage in manifest.stages)
    figures = metrics(manifest)
    dropped = sum(value for name, value in figures.items() if name.startswith("dropped_"))
    kept = sum(value for name, value in figures.items() if name.startswith("rows_"))
    assert kept + dropped == 400


def test_features_of_the_data_travel_with_the_rows(tmp_path: Path) -> None:
    lines = ["text,label,who,when,seg"]
    for n in range(60):
        when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n)
        lines.append(f"message number {n} of customer {n * 7},{'ab'[n % 2]},c{n},{when.isoformat()},retail")
    (tmp_path / "d.csv").write_text("\n".join(lines))
    mapping = {"group": "who", "event_time": "when", "features": {"segment": "seg"}}
    source = Source.model_validate({"uri": str(tmp_path / "d.csv"), "mapping": mapping})
    splits, manifest = prepare(
        PrepareSpec(sources=(source,), out_uri="u", near_duplicate_similarity=1.0), tmp_path, ManualClock(), silent
    )
    assert manifest.synthetic_columns == ()
    assert all(member.features == {"segment": "retail"} for name in SPLITS for member in splits[name])


def test_two_files_of_one_name_stay_two_sources(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "data.csv" for folder in ("old", "new")]
    for seed, path in enumerate(paths):
        write_csv(generate(seed, 300, start=EPOCH + timedelta(weeks=20 * seed)), path)
    sources = tuple(Source(uri=str(path), mapping=GENERATED_MAPPING) for path in paths)
    splits, _ = prepare(PrepareSpec(sources=sources, out_uri="u"), tmp_path, ManualClock(), silent)
    for name in SPLITS:
        assert {member.source for member in splits[name]} == {"data.csv", "data.csv#1"}
