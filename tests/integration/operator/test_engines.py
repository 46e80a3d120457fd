"""RayServices as they are declared, signed, refused and removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving.operator.engines import RayServiceEngines
from serving.operator.fleet import KubeFleet
from serving.operator.objects import EPOCH, Objects
from serving.operator.rayservice import serve_config, service_name
from tests.integration.operator.test_rayservice import CPU, SITE, SLOT, spec
from tidegate.adapters.kube.api import KubeApi as Client
from tidegate.adapters.kube.kinds import OWN, RAY_SERVICE, SERVICE
from tidegate.errors import Conflict, InvalidInput, NotFound
from tidegate.store.leases import Fence

pytestmark = pytest.mark.integration


class Lead:
    """The lease that this operator holds; None: another leads."""

    def __init__(self) -> None:
        self.fence: Fence | None = Fence("tidegate-controller", 1)


@pytest.fixture
def lead() -> Lead:
    return Lead()


@pytest.fixture
def watched(client: Client) -> Objects:
    """Without a lease to check: these tests hold none."""
    made = Objects(client, lambda fence: None)
    made.refresh()
    return made


@pytest.fixture
def engines(watched: Objects, lead: Lead, tmp_path: Path) -> RayServiceEngines:
    return RayServiceEngines(watched, SITE, None, tmp_path, lambda: lead.fence)


def declared(client: Client, name: str = "smollm2") -> dict[str, Any]:
    found = client.get(RAY_SERVICE, name)
    assert found is not None
    return found


def test_declaring_twice_writes_once_and_adapters_change_only_the_configuration(
    engines: RayServiceEngines, client: Client
) -> None:
    engines.ensure("smollm2", CPU, [])
    first = declared(client)
    engines.ensure("smollm2", CPU, [])
    assert declared(client)["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    engines.ensure("smollm2", CPU, [SLOT])
    second = declared(client)
    assert second["spec"]["rayClusterConfig"] == first["spec"]["rayClusterConfig"]
    config = serve_config(second)["applications"][0]["deployments"][0]["user_config"]
    assert [adapter["id"] for adapter in config["adapters"]] == [SLOT.id]


def test_an_engine_whose_revision_somebody_deleted_is_still_known(
    engines: RayServiceEngines, client: Client, watched: Objects
) -> None:
    """Else nobody would ever remove its RayService, and its GPUs."""
    fleet = KubeFleet(watched, SITE.settings)
    for name in ("smollm2", "smollm2-e3", "smollm2-extra", "other"):
        engines.ensure(name, CPU, [])
    assert fleet.engines("smollm2") == ["", "e3"]
    assert fleet.engines("nothing") == [""]


def test_a_service_of_somebody_else_is_not_removed_with_an_engine(engines: RayServiceEngines, client: Client) -> None:
    ports = [{"port": 80}]
    client.create(SERVICE, {"metadata": {"name": service_name("theirs")}, "spec": {"ports": ports}})
    with pytest.raises(Conflict, match="not tidegate's"):
        engines.remove("theirs")
    assert client.get(SERVICE, service_name("theirs")) is not None


def test_a_token_that_was_rotated_is_read_again(watched: Objects, lead: Lead, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    engines = RayServiceEngines(watched, SITE, token, tmp_path, lambda: lead.fence)
    before = engines._ray("smollm2", "smollm2-abc")
    assert engines._ray("smollm2", "smollm2-abc") is before
    token.write_text("second\n")
    after = engines._ray("smollm2", "smollm2-abc")
    assert after is not before
    assert engines._ray("smollm2", "smollm2-abc") is after


def test_what_people_changed_by_hand_is_put_right(engines: RayServiceEngines, client: Client, watched: Objects) -> None:
    engines.ensure("smollm2", CPU, [SLOT])
    body = declared(client)
    client.replace(RAY_SERVICE, {**body, "spec": {**body["spec"], "serveConfigV2": "applications: []"}})
    watched.refresh()
    engines.ensure("smollm2", CPU, [SLOT])
    assert serve_config(declared(client))["applications"][0]["name"] == "smollm2"


def test_a_new_leader_signs_what_an_older_one_declared(engines: RayServiceEngines, client: Client, lead: Lead) -> None:
    engines.ensure("smollm2", CPU, [])
    stale = declared(client)
    lead.fence = Fence("tidegate-controller", 2)
    engines.ensure("smollm2", CPU, [])
    signed = declared(client)
    assert signed["metadata"]["annotations"][EPOCH] == "2"
    assert signed["spec"] == stale["spec"]
    with pytest.raises(Conflict):
        client.replace(RAY_SERVICE, stale)


def test_whoever_does_not_lead_declares_nothing(engines: RayServiceEngines, client: Client, lead: Lead) -> None:
    lead.fence = None
    with pytest.raises(Conflict, match="does not lead"):
        engines.ensure("smollm2", CPU, [])
    assert client.get(RAY_SERVICE, "smollm2") is None


def test_a_name_that_is_taken_is_left_alone(engines: RayServiceEngines, client: Client, watched: Objects) -> None:
    engines.ensure("smollm2", CPU, [])
    mine = declared(client)
    foreign = {"metadata": {"name": "theirs"}, "spec": mine["spec"]}
    client.create(RAY_SERVICE, foreign)
    watched.refresh()
    said = r"'theirs' exists and is not tidegate's\. Rename the ModelRuntime"
    with pytest.raises(Conflict, match=said):
        engines.ensure("theirs", CPU, [])
    with pytest.raises(Conflict, match=said):
        engines.remove("theirs")
    assert declared(client, "theirs")["spec"] == mine["spec"]


def test_a_rayservice_that_is_refused_says_why(engines: RayServiceEngines) -> None:
    with pytest.raises(InvalidInput, match=r"the API server refuses .*metadata\.name: Invalid value"):
        engines.ensure("smol_lm", CPU, [])


def test_an_engine_that_kuberay_has_not_begun_is_not_ready(engines: RayServiceEngines) -> None:
    with pytest.raises(NotFound):
        engines.status("smollm2")
    engines.ensure("smollm2", CPU, [])
    status = engines.status("smollm2")
    assert not status.ready
    assert "is its operator installed?" in status.message


def test_removing_takes_the_service_along_and_twice_is_no_error(engines: RayServiceEngines, client: Client) -> None:
    engines.ensure("smollm2", spec(), [])
    engines.remove("smollm2")
    engines.remove("smollm2")
    assert client.get(RAY_SERVICE, "smollm2") is None
    assert client.get(SERVICE, service_name("smollm2")) is None


def test_no_cascade_takes_an_engine_from_under_those_who_use_it(
    engines: RayServiceEngines, client: Client, watched: Objects
) -> None:
    watched.create(
        OWN["ModelRuntime"], {"metadata": {"name": "smollm2"}, "spec": {"baseModel": {"uri": "s3://models/a"}}}, None
    )
    engines.ensure("smollm2", CPU, [])
    assert "ownerReferences" not in declared(client)["metadata"]
