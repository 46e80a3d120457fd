"""A feature store that pods share: registry in PostgreSQL, online store in Redis, histories in files or in S3."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
import yaml
from feast.infra.registry.sql import metadata as feast_tables

from components.datasets.customers import customer_id
from components.features.logic import invented_history
from components.features.profiles import profile_history
from components.features.template import CUSTOMER_PROFILE
from components.prepare.split import SPLITS
from tests.certificates import Authority
from tests.integration.features.conftest import WITH_TLS, Shared
from tests.redis_server import PASSWORD
from tests.tcp_proxy import tcp_proxy
from tests.unit.store.databases import create_database
from tidegate.adapters.feast_site import SharedSite
from tidegate.adapters.feast_store import TIME_COLUMN, FeastOnline, FeastRepository
from tidegate.clock import ManualClock
from tidegate.db import metadata as own_tables
from tidegate.domain.example import Message
from tidegate.errors import Denied, Unavailable

pytestmark = pytest.mark.integration
HELLO = (Message(role="user", content="where is my card"),)
REFERENCES = CUSTOMER_PROFILE.references


def test_nothing_of_the_store_lies_in_a_pod(shared: Shared) -> None:
    assert not (shared.folder / "writer" / "feast").exists()
    engine = sa.create_engine(
        sa.make_url(shared.environment["TIDEGATE_DATABASE_URL"]).set(drivername="postgresql+psycopg")
    )
    with engine.connect() as conn:
        assert conn.execute(sa.text("SELECT feature_view_name FROM feature_views")).scalars().all() == [
            CUSTOMER_PROFILE.name
        ]
    engine.dispose()
    with shared.redis.client() as client:
        assert int(client.dbsize()) == shared.result.customers


def test_the_registry_shares_the_database_with_tables_of_other_names() -> None:
    assert not set(feast_tables.tables) & set(own_tables.tables)


def test_training_rows_have_the_values_of_their_moment(shared: Shared) -> None:
    rows = pd.concat(pd.read_parquet(shared.out / f"{name}.parquet") for name in SPLITS)
    for row in rows.to_dict("records"):
        joined = {name: row[name] for name in CUSTOMER_PROFILE.fields}
        assert joined == profile_history(row["group"], row["event_time"].to_pydatetime())[-1][1]


def test_another_process_serves_what_training_would_see_now(shared: Shared) -> None:
    customers = [customer_id(number) for number in range(100)]
    now = pd.Timestamp.now(tz="UTC")
    frame = pd.DataFrame({"customer_id": [*customers, "nobody"], TIME_COLUMN: now})
    joined = FeastRepository(shared.site).history_at(frame, REFERENCES)
    trained_on = {
        row["customer_id"]: row for row in joined.astype("object").where(joined.notna(), None).to_dict("records")
    }
    served = dict(zip(frame["customer_id"], shared.look_up(frame["customer_id"].tolist(), REFERENCES), strict=True))
    prompt = shared.result.prompt
    rendered = set()
    for customer, values in served.items():
        trained = prompt.render(HELLO, {name: trained_on[customer][name] for name in prompt.features})
        assert prompt.render(HELLO, values) == trained
        rendered.add(trained[0].content)
    assert len(rendered) > 50
    assert served["nobody"] == dict.fromkeys(CUSTOMER_PROFILE.fields)


def test_a_corrected_value_of_the_same_moment_is_served_too(shared: Shared) -> None:
    reader = FeastOnline(shared.site)  # open all the while, as in a gateway
    customer = customer_id(1)
    latest = invented_history([customer], datetime.now(UTC)).tail(1).copy()
    assert reader.get(customer, REFERENCES)["segment"] == latest["segment"].item() != "private"
    latest["segment"] = "private"
    repository = FeastRepository(shared.site)
    rows = repository.update(CUSTOMER_PROFILE, latest, datetime.now(UTC))
    assert rows == shared.result.history_rows
    frame = pd.DataFrame({"customer_id": [customer], TIME_COLUMN: pd.Timestamp.now(tz="UTC")})
    assert repository.history_at(frame, REFERENCES)["segment"].item() == "private"
    assert reader.get(customer, REFERENCES)["segment"] == "private"


_WRITE = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
import feast
from components.features.logic import invented_history
from components.features.template import CUSTOMER_PROFILE
from tidegate.adapters.feast_site import site_of
from tidegate.adapters.feast_store import FeastRepository
from tidegate.settings import load_settings
name, folder = sys.argv[1], Path(sys.argv[2])
repository = FeastRepository(site_of(load_settings()))
(folder / name).touch()
while len(list(folder.iterdir())) < 2:
    time.sleep(0.01)
for turn in range(3):
    now = datetime.now(UTC)
    repository.update(CUSTOMER_PROFILE, invented_history([f"{name}-{turn}-{n}" for n in range(10)], now), now)
"""


