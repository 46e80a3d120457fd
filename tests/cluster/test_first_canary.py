"""docs/cluster.md from step 4 on: a base model in a bucket, features in Redis, the first version, the first canary.

The tests build on each other. Commands are the page's own; versions are registered as a pipeline's last step does
it, since Kubeflow Pipelines has tests of its own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import yaml

from components.features.logic import invented_history
from components.features.profiles import profile_history
from components.features.template import CUSTOMER_PROFILE, template_for
from tests.cluster import documented
from tests.cluster.helm import install
from tests.cluster.installation import RELEASE, Installation, manifests
from tests.cluster.machine import HEAD, pool_here
from tests.cluster.network import address, bystander, listens, reaches, started
from tests.cluster.node import ADDRESS, ROOT, Json, Node, folder_claims, python_folders
from tests.cluster.people import Person
from tests.cluster.services import BUCKET, Services, machine_values, prepared
from tests.model_manifests import NAME, deployment
from tests.model_versions import BASE, MODEL, TEMPLATE, Versions, adapters, messages
from tidegate import inference_log
from tidegate.adapters import storage
from tidegate.adapters.base_model import resolve_base_model
from tidegate.adapters.feast_site import SharedSite
from tidegate.adapters.feast_store import FeastRepository
from tidegate.adapters.mlflow_registry import MlflowRegistry
from tidegate.settings import load_settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
_POOL = "gpu-l4"
"""As docs/cluster.md names it; here its nodes are CPUs."""
_POOL_LABEL = "node.example.com/pool"
_BASE_URI = f"s3://{BUCKET}/base/SmolLM2-135M-Instruct"
_CUSTOMER = "c1"
_EXAMPLE = ROOT / "examples" / "gitops" / "environments" / "dev" / "models"
_ENGINEERS = "ml-engineers"
_PROMPT = template_for(tuple(CUSTOMER_PROFILE.fields), TEMPLATE.labels)
_STEPS = [{"name": "shadow", "weight": 0, "minPairs": 20}, {"name": "half", "weight": 50, "minPairs": 8}]
_PLAN = deployment(steps=_STEPS)["spec"]["rollout"]
"""Decides earlier than the example's, which wants some hundreds of pairs and a minute of baking."""


