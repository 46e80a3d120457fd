"""The PodDisruptionBudget of an engine as the API server keeps it: made, changed and removed with its engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving.operator.budget import HOLD, budget_name
from serving.operator.engines import RayServiceEngines
from serving.operator.objects import Objects
from tests.integration.operator.test_rayservice import SITE, spec
from tidegate.adapters.kube.api import KubeApi as Client
from tidegate.adapters.kube.kinds import DISRUPTION_BUDGET, RAY_SERVICE
from tidegate.clock import ManualClock
from tidegate.ports import EngineStatus
from tidegate.store.leases import Fence

pytestmark = pytest.mark.integration
TWO = spec(minReplicas=2, maxReplicas=2)


class Site:
    """Engines whose Ray says what the test says."""

    def __init__(self, client: Client, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = client
        self.clock = ManualClock()
        self.objects = Objects(client, lambda fence: None)
        self.objects.refresh()
        self.fence: Fence | None = Fence("tidegate-controller", 1)
        self.engines = RayServiceEngines(self.objects, SITE, None, home, lambda: self.fence, self.clock)
        self.running: dict[str, int] = {}
        monkeypatch.setattr(self.engines, "_ray", lambda engine, cluster: self)

    def status(self, engine: str) -> EngineStatus:
        """As Serve's adapter gives it."""
        ready = self.running[engine]
        return EngineStatus(
            ready=True, url="http://e", adapters=(), replicas_ready=ready, replicas_wanted=ready, workers=ready
        )

    def begin(self, engine: str, manifest: dict[str, Any], cluster: str) -> None:
        """KubeRay has brought a cluster about, on which all replicas run."""
        self.engines.ensure(engine, manifest, [])
        body = self.client.get(RAY_SERVICE, engine)
        assert body is not None
        status = {"activeServiceStatus": {"rayClusterName": cluster}}
        self.client.replace(RAY_SERVICE, {**body, "status": status}, status=True)
        self.objects.refresh()
        self.poll(engine, manifest["placement"]["minReplicas"])

    def poll(self, engine: str, running: int) -> None:
        self.running[engine] = running
        self.engines.status(engine)

    def budget(self, engine: str) -> dict[str, Any] | None:
        return self.client.get(DISRUPTION_BUDGET, budget_name(engine))

    def kept(self, engine: str) -> int:
        found = self.budget(engine)
        assert found is not None
        return int(found["spec"]["minAvailable"])


@pytest.fixture
def site(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(client, tmp_path, monkeypatch)


def test_a_budget_goes_with_the_replicas_that_always_run(site: Site) -> None:
    site.begin("llama", spec(minReplicas=3), "llama-aaaaa")
    assert site.kept("llama") == 2
    first = site.budget("llama")
    site.poll("llama", 3)
    assert site.budget("llama") == first  # nothing is written that is so already
    site.begin("llama", TWO, "llama-aaaaa")
    assert site.kept("llama") == 1
    site.begin("llama", spec(minReplicas=1), "llama-aaaaa")
    assert site.budget("llama") is None


def test_engines_beside_each_other_have_budgets_of_their_own_clusters(site: Site) -> None:
    """While one takes over from the other, or KubeRay replaces a cluster, their workers are not counted together."""
    site.begin("llama", TWO, "llama-aaaaa")
    site.begin("llama-e2", TWO, "llama-e2-bbbbb")
    selected = []
    for engine in ("llama", "llama-e2"):
        found = site.budget(engine)
        assert found is not None
        selected.append(found["spec"]["selector"]["matchLabels"])
    assert [labels["ray.io/cluster"] for labels in selected] == ["llama-aaaaa", "llama-e2-bbbbb"]
    assert {labels["ray.io/node-type"] for labels in selected} == {"worker"}
    site.begin("llama", TWO, "llama-ccccc")
    moved = site.budget("llama")
    assert moved is not None
    assert moved["spec"]["selector"]["matchLabels"]["ray.io/cluster"] == "llama-ccccc"


def test_a_drain_waits_until_the_replica_is_back_but_not_for_ever(site: Site) -> None:
    site.begin("llama", TWO, "llama-aaaaa")
    site.poll("llama", 1)
    assert site.kept("llama") == 2
    site.poll("llama", 2)
    assert site.kept("llama") == 1
    site.poll("llama", 1)
    site.clock.advance(HOLD.total_seconds())
    site.poll("llama", 1)
    assert site.budget("llama") is None


def test_a_budget_goes_with_its_engine(site: Site) -> None:
    site.begin("llama", TWO, "llama-aaaaa")
    site.engines.remove("llama")
    assert site.budget("llama") is None
    site.engines.remove("llama")


def test_somebody_elses_budget_is_left_alone_and_keeps_no_engine_from_answering(site: Site) -> None:
    theirs = {"minAvailable": 1, "selector": {"matchLabels": {"app": "theirs"}}}
    site.client.create(DISRUPTION_BUDGET, {"metadata": {"name": budget_name("llama")}, "spec": theirs})
    site.begin("llama", TWO, "llama-aaaaa")
    assert site.engines.status("llama").replicas_ready == 2
    site.engines.remove("llama")
    found = site.budget("llama")
    assert found is not None
    assert found["spec"]["selector"] == theirs["selector"]


def test_whoever_does_not_lead_writes_no_budget(site: Site) -> None:
    site.begin("llama", TWO, "llama-aaaaa")
    site.fence = None
    site.poll("llama", 1)
    assert site.kept("llama") == 1


def test_an_engine_is_not_ready_while_its_ray_is_replaced(site: Site) -> None:
    """KubeRay says at once that it has seen the spec; what answers for minutes, or for good, is the Ray before it."""
    site.begin("llama", TWO, "llama-aaaaa")
    assert site.engines.status("llama").ready
    body = site.client.get(RAY_SERVICE, "llama")
    assert body is not None
    condition = {
        "type": "UpgradeInProgress",
        "status": "True",
        "reason": "BothActivePendingClustersExist",
        "message": "Both active and pending Ray clusters exist",
        "lastTransitionTime": "2026-11-30T09:00:00Z",
    }
    status = {**body["status"], "observedGeneration": body["metadata"]["generation"], "conditions": [condition]}
    site.client.replace(RAY_SERVICE, {**body, "status": status}, status=True)
    site.objects.refresh()
    found = site.engines.status("llama")
    assert not found.ready
    assert "prepares the Ray of this spec" in found.message
    assert found.replicas_ready == 2, "and what serves is told as before"