def test_two_writers_at_once_lose_no_row(shared: Shared, tmp_path: Path) -> None:
    writers = [shared.elsewhere(_WRITE, name, str(tmp_path)) for name in ("a", "b")]
    assert [writer.wait(timeout=400) for writer in writers] == [0, 0]
    customers = [f"{name}-{turn}-{n}" for name in ("a", "b") for turn in range(3) for n in range(10)]
    now = datetime.now(UTC)
    frame = pd.DataFrame({"customer_id": customers, TIME_COLUMN: pd.Timestamp(now)})
    joined = FeastRepository(shared.site).history_at(frame, REFERENCES)
    assert joined.set_index("customer_id")["segment"].to_dict() == {
        customer: profile_history(customer, now)[-1][1]["segment"] for customer in customers
    }
    assert all(values["segment"] is not None for values in shared.look_up(customers, REFERENCES))


def test_a_killed_redis_is_unavailable_and_comes_back(shared: Shared) -> None:
    reader = FeastOnline(shared.site)
    before = reader.get(customer_id(0), REFERENCES)
    assert before["segment"] is not None
    shared.redis.kill()
    try:
        with pytest.raises(Unavailable, match=r"feature_store\.yaml does not answer: ConnectionError"):
            reader.get(customer_id(0), REFERENCES)
        with pytest.raises(Unavailable, match="does not answer"):
            FeastRepository(shared.site).update(
                CUSTOMER_PROFILE, invented_history(["late"], datetime.now(UTC)), datetime.now(UTC)
            )
    finally:
        shared.redis.start()
    assert reader.get(customer_id(0), REFERENCES) == before
    assert reader.get("late", REFERENCES)["segment"] is None
    now = datetime.now(UTC)
    FeastRepository(shared.site).update(CUSTOMER_PROFILE, invented_history(["late"], now), now)  # the step's next try
    assert reader.get("late", REFERENCES) == profile_history("late", now)[-1][1]


def test_a_redis_that_hangs_is_unavailable(shared: Shared, tmp_path: Path) -> None:
    with tcp_proxy("127.0.0.1", shared.redis.port) as wire:
        config = tmp_path / "feature_store.yaml"
        config.write_text(shared.config_text(wire.port))
        site = SharedSite(config, "unused", shared.environment["TIDEGATE_DATABASE_URL"])
        reader = FeastOnline(site)
        values = reader.get(customer_id(0), REFERENCES)
        wire.hang()
        with pytest.raises(Unavailable, match="does not answer: TimeoutError"):
            reader.get(customer_id(0), REFERENCES)
        wire.mend()
        assert reader.get(customer_id(0), REFERENCES) == values