@pytest.fixture(scope="module")
def platform(node: Node, stands_on: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Installed, with a pool on this node."""
    made = prepared(node, stands_on, "tidegate-canary", tmp_path_factory.mktemp("first-canary"))
    node.apply(*folder_claims(made.namespace, python_folders()))
    node.kubectl("label", "nodes", "--all", "--overwrite", f"{_POOL_LABEL}={_POOL}")
    values = machine_values(stands_on) | {"gpuNodePools": {_POOL: pool_here()}, "engines": {"head": HEAD}}
    done = install(node, RELEASE, made.namespace, [documented.values(), values], made.home)
    assert done.returncode == 0, done.stderr + node.story(made.namespace)
    yield made
    made.remove()
    node.kubectl("label", "nodes", "--all", f"{_POOL_LABEL}-")


@pytest.fixture(scope="module")
def platform_engineer(platform: Installation) -> Person:
    return Person(platform.node, platform.home)


@pytest.fixture(scope="module")
def ml_engineer(platform: Installation, stands_on: Services) -> Person:
    """Has the rights that the page gives, its environment, and the programs of its loop."""
    if missing := [name for name in ("jq", "curl") if shutil.which(name) is None]:
        subprocess.run([ROOT / "hack" / "apt-install.sh", *missing], check=True, capture_output=True)
    known = {**stands_on.minio.environment, **stands_on.trusted, "TIDEGATE_PROFILE": "local"}
    known["TIDEGATE_DATABASE_URL"] = stands_on.database_url("tidegate")
    known["TIDEGATE_CACHE"] = str(platform.home / "cache")
    return Person(platform.node, platform.home, _ENGINEERS, known)


def test_an_engine_loads_its_base_model_from_the_bucket(
    platform: Installation, platform_engineer: Person, ml_engineer: Person, here: None
) -> None:
    storage.copy_tree(str(resolve_base_model(BASE, load_settings().cache).folder), _BASE_URI)
    (runtime,) = manifests(_EXAMPLE / "modelruntime.yaml")
    runtime["spec"]["baseModel"]["uri"] = _BASE_URI
    runtime["spec"]["placement"] |= {"nodePool": _POOL, "gpusPerReplica": 0}
    (wanted,) = manifests(_EXAMPLE / "modeldeployment.yaml")
    wanted["spec"]["rollout"] = _PLAN
    (platform.home / "models").mkdir()
    for name, made in (("modelruntime", runtime), ("modeldeployment", wanted)):
        (platform.home / "models" / f"{name}.yaml").write_text(yaml.safe_dump(made))
    watching = "kubectl -n models get mdep -w\n"  # has no end
    told = documented.commands("create role tidegate-ml", {watching: "", "-n models": f"-n {platform.namespace}"})
    platform_engineer.run(told, seconds=400)
    can_i = f"kubectl -n {platform.namespace} auth can-i get modeldeployments.tidegate.dev || true"
    platform.node.until("the engineer's rights are in force", lambda: ml_engineer.run(can_i).strip() == "yes")
    assert NAME in ml_engineer.run(f"kubectl -n {platform.namespace} get mdep")
    for what in ("get secrets", "delete modelruntimes.tidegate.dev"):
        assert ml_engineer.run(f"kubectl -n {platform.namespace} auth can-i {what} || true").strip() == "no"


def test_the_first_version_answers_with_the_features_that_a_pipeline_wrote(
    platform: Installation, stands_on: Services, ml_engineer: Person, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_features(platform, stands_on, monkeypatch)
    assert _register(platform, monkeypatch) == {"good": "1", "same": "2"}
    _nominate(platform, ml_engineer, "1")
    status = platform.phase("Succeeded", seconds=300)
    assert (status["stable"], status["reason"]) == ("1", "InitialDeployment")
    platform.node.until("the gateway lists the model", platform.driver().serves, seconds=60, told=platform.story)
    with ml_engineer.forwarded(platform.namespace, f"{RELEASE}-gateway", 8080) as gateway:
        forwarding = "kubectl -n models port-forward service/tidegate-gateway 8080 &\n"
        asking = {forwarding: "", "localhost:8080": gateway, "user-17": _CUSTOMER}
        line = documented.commands("where is my new card?", asking)
        answer = json.loads(ml_engineer.run(line, {"key": platform.keys()["app"]}))
    assert answer["choices"][0]["message"]["content"]
    rows = platform.node.until("the request is in the log", lambda: _logged(stands_on), seconds=60)
    assert rows[-1]["outcome"] == "ok"
    assert json.loads(rows[-1]["features"]) == profile_history(_CUSTOMER, datetime.now(UTC))[-1][1]
    assert "cli:" in ml_engineer.run("tidegate ledger list --kind alias.set")


def test_pods_that_no_policy_names_reach_the_gateway_and_nothing_behind_it(
    platform: Installation, stands_on: Services
) -> None:
    node, namespace, elsewhere = platform.node, platform.namespace, "tidegate-strangers"
    node.end_namespace(elsewhere)
    node.make_namespace(elsewhere)
    for place in (namespace, elsewhere):
        started(node, place, bystander("stranger"))
    head = address(node, namespace, **{"tidegate.dev/runtime": "assistants", "ray.io/node-type": "head"})
    cluster_ips = {name: urlsplit(platform.url(name)).hostname or "" for name in ("gateway", "receiver", "mlflow")}
    ray = [(head, port) for port in (6379, 8265, 10001)]
    mlflow = (cluster_ips["mlflow"], 5000)
    assert all(listens(*place) for place in (*ray, mlflow))
    for open_to_all in ((cluster_ips["gateway"], 8080), (cluster_ips["receiver"], 8085)):
        assert reaches(node, elsewhere, "stranger", *open_to_all)
    # Runs of these values live in the release's namespace, whose pods may so ask MLflow; the engines are nobody's.
    assert [place for place in ray if reaches(node, namespace, "stranger", *place)] == []
    assert [place for place in (*ray, mlflow) if reaches(node, elsewhere, "stranger", *place)] == []
    node.end_namespace(elsewhere)
    storage_port = urlsplit(stands_on.minio.url).port or 0
    gateway, kubelet = f"deployment/{RELEASE}-gateway", 21250
    assert listens(ADDRESS, kubelet)
    allowed = {place: reaches(node, namespace, gateway, ADDRESS, place) for place in (storage_port, kubelet)}
    assert allowed == {storage_port: True, kubelet: False}


def test_a_canary_wins_all_users_without_a_failed_request_or_a_new_pod(
    platform: Installation, stands_on: Services, ml_engineer: Person, here: None
) -> None:
    before = platform.pods()
    rows = [f"{message.text}\t{message.intent}\n" for message, _ in zip(messages("any"), range(100), strict=False)]
    (platform.home / "labelled.tsv").write_text("".join(rows))
    keys = platform.keys()
    with ml_engineer.forwarded(platform.namespace, f"{RELEASE}-gateway", 8080) as gateway:
        script = documented.commands("labelled.tsv", {"localhost:8080": gateway})
        with ml_engineer.again_and_again(script, {"key": keys["app"], "labeller": keys["labeller"]}):
            _nominate(platform, ml_engineer, "2")
            platform.until("the rollout begins", lambda status: status.get("candidate") == "2", seconds=60)
            status = platform.phase("Succeeded", seconds=400)
    assert status["stable"] == "2"
    assert platform.pods() == before
    told = ml_engineer.run(f"tidegate rollout explain {NAME} -n {platform.namespace}")
    assert "the last rollout, of version 2, is promoted" in told
    assert f"{NAME}-" in ml_engineer.run(f"kubectl -n {platform.namespace} get mro")
    served = platform.node.until("the last requests are in the log", lambda: _of_version(stands_on, "2"), seconds=60)
    assert {row["outcome"] for row in served} == {"ok"}


def test_users_do_not_notice_that_a_ray_head_is_lost(platform: Installation) -> None:
    """What Ray's head knows is in Redis: its successor finds the worker that serves, which goes on meanwhile."""
    (lost,), workers = _ray_pods(platform, "head"), _ray_pods(platform, "worker")
    driver = platform.driver()
    with driver.background(messages("head"), per_second=3):
        platform.node.kubectl("delete", "pod", lost, namespace=platform.namespace)
        platform.node.until(
            "another head is ready",
            lambda: _ray_pods(platform, "head", ready=True) not in ([], [lost]),
            seconds=150,
            told=platform.story,
        )
    assert driver.tally.failed == []
    assert len(driver.tally.answers) > 30
    platform.node.until("the worker is ready", lambda: _ray_pods(platform, "worker", ready=True) == workers, seconds=90)
    assert sum(count for name, count in platform.pods().items() if name in workers) == 0


def test_an_engine_that_is_deleted_leaves_the_features_alone_in_redis(
    platform: Installation, stands_on: Services
) -> None:
    node, namespace = platform.node, platform.namespace
    with stands_on.redis.client() as client:
        assert client.dbsize() > 1
    # As docs/chart.md has it.
    node.kubectl("delete", "modeldeployments,modelruntimes", "--all", "--wait", namespace=namespace)
    node.kubectl("wait", "rayclusters", "--all", "--for=delete", "--timeout=5m", namespace=namespace, seconds=320)
    with stands_on.redis.client() as client:
        assert client.dbsize() == 1, client.keys()


# --- helpers ----------------------------------------------------------------------------------------------------------


def _write_features(platform: Installation, stands_on: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the features step does it, by the configuration that the chart gave to gateways and steps."""
    config = platform.home / "feature_store.yaml"
    config.write_text(platform.value("configmap", f"{RELEASE}-features", config.name))
    monkeypatch.setenv("TIDEGATE_DATABASE_URL", stands_on.database_url("tidegate"))
    monkeypatch.setenv("FEAST_REDIS_PASSWORD", stands_on.redis.password)
    site = SharedSite(config, f"s3://{BUCKET}/artifacts/features", stands_on.database_url("tidegate"))
    now = datetime.now(UTC)
    FeastRepository(site).update(CUSTOMER_PROFILE, invented_history([_CUSTOMER], now), now)


def _register(platform: Installation, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Two versions, signed with the installation's key; their numbers."""
    key = platform.home / "attestation.key"
    key.write_text(platform.value("secret", "tidegate-attestation", key.name))
    cache = platform.home / "cache"
    monkeypatch.setenv("TIDEGATE_CACHE", str(cache))
    url = platform.url("mlflow")
    registry = MlflowRegistry(url, cache=cache)
    made = Versions(registry=registry, mlflow_uri=url, key=key, adapters=adapters(), base=_BASE_URI, prompt=_PROMPT)
    return {name: made.register(name) for name in ("good", "same")}


def _ray_pods(platform: Installation, kind: str, *, ready: bool = False) -> list[str]:
    """Pods of the engine that are not on their way out; `ready`: only those that are."""
    found = platform.node.list("pods", platform.namespace, "-l", f"ray.io/node-type={kind}")
    return [
        pod["metadata"]["name"]
        for pod in found
        if "deletionTimestamp" not in pod["metadata"]
        and (not ready or all(state["ready"] for state in pod["status"].get("containerStatuses", [{"ready": False}])))
    ]


def _nominate(platform: Installation, person: Person, version: str) -> None:
    with person.forwarded(platform.namespace, f"{RELEASE}-mlflow", 5000) as mlflow:
        chosen = {"TIDEGATE_MLFLOW_URI": f"http://{mlflow}"}
        assert version in person.run(f"tidegate models list {MODEL}", chosen)
        person.run(f"tidegate models alias {MODEL}/{version} challenger", chosen)


def _logged(stands_on: Services) -> list[Json]:
    """The requests in the log of the bucket, the oldest first."""
    now = datetime.now(UTC)
    root = f"s3://{BUCKET}/inference-log"
    found: list[Json] = inference_log.read_window(root, NAME, now - timedelta(hours=1), now).to_pylist()
    return found


def _of_version(stands_on: Services, version: str) -> list[Json]:
    """All of the log, once a request of that version is in it."""
    found = _logged(stands_on)
    return found if any(row["version"] == version for row in found) else []
