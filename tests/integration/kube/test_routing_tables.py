"""Processes that only read routing: on a cluster from the API server, on one machine from the database."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.scoring.worker import LabelBook
from tests.integration.kube.objects import made, merge, thing
from tests.kube_api import KubeApi
from tests.unit.gateway.tables import MODEL, table
from tidegate.adapters.kube.api import KubeApi as Client
from tidegate.adapters.kube.routing_tables import KubeRoutingTables
from tidegate.adapters.routing_tables import routing_tables
from tidegate.clock import ManualClock, SystemClock
from tidegate.db import Database
from tidegate.errors import Unavailable
from tidegate.settings import load_settings
from tidegate.store.routing import RoutingStore

pytestmark = pytest.mark.integration


def test_a_scorer_finds_the_labels_of_both_arms_in_the_routing_object(kube: KubeApi, namespace: str) -> None:
    clock = ManualClock()
    tables = KubeRoutingTables(Client.from_kubeconfig(kube.kubeconfig("operator", namespace), namespace), clock)
    book = LabelBook(tables)
    assert book("intent-assistant", "7") is None
    body = made(kube, namespace, thing("ModelRouting"))
    assert book("intent-assistant", "7") is None  # a table is read once a second
    clock.advance(2.0)
    assert book("intent-assistant", "7") == ("card_arrival", "top_up")
    assert book("intent-assistant", "8") == ("card_arrival", "top_up")
    assert book("intent-assistant", "9") is None
    assert merge(kube, namespace, body, {"spec": {"removed": True, "arms": [], "epoch": 6}}).is_success
    clock.advance(2.0)
    assert tables.get("intent-assistant") is None
    assert book("intent-assistant", "8") == ("card_arrival", "top_up")  # a version's prompt never changes


def test_labels_that_cannot_be_read_now_are_unknown_and_no_error() -> None:
    class Away:
        def get(self, deployment: str) -> None:
            raise Unavailable("the API server does not answer")

    assert LabelBook(Away())("intent-assistant", "7") is None


def test_on_one_machine_the_database_has_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    db, clock = Database.open(f"sqlite:///{tmp_path / 'x.db'}"), SystemClock()
    RoutingStore(db, clock).publish(table("http://engine", epoch=1))
    found = routing_tables(load_settings(), db, clock).get(MODEL)
    assert found is not None
    assert found.epoch == 1
    db.close()
