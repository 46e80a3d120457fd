"""The features job and the online lookup on a real Feast repository."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import FeatureStore

from components.datasets.customers import customer_id
from components.datasets.generator import generate
from components.datasets.readers import GENERATED_MAPPING
from components.datasets.rows import write_csv
from components.features.logic import PROMPT, invented_history, run
from components.features.profiles import profile_history
from components.features.spec import FeaturesResult
from components.features.template import CUSTOMER_PROFILE
from components.prepare.logic import MANIFEST
from components.prepare.logic import run as run_prepare
from components.prepare.split import SPLITS
from tidegate.adapters.feast_site import CONFIG, LocalSite
from tidegate.adapters.feast_store import TIME_COLUMN, FeastOnline, FeastRepository
from tidegate.clock import ManualClock
from tidegate.domain.example import Message
from tidegate.domain.manifest import DataManifest
from tidegate.errors import InvalidInput, Unavailable
from tidegate.prompt import PromptTemplate

pytestmark = pytest.mark.integration
POOL = 300
HELLO = (Message(role="user", content="where is my card"),)


def silent(_message: str, _numbers: object) -> None:
    return


@dataclass(frozen=True)
class World:
    home: Path
    prepared: Path
    out: Path
    result: FeaturesResult

    @property
    def repository(self) -> Path:
        return self.home / "feast"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A run of prepare and features on generated data, with connections beyond loopback refused."""
    folder = tmp_path_factory.mktemp("features")
    reached: list[Any] = []
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in {"127.0.0.1", "::1"}:
            reached.append(address)
            raise ConnectionRefusedError(f"this test allows loopback only, not {address}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        patch.setenv("TIDEGATE_HOME", str(folder / "home"))
        write_csv(generate(1, 500, customers=POOL), folder / "data.csv")
        source = {"uri": str(folder / "data.csv"), "mapping": GENERATED_MAPPING.model_dump()}
        run_prepare({"sources": [source], "out_uri": str(folder / "prepared")}, silent)
        payload = {"in_uri": str(folder / "prepared"), "out_uri": str(folder / "out"), "customer_pool": POOL}
        result = FeaturesResult.model_validate(run(payload, silent))
        yield World(home=folder / "home", prepared=folder / "prepared", out=folder / "out", result=result)
    assert reached == []


def test_folder_has_the_splits_with_features_the_manifest_and_the_prompt(world: World) -> None:
    manifest = DataManifest.model_validate_json((world.out / MANIFEST).read_text())
    assert set(manifest.synthetic_columns) == set(CUSTOMER_PROFILE.fields)
    prompt = PromptTemplate.model_validate_json((world.out / PROMPT).read_text())
    assert prompt.labels == manifest.labels
    assert prompt.feature_views[0] == "customer_profile:segment"
    for name in SPLITS:
        before, after = (pd.read_parquet(folder / f"{name}.parquet") for folder in (world.prepared, world.out))
        pd.testing.assert_frame_equal(before, after[before.columns])
        assert list(after.columns) == [*before.columns, *prompt.features]
        assert after[list(prompt.features)].notna().all().all()


def test_each_row_has_the_values_of_its_moment_and_not_the_latest(world: World) -> None:
    rows = pd.concat(pd.read_parquet(world.out / f"{name}.parquet") for name in SPLITS)
    later = datetime.now(UTC)
    differs_from_latest = 0
    for row in rows.to_dict("records"):
        joined = {name: row[name] for name in CUSTOMER_PROFILE.fields}
        assert joined == profile_history(row["group"], row["event_time"].to_pydatetime())[-1][1]
        differs_from_latest += joined != profile_history(row["group"], later)[-1][1]
    assert differs_from_latest > len(rows) / 4


def test_no_skew_between_training_and_serving(world: World) -> None:
    """The offline join and the online lookup render the same prompt for 200 customers at the same moment."""
    prompt = world.result.prompt
    customers = [customer_id(number) for number in range(200)]
    now = pd.Timestamp.now(tz="UTC")
    offline = FeastRepository(LocalSite(world.repository)).history_at(
        pd.DataFrame({"customer_id": customers, TIME_COLUMN: now}), prompt.feature_views
    )
    online = FeastOnline(LocalSite(world.repository))
    rendered = set()
    for row in offline.to_dict("records"):
        wanted = prompt.render(HELLO, {name: row[name] for name in prompt.features})
        assert prompt.render(HELLO, online.get(row["customer_id"], prompt.feature_views)) == wanted
        rendered.add(wanted[0].content)
    assert len(rendered) > 50


def test_unknown_customer_has_no_values(world: World) -> None:
    values = FeastOnline(LocalSite(world.repository)).get("nobody", world.result.prompt.feature_views)
    assert values == dict.fromkeys(CUSTOMER_PROFILE.fields)
    assert "segment=unknown" in world.result.prompt.render(HELLO, values)[0].content


def test_template_without_features_asks_for_none(world: World) -> None:
    assert FeastOnline(LocalSite(world.repository)).get("nobody", ()) == {}


def test_a_later_run_adds_customers_and_newer_values_and_keeps_the_rest(world: World, tmp_path: Path) -> None:
    references = world.result.prompt.feature_views
    reader = FeastOnline(LocalSite(world.repository))  # open all the while, as in the gateway
    kept = reader.get(customer_id(0), references)
    assert reader.get("live-1", references)["segment"] is None
    newer = invented_history(["live-1"], datetime.now(UTC))
    changed = invented_history([customer_id(1)], datetime.now(UTC)).tail(1).copy()
    changed[TIME_COLUMN] += timedelta(seconds=1)
    changed["segment"] = "private"
    repository = FeastRepository(LocalSite(world.repository))
    total = repository.update(CUSTOMER_PROFILE, pd.concat([newer, changed]), datetime.now(UTC))
    again = repository.update(CUSTOMER_PROFILE, pd.concat([newer, changed]), datetime.now(UTC))
    assert again == total > world.result.history_rows
    assert reader.get("live-1", references) == profile_history("live-1", datetime.now(UTC))[-1][1]
    assert reader.get(customer_id(1), references)["segment"] == "private"
    assert reader.get(customer_id(0), references) == kept


def test_values_of_the_future_stay_out_of_the_online_store(world: World) -> None:
    references = world.result.prompt.feature_views
    now = datetime.now(UTC)
    future = invented_history(["time-traveller"], now).tail(1).copy()
    future[TIME_COLUMN] = pd.Timestamp(now + timedelta(days=1)).as_unit("us")
    FeastRepository(LocalSite(world.repository)).update(CUSTOMER_PROFILE, future, now)
    assert FeastOnline(LocalSite(world.repository)).get("time-traveller", references)["segment"] is None


def test_no_repository_and_no_such_view_are_unavailable(world: World, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no feature store"):
        FeastOnline(LocalSite(tmp_path)).get("c", ("customer_profile:segment",))
    with pytest.raises(Unavailable, match="no view 'other'"):
        FeastOnline(LocalSite(world.repository)).get("c", ("other:thing",))


def test_a_missing_view_is_looked_for_every_few_seconds_and_not_at_every_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[FeatureStore] = []
    refresh = FeatureStore.refresh_registry

    def counted(store: FeatureStore) -> None:
        looks.append(store)
        refresh(store)

    monkeypatch.setattr(FeatureStore, "refresh_registry", counted)
    clock = ManualClock()
    reader = FeastOnline(LocalSite(world.repository), clock)
    for wanted in (1, 2):
        for view in ("other", "another", "other"):
            with pytest.raises(Unavailable, match=f"no view '{view}'"):
                reader.get("c", (f"{view}:thing",))
        assert len(looks) == wanted
        clock.advance(5)
    assert reader.get(customer_id(0), world.result.prompt.feature_views)["segment"] is not None


def test_a_repository_that_moved_still_works(world: World, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(world.repository, moved)
    assert (moved / CONFIG).exists()
    references = world.result.prompt.feature_views
    assert FeastOnline(LocalSite(moved)).get(customer_id(0), references)["channel"] is not None
    frame = pd.DataFrame({"customer_id": [customer_id(0)], TIME_COLUMN: [pd.Timestamp.now(tz="UTC")]})
    assert FeastRepository(LocalSite(moved)).history_at(frame, references)["channel"].notna().all()


def _prepare_with_features(folder: Path, column: str, values: list[str]) -> Path:
    lines = [f"text,label,who,when,{column}"]
    for n in range(60):
        when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n)
        lines.append(f"message {n} of customer {n * 7},{'ab'[n % 2]},m{n},{when.isoformat()},{values[n % len(values)]}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "d.csv").write_text("\n".join(lines))
    mapping = {"group": "who", "event_time": "when", "features": {column: column}}
    source = {"uri": str(folder / "d.csv"), "mapping": mapping}
    spec = {"sources": [source], "out_uri": str(folder / "prepared"), "near_duplicate_similarity": 1.0}
    run_prepare(spec, silent)
    return folder / "prepared"


def test_features_that_the_data_brings_are_used_and_nothing_is_invented(world: World, tmp_path: Path) -> None:
    prepared = _prepare_with_features(tmp_path, "tenure_years", ["3", "", "11"])
    result = FeaturesResult.model_validate(run({"in_uri": str(prepared), "out_uri": str(tmp_path / "o")}, silent))
    assert not result.synthetic
    assert result.manifest.synthetic_columns == ()
    assert result.prompt.features == ("tenure_years",)
    rows = pd.read_parquet(tmp_path / "o" / "train.parquet")
    assert set(rows["tenure_years"].dropna()) == {3, 11}
    assert FeastOnline(LocalSite(world.repository)).get("m0", result.prompt.feature_views) == {"tenure_years": 3}


def test_unknown_or_wrong_features_are_refused_by_name(world: World, tmp_path: Path) -> None:
    prepared = _prepare_with_features(tmp_path / "a", "shoe_size", ["42"])
    with pytest.raises(InvalidInput, match="shoe_size"):
        run({"in_uri": str(prepared), "out_uri": str(tmp_path / "o")}, silent)
    prepared = _prepare_with_features(tmp_path / "b", "tenure_years", ["many"])
    with pytest.raises(InvalidInput, match=r"tenure_years.*'many'"):
        run({"in_uri": str(prepared), "out_uri": str(tmp_path / "o")}, silent)
    assert not (tmp_path / "o").exists()