def test_a_wrong_password_is_refused_and_not_shown(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEAST_REDIS_PASSWORD", "not-the-password")
    with pytest.raises(Denied, match="refuses the password") as caught:
        FeastOnline(shared.site).get(customer_id(0), REFERENCES)
    assert isinstance(caught.value, Unavailable)
    assert "not-the-password" not in str(caught.value)


@pytest.mark.parametrize("authority", [WITH_TLS], indirect=True)
def test_a_redis_of_another_authority_is_said_and_what_to_do(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(Authority(tmp_path / "other").file))
    with pytest.raises(Unavailable, match="certificate verify failed") as caught:
        FeastOnline(shared.site).get(customer_id(0), REFERENCES)
    assert "SSL_CERT_FILE" in caught.value.next_step
    assert f"127.0.0.1:{shared.redis.port}" in str(caught.value)
    assert PASSWORD not in str(caught.value)


def _with_registry(shared: Shared, tmp_path: Path, url: str) -> SharedSite:
    config = tmp_path / "feature_store.yaml"
    content = yaml.safe_load(shared.config_text(shared.redis.port))
    content["registry"]["path"] = url
    config.write_text(yaml.safe_dump(content))
    return SharedSite(config, str(tmp_path / "histories"), url)


def test_a_registry_that_is_away_is_unavailable_for_reader_and_writer(shared: Shared, tmp_path: Path) -> None:
    site = _with_registry(shared, tmp_path, "postgresql://tidegate:secret@127.0.0.1:1/nothing")
    with pytest.raises(Unavailable, match="does not answer") as caught:
        FeastOnline(site).warm()
    assert "secret" not in str(caught.value)
    now = datetime.now(UTC)
    with pytest.raises(Unavailable, match="does not answer"):
        FeastRepository(site).update(CUSTOMER_PROFILE, invented_history(["a"], now), now)
    assert not (tmp_path / "histories").exists()


def test_a_gateway_that_read_the_registry_serves_on_without_it(shared: Shared, tmp_path: Path) -> None:
    url = sa.make_url(shared.environment["TIDEGATE_DATABASE_URL"])
    with tcp_proxy(str(url.host), int(url.port or 5432)) as wire:
        site = _with_registry(shared, tmp_path, url.set(port=wire.port).render_as_string(hide_password=False))
        content = yaml.safe_load((tmp_path / "feature_store.yaml").read_text())
        content["registry"]["cache_ttl_seconds"] = 1
        (tmp_path / "feature_store.yaml").write_text(yaml.safe_dump(content))
        reader = FeastOnline(site)
        values = reader.get(customer_id(0), REFERENCES)
        wire.hang()
        time.sleep(2.5)  # the copy is older than its time to live
        assert reader.get(customer_id(0), REFERENCES) == values


def test_a_lost_lock_is_noticed_and_free_for_the_next(shared: Shared) -> None:
    url = sa.make_url(shared.environment["TIDEGATE_DATABASE_URL"])
    with tcp_proxy(str(url.host), int(url.port or 5432)) as wire:
        cut_off = SharedSite(Path("-"), "s3://b/h", url.set(port=wire.port).render_as_string(hide_password=False))
        with pytest.raises(Unavailable, match="database"), cut_off.alone() as still_alone:  # noqa: PT012 - the block
            still_alone()
            wire.cut()
            still_alone()
    with SharedSite(Path("-"), "s3://b/h", shared.environment["TIDEGATE_DATABASE_URL"]).alone() as still_alone:
        still_alone()


def test_before_the_first_run_there_is_no_view(shared: Shared, tmp_path: Path, postgres_url: str) -> None:
    site = _with_registry(shared, tmp_path, f"{postgres_url}/{create_database(postgres_url)}")
    clock = ManualClock()
    reader = FeastOnline(site, clock)
    assert reader.warm() == ()
    with pytest.raises(Unavailable, match="no view 'customer_profile'"):
        reader.get("c", REFERENCES)
    now = datetime.now(UTC)
    FeastRepository(site).update(CUSTOMER_PROFILE, invented_history(["c"], now - timedelta(seconds=1)), now)
    clock.advance(5)
    assert reader.get("c", REFERENCES)["segment"] is not None
    assert reader.warm() == (CUSTOMER_PROFILE.name,)


def test_processes_that_begin_at_once_on_an_empty_database_find_their_tables(
    shared: Shared, tmp_path: Path, postgres_url: str
) -> None:
    site = _with_registry(shared, tmp_path, f"{postgres_url}/{create_database(postgres_url)}")
    barrier = threading.Barrier(4)

    def begin(_: int) -> tuple[str, ...]:
        barrier.wait()
        return FeastOnline(site).warm()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(begin, range(4))) == [()] * 4
