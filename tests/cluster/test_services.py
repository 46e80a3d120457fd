"""A release without local extras, on real PostgreSQL, S3 and Redis by TLS, as docs/cluster.md says.

The tests build on each other. An engine on the same services: tests/cluster/test_first_canary.py.
"""

from __future__ import annotations

import functools
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cluster import alerts, documented
from tests.cluster.helm import helm, install
from tests.cluster.installation import RELEASE, Installation, secret
from tests.cluster.node import ADDRESS, Node
from tests.cluster.services import BUCKET, Services, machine_values, prepared
from tests.cluster.steps import step
from tests.integration.registry.documents import version_document
from tidegate.adapters import storage
from tidegate.adapters.mlflow_models import MlflowModels
from tidegate.adapters.mlflow_registry import ADAPTER_PATH, VERSION_PATH, MlflowRegistry
from tidegate.migrations import REVISIONS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
_SHORT = ("--timeout", "40s")
"""For what never gets ready. Helm takes the last of two timeouts."""
_MODEL = "banking-intent"
_ALERTS = "SELECT body FROM alerts"
_USES = (
    "from tidegate.adapters import storage; from tidegate.db import Database\n"
    "from tidegate.settings import load_settings\n"
    "settings = load_settings()\n"
    "storage.write_text(storage.join(settings.artifacts_uri, 'from-a-step.txt'), 'x')\n"
    "print(Database.open(settings.database_url, migrate=False).revision())"
)
_STORES = (
    "from tidegate.settings import load_settings; from tidegate.adapters import storage;"
    "uri = storage.join(load_settings().artifacts_uri, 'from-a-pod.txt'); storage.write_text(uri, 'x');"
    "print(storage.read_text(uri))"
)


