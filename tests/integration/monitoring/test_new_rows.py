"""What a retraining starts from, found at run time: the version that serves, the rows since, and a replay."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from components.datasets.intents import NEW_INTENTS
from components.new_rows import logic
from tests.integration.monitoring.receiver import Home
from tests.integration.monitoring.test_drift_job import DEPLOYMENT, END, Served, served
from tests.unit.rollout.builders import version
from tidegate.adapters import storage
from tidegate.adapters.job_folder import JobFolder, Outcome, folder_uri
from tidegate.clock import SystemClock
from tidegate.domain.version import ModelVersion
from tidegate.errors import InvalidInput, NotFound
from tidegate.ports import JobSpec
from tidegate.store.runs import RunStore

__all__ = ["served"]
pytestmark = pytest.mark.integration
STARTED = END - timedelta(hours=2)


class Then(SystemClock):
    """Two hours before the traffic ends."""

    def now(self) -> datetime:
        return STARTED


def _champion(**lineage: Any) -> ModelVersion:
    made = version("3")
    return made.model_copy(update={"lineage": made.lineage.model_copy(update=lineage)})


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModelVersion]:
    """Versions by key, where MLflow would be: what a registry answers is tested in tests/integration/registry."""
    known = {"banking-intent/3": _champion(pipeline_run="run-3")}

    class Registry:
        def __init__(self, *_: object, **__: object) -> None: ...

        def get(self, name: str, number: str) -> ModelVersion:
            return known[f"{name}/{number}"]

    monkeypatch.setattr(logic, "MlflowRegistry", Registry)
    return known


def _found(home: Home, out: str, monkeypatch: pytest.MonkeyPatch, **spec: Any) -> dict[str, Any]:
    monkeypatch.setenv("TIDEGATE_HOME", str(home.path))
    payload = {"deployment": DEPLOYMENT, "out_uri": out, "min_rows": 40, **spec}
    return logic.run(payload, lambda _message, _numbers: None)


def test_rows_since_the_champion_s_run_and_its_own_to_replay(
    served: Served, home: Home, registry: dict[str, ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    served.serve(6, 40, NEW_INTENTS, end=END)
    RunStore(home.db, SystemClock()).start("run-3", "fine-tune", {"customer_pool": 5})
    artifacts = str(home.path / "artifacts")
    out = f"memory://{home.path.name}/new-rows"
    with pytest.raises(InvalidInput, match="0 requests"):  # the run began just now
        _found(home, out, monkeypatch)
    registry["banking-intent/3"] = _champion(pipeline_run="run-k")  # on a cluster: its jobs' folders say when
    for step, payload in (("prepare", {}), ("features", {"customer_pool": 7})):
        folder = JobFolder(folder_uri(artifacts, f"run-k/{step}"))
        folder.claim(JobSpec(key=f"run-k/{step}", entrypoint="a:b", payload=payload))
        folder.end(1, Outcome(state="succeeded", time=END, began=STARTED, result={}))
    found = _found(home, out, monkeypatch)
    assert (found["model"], found["version"], found["rows"]) == ("banking-intent", "3", 40)
    assert datetime.fromisoformat(found["since"]) == STARTED
    assert found["customer_pool"] == 7
    assert found["replay"] == [], "the folder of its rows is gone"
    rows = [json.loads(line) for line in storage.read_text(found["uri"]).splitlines()]
    assert {row["label"] for row in rows} <= set(NEW_INTENTS)


def test_a_retrained_champion_s_customers_are_its_parents(
    served: Served, home: Home, registry: dict[str, ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    served.serve(6, 40, NEW_INTENTS, end=END)
    runs = RunStore(home.db, Then())
    runs.start("run-2", "fine-tune", {"customer_pool": 9})
    runs.start("run-3", "retrain", {"customer_pool": -1})
    registry["banking-intent/2"] = _champion(pipeline_run="run-2")
    registry["banking-intent/3"] = _champion(pipeline_run="run-3", parent_version="2")
    found = _found(home, str(home.path / "out"), monkeypatch)
    assert found["customer_pool"] == 9
    assert Path(found["uri"]).exists()


def test_what_cannot_be_retrained_is_named(
    served: Served, home: Home, registry: dict[str, ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInput, match="serves model 'banking-intent', not 'other'"):
        _found(home, "memory://x", monkeypatch, model="other")
    with pytest.raises(NotFound, match="nobody"):
        _found(home, "memory://x", monkeypatch, deployment="nobody")