@pytest.fixture(scope="module")
def platform(node: Node, stands_on: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Its namespace and Secrets, one of which holds a wrong password; nothing is installed yet."""
    made = prepared(node, stands_on, "tidegate-services", tmp_path_factory.mktemp("platform"), password="not-it")
    yield made
    made.remove()


def test_a_wrong_password_is_said_and_the_right_one_heals(platform: Installation, stands_on: Services) -> None:
    node, namespace = platform.node, platform.namespace
    failed = _install(platform, stands_on, *_SHORT)
    assert failed.returncode != 0
    assert f"{RELEASE}-receiver" in failed.stderr, failed.stderr
    for component in ("receiver", "scorer"):
        look = functools.partial(_said, platform, component, "password authentication failed for user")
        why = node.until(f"{component} says why it ends", look, 60, functools.partial(node.story, namespace))
        assert "tidegate_user" in why
        assert "TIDEGATE_DATABASE_URL" in why
        assert "not-it" not in why
    node.apply(*stands_on.secrets(), namespace=namespace)
    instance = f"app.kubernetes.io/instance={RELEASE}"
    node.kubectl("rollout", "restart", "deployment", "-l", instance, namespace=namespace)  # as docs/chart.md says
    healed = _install(platform, stands_on)
    assert healed.returncode == 0, healed.stderr + node.story(namespace)
    pods = node.until("the former pods are gone", lambda: _settled(platform), seconds=60)
    assert {name.split("-")[1] for name in pods} == {"operator", "gateway", "scorer", "receiver", "mlflow"}
    assert set(pods.values()) == {0}, f"restarts: {pods}"
    assert httpx.get(f"{platform.url('gateway')}/readyz", trust_env=False, timeout=60).json()["status"] == "ready"


def test_pods_that_start_together_make_the_tables_once(stands_on: Services) -> None:
    assert stands_on.rows("SELECT version_num FROM alembic_version") == [REVISIONS[-1]]
    for table in ("alembic_version", "alerts", "ledger"):
        made = [line for line in stands_on.postgres.log().splitlines() if f"CREATE TABLE {table} (" in line]
        # MLflow keeps its own alembic_version in its own database.
        assert len(made) == (2 if table == "alembic_version" else 1), made


def test_an_alert_outlives_the_pod_that_took_it(platform: Installation, stands_on: Services) -> None:
    assert alerts.post(platform, "outlives").status_code == 202
    receivers = [name for name in platform.pods() if name.startswith(f"{RELEASE}-receiver")]
    platform.node.kubectl("delete", "pod", *receivers, namespace=platform.namespace)
    assert _alerts(stands_on) == ["outlives"]
    platform.node.kubectl(
        "rollout", "status", f"deployment/{RELEASE}-receiver", "--timeout=120s", namespace=platform.namespace
    )
    again = platform.node.until("a new pod answers", lambda: _posted(platform, "outlives"), seconds=60)
    assert again.json()["new"] == 0


def test_a_registered_version_lies_in_the_bucket(
    platform: Installation, stands_on: Services, here: None, tmp_path: Path
) -> None:
    url = platform.url("mlflow")
    models = MlflowModels(url)
    pending = models.begin(_MODEL, key="run-1", run_name="run-1", tags={})
    assert pending.location.startswith(f"s3://{BUCKET}/mlflow/")
    adapter = storage.join(pending.location, ADAPTER_PATH)
    storage.write_bytes(storage.join(adapter, "adapter_model.safetensors"), b"weights")
    models.attach(pending, {"evaluation.html": b"<p>good</p>"})
    document = version_document(name=_MODEL, adapter_uri=adapter)
    storage.write_bytes(storage.join(pending.location, VERSION_PATH), document.model_dump_json().encode())
    number = MlflowRegistry(url, cache=tmp_path / "a").register(
        document, run_id=pending.run_id, idempotency_key="run-1"
    ).version  # fmt: skip
    found = MlflowRegistry(url, cache=tmp_path / "b").get(_MODEL, number)
    assert (storage.local_path(found.adapter.uri, tmp_path) / "adapter_model.safetensors").read_bytes() == b"weights"
    keys = stands_on.minio.keys(BUCKET, "mlflow/")
    assert [key for key in keys if key.endswith(f"{ADAPTER_PATH}/adapter_model.safetensors")]
    # MLflow's pages list a run's files by the server's own client, image and environment.
    listed = httpx.get(
        f"{url}/api/2.0/mlflow/artifacts/list", params={"run_id": pending.run_id}, trust_env=False, timeout=60
    )
    assert listed.status_code == 200, listed.text
    assert [item["path"] for item in listed.json()["files"]] == ["evaluation.html"]


def test_pods_reach_the_bucket_with_what_the_chart_gives_them(platform: Installation, stands_on: Services) -> None:
    said = platform.node.kubectl(
        "exec", f"deployment/{RELEASE}-gateway", "--", "python", "-c", _STORES, namespace=platform.namespace
    )
    assert said.strip() == "x"
    assert stands_on.minio.keys(BUCKET, "artifacts/") == ["artifacts/from-a-pod.txt"]


@pytest.mark.parametrize(
    ("component", "program", "variable", "server"),
    [
        ("receiver", "-m monitoring.alerts", "PGSSLROOTCERT", "the certificate of the database at"),
        ("gateway", f"-c {shlex.quote(_STORES)}", "AWS_CA_BUNDLE", f"the certificate of the storage of s3://{BUCKET}/"),
    ],
)
def test_without_the_authority_a_component_says_which_server_and_what_to_do(
    platform: Installation, stands_on: Services, component: str, program: str, variable: str, server: str
) -> None:
    """A process more in its own pod, with all that the chart gives it but that."""
    unset = "env -u PGSSLROOTCERT -u AWS_CA_BUNDLE -u SSL_CERT_FILE -u REQUESTS_CA_BUNDLE TIDEGATE_RECEIVER_PORT=18085"
    pod = ("exec", f"deployment/{RELEASE}-{component}", "--", "sh", "-c")
    said = platform.node.kubectl(
        *pod, f"{unset} timeout 60 python {program} 2>&1 || true", namespace=platform.namespace
    )
    assert server in said, said
    assert ADDRESS in said
    assert "cannot be verified" in said
    assert f"in {variable}; on a cluster set the chart's certificateAuthority" in said
    assert stands_on.passwords["tidegate"] not in said
    assert stands_on.minio.environment["AWS_SECRET_ACCESS_KEY"] not in said


def test_a_step_finds_the_certificates_among_the_keys_of_its_secret(
    platform: Installation, stands_on: Services
) -> None:
    """A pod with the folders of a package's step, without Kubeflow Pipelines, which needs gigabytes."""
    keys = {name: stands_on.minio.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    keys |= {
        "TIDEGATE_DATABASE_URL": stands_on.database_url("tidegate"),
        "ca.crt": stands_on.authority.file.read_text(),
    }
    own = secret("tidegate-pipelines", {name: value.encode() for name, value in keys.items()})
    platform.node.apply(own, step(_USES), namespace=platform.namespace)

    def ended() -> bool:
        phase = platform.node.get("pod", "step", platform.namespace)["status"].get("phase")
        return phase in {"Succeeded", "Failed"}

    story = functools.partial(platform.node.story, platform.namespace)
    platform.node.until("the step has ended", ended, seconds=90, told=story)
    said = platform.node.kubectl("logs", "step", namespace=platform.namespace)
    assert said.splitlines()[-1:] == [REVISIONS[-1]], said
    assert "artifacts/from-a-step.txt" in stands_on.minio.keys(BUCKET, "artifacts/")
    platform.node.kubectl("delete", "pod", "step", "--wait=false", namespace=platform.namespace)


def test_without_its_database_nothing_is_half_taken_and_no_pod_ends(
    platform: Installation, stands_on: Services
) -> None:
    before, receiver = platform.pods(), alerts.Receiver.of(platform)
    stands_on.postgres.stop()
    try:
        refused = alerts.post(platform, "refused", receiver=receiver)  # before the receivers leave their Service
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        platform.wait_for_gateway()
        platform.node.until("the receivers leave their Service", lambda: not _ready_receivers(platform), seconds=90)
    finally:
        stands_on.postgres.start()
    platform.node.until("the receivers are back", lambda: len(_ready_receivers(platform)) == 2, seconds=90)
    assert _alerts(stands_on) == ["outlives"]
    taken = platform.node.until("an alert is taken", lambda: _posted(platform, "refused"), seconds=60)
    assert taken.json()["new"] == 1
    assert _alerts(stands_on) == ["outlives", "refused"]
    assert platform.pods() == before, "a pod was ended or restarted"


def test_an_uninstallation_leaves_database_and_bucket_alone(platform: Installation, stands_on: Services) -> None:
    keys = stands_on.minio.keys(BUCKET)
    done = helm(platform.node, "uninstall", RELEASE, "--wait", namespace=platform.namespace)
    assert done.returncode == 0, done.stderr
    assert _alerts(stands_on) == ["outlives", "refused"]
    assert stands_on.minio.keys(BUCKET) == keys != []


# --- helpers ----------------------------------------------------------------------------------------------------------


def _install(platform: Installation, stands_on: Services, *more: str) -> subprocess.CompletedProcess[str]:
    values = [documented.values(), machine_values(stands_on)]
    return install(platform.node, RELEASE, platform.namespace, values, platform.home, *more)


def _said(platform: Installation, component: str, words: str) -> str:
    """The line with these words that its containers said, those that have ended too."""
    pods = ("logs", "-l", f"app.kubernetes.io/component={component}", "--tail=50")
    said = [
        platform.node.kubectl(*pods, *which, namespace=platform.namespace, check=False)
        for which in ((), ("--previous",))
    ]
    return next((line for line in "".join(said).splitlines() if words in line), "")


def _settled(platform: Installation) -> dict[str, int]:
    """The pods' restarts, once as many run as are wanted."""
    deployments = platform.node.list("deployments", platform.namespace)
    running = platform.pods()
    return running if len(running) == sum(item["spec"]["replicas"] for item in deployments) else {}


def _ready_receivers(platform: Installation) -> list[str]:
    slices = platform.node.list(
        "endpointslices", platform.namespace, "-l", f"kubernetes.io/service-name={RELEASE}-receiver"
    )
    return [
        endpoint["targetRef"]["name"]
        for item in slices
        for endpoint in item.get("endpoints") or []
        if endpoint["conditions"].get("ready")
    ]


def _posted(platform: Installation, name: str) -> httpx.Response | None:
    try:
        answer = alerts.post(platform, name)
    except httpx.TransportError:
        return None
    return answer if answer.status_code == 202 else None


def _alerts(stands_on: Services) -> list[str]:
    names = [json.loads(row) if isinstance(row, str) else row for row in stands_on.rows(_ALERTS)]
    return sorted(name["labels"]["alertname"] for name in names)
