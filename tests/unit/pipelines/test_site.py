"""Packages for a site: what pods are given, what a backend of 2.14 can read, and what a wrong site file says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2

from pipelines.compile import PIPELINES
from pipelines.packages import compile_site
from pipelines.site import STEPS, TRAINING_STEPS, Retries, Site, read_site
from tidegate.adapters.kfp_packages import Package, caches, read_package
from tidegate.domain.node_pools import QUEUE_LABEL
from tidegate.errors import InvalidInput
from tidegate.kfp_settings import JobSettings

KNOWN_TO_2_14 = {
    "activeDeadlineSeconds": set(),
    "configMapAsVolume": {"configMapName", "configMapNameParameter", "mountPath", "optional"},
    "secretAsVolume": {"secretName", "secretNameParameter", "mountPath", "optional"},
    "emptyDirMounts": {"mountPath", "volumeName", "medium", "sizeLimit"},
    "fieldPathAsEnv": {"fieldPath", "name"},
    "podMetadata": {"labels", "annotations"},
    "pvcMount": {"constant", "pvcNameParameter", "mountPath"},
    "nodeSelector": {"labels"},
    "tolerations": {"key", "operator", "value", "effect"},
    "imagePullPolicy": set(),
    "imagePullSecret": {"secretName", "secretNameParameter"},
}
"""Fields of the kubernetes platform of KFP 2.14.3: it refuses a package with any other when it starts a run."""


def packages(tmp_path: Path, text: str = "", **files: str) -> dict[str, Package]:
    for name, content in files.items():
        (tmp_path / name.replace("_", ".")).write_text(content)
    site = tmp_path / "site.yaml"
    site.write_text(text)
    return {path.stem: read_package(path) for path in compile_site(read_site(site), tmp_path / "out", tmp_path)}


def pods(package: Package) -> dict[str, dict[str, Any]]:
    found: dict[str, Any] = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): config for name, config in found.items()}


def containers(package: Package) -> dict[str, dict[str, Any]]:
    found = package.spec["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): item["container"] for name, item in found.items()}


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container["env"]}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Package]:
    return packages(tmp_path_factory.mktemp("plain"))


FULL = """
release: ml
images: {registry: registry.example.com, tag: "7", pullPolicy: IfNotPresent, pullSecret: pull}
environment: {secret: ml-secret, variables: {HTTPS_PROXY: "http://proxy:3128"}}
nodePools: {file: pools.yaml}
claims: [{name: data, mountPath: /data}]
training: {nodePool: a100, gpus: 2, serviceAccount: trainer}
defaults: {labels: {team: x}, retries: {count: 1, backoffSeconds: 5}}
steps:
  prepare:
    nodePool: cpu
    resources: {cpu: "2", memory: 8Gi}
    timeoutSeconds: 600
    tolerations: [{key: spot, operator: Exists}]
  drift-check: {image: "other:1"}
"""
POOLS = """
a100:
  nodeSelector: {gpu: a100}
  gpusPerNode: 4
  cpu: "8"
  memory: 64Gi
  kueueQueue: team-a
  tolerations: [{key: nvidia.com/gpu, operator: Exists}]
cpu: {nodeSelector: {pool: cpu}}
"""


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Package]:
    return packages(tmp_path_factory.mktemp("full"), FULL, pools_yaml=POOLS)


def test_every_pipeline_has_a_package_that_the_format_s_definition_takes(full: dict[str, Package]) -> None:
    assert set(full) == set(PIPELINES)
    for package in full.values():
        for config in pods(package).values():
            json_format.ParseDict(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig())


def test_a_backend_of_2_14_knows_every_field(full: dict[str, Package], plain: dict[str, Package]) -> None:
    for package in (*full.values(), *plain.values()):
        for name, config in pods(package).items():
            assert set(config) <= set(KNOWN_TO_2_14), name
            for field, value in config.items():
                for item in value if isinstance(value, list) else [value]:
                    if isinstance(item, dict):
                        assert set(item) <= KNOWN_TO_2_14[field], f"{name}.{field}"


def test_the_same_site_gives_the_same_bytes(tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        found = packages(tmp_path / name, FULL, pools_yaml=POOLS)
        texts.append({stem: package.path.read_bytes() for stem, package in found.items()})
    assert texts[0] == texts[1]


def test_every_step_is_placed(plain: dict[str, Package]) -> None:
    assert {step for package in plain.values() for step in pods(package)} == set(STEPS)


def test_a_step_s_pod_has_its_environment_its_files_and_its_run(full: dict[str, Package]) -> None:
    config, container = pods(full["fine_tune"])["prepare"], containers(full["fine_tune"])["prepare"]
    assert container["image"] == "registry.example.com/tidegate/pipeline-data:7"
    assert {item["configMapName"]: item["mountPath"] for item in config["configMapAsVolume"]} == {
        "ml-pipelines-env": "/etc/tidegate/environment",
        "ml-node-pools": "/etc/tidegate/node-pools",
    }
    assert config["secretAsVolume"][0]["secretName"] == "ml-secret"
    assert variables(container)["TIDEGATE_ENV_FOLDERS"] == "/etc/tidegate/pipelines:/etc/tidegate/environment"
    assert variables(container)["HTTPS_PROXY"] == "http://proxy:3128"
    assert config["fieldPathAsEnv"] == [{"name": "TIDEGATE_RUN", "fieldPath": "metadata.labels['pipeline/runid']"}]
    assert config["pvcMount"][0]["mountPath"] == "/data"
    assert config["nodeSelector"] == {"labels": {"pool": "cpu"}}
    assert config["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    assert config["podMetadata"]["labels"] == {
        "app.kubernetes.io/part-of": "tidegate",
        "team": "x",
        "tidegate.dev/step": "prepare",
    }
    assert (config["imagePullPolicy"], config["imagePullSecret"][0]["secretName"]) == ("IfNotPresent", "pull")
    assert config["activeDeadlineSeconds"] == "600"
    assert container["resources"]["resourceCpuRequest"] == "2"
    assert container["resources"]["resourceMemoryLimit"] == "8Gi"
    assert containers(full["drift_check"])["drift-check"]["image"] == "other:1"


def test_a_thin_step_is_told_how_training_runs(full: dict[str, Package]) -> None:
    container = containers(full["retrain"])["fine-tune"]
    jobs = JobSettings.model_validate_json(variables(container)["TIDEGATE_JOBS"])
    assert (jobs.runner, jobs.node_pool, jobs.gpus, jobs.service_account) == ("rayjob", "a100", 2, "trainer")
    assert jobs.image == "registry.example.com/tidegate/train:7"
    assert (jobs.env_config, jobs.env_secret) == ("ml-pipelines-env", "ml-secret")
    thin = pods(full["retrain"])["fine-tune"]
    assert "nodeSelector" not in thin, "the thin step needs no GPU node"
    assert QUEUE_LABEL not in thin["podMetadata"]["labels"], "its RayJob waits in the queue"
    assert container["resources"]["resourceMemoryLimit"] == "1Gi"


def test_without_kuberay_the_step_s_own_pod_gets_the_gpus(tmp_path: Path) -> None:
    text = "training: {runner: step, nodePool: a100, gpus: 2}\nnodePools: {file: pools.yaml}"
    package = packages(tmp_path, text, pools_yaml=POOLS)["fine_tune"]
    for step in TRAINING_STEPS:
        config, container = pods(package)[step], containers(package)[step]
        assert "/train:" in container["image"]
        assert config["nodeSelector"] == {"labels": {"gpu": "a100"}}
        assert config["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
        assert container["resources"]["resourceMemoryLimit"] == "64Gi"
        wanted = {"fine-tune": "2", "evaluate": "1"}.get(step)  # registration computes on the CPU
        accelerator = container["resources"].get("accelerator", {})
        assert accelerator.get("resourceCount") == wanted
        assert accelerator.get("resourceType") == ("nvidia.com/gpu" if wanted else None)
        assert variables(container).get("TIDEGATE_TRAINING__GPUS") == wanted
        assert config["podMetadata"]["labels"][QUEUE_LABEL] == "team-a"
    assert "nodeSelector" not in pods(package)["prepare"]
    assert QUEUE_LABEL not in pods(package)["prepare"]["podMetadata"]["labels"]


def test_all_tries_of_a_step_fit_into_their_life(full: dict[str, Package], plain: dict[str, Package]) -> None:
    task = full["fine_tune"].spec["root"]["dag"]["tasks"]["prepare"]
    assert task["retryPolicy"] == {
        "maxRetryCount": 1,
        "backoffDuration": "5s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "1205s",
    }
    assert Retries(count=3, backoff_seconds=10, backoff_factor=3).lifetime(100) == 400 + 10 + 30 + 90
    for name, item in plain["retrain"].spec["root"]["dag"]["tasks"].items():
        timeout = int(pods(plain["retrain"])[name]["activeDeadlineSeconds"])
        life = int(item["retryPolicy"]["backoffMaxDuration"].removesuffix("s"))
        assert life >= timeout * (1 + item["retryPolicy"]["maxRetryCount"])


def test_what_one_step_says_of_its_retries_leaves_the_rest_as_it_is_for_all() -> None:
    usual = Retries(backoff_seconds=60)
    assert usual.merged(Retries(count=1)) == Retries(count=1, backoff_seconds=60)
    assert usual.merged(None) == usual


def test_a_life_that_no_package_can_hold_is_cut() -> None:
    longest = Retries(count=20, backoff_seconds=604_800, backoff_factor=10.0).lifetime(604_800)
    assert longest == 10 * 365 * 86_400


@pytest.mark.parametrize("folder", ["/dev/null/packages", "/proc/packages"])
def test_a_folder_that_cannot_be_made_is_named(folder: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(folder)) as caught:
        compile_site(Site(), Path(folder))
    assert "--out" in caught.value.next_step


def test_no_step_of_a_site_s_packages_is_cached(plain: dict[str, Package], full: dict[str, Package]) -> None:
    assert [caches(package.spec) for package in (*plain.values(), *full.values())] == [[]] * 2 * len(PIPELINES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("releas: x", "releas"),
        ("steps: {train: {}}", "steps.train: there is no such step"),
        ("steps: {prepare: {nodePool: a100}}", "'a100', which this site does not know"),
        ("environment: {secret: tidegate-pipelines-env}", "called 'tidegate-pipelines-env'"),
        ("claims: [{name: tidegate-node-pools, mountPath: /x}]", "called 'tidegate-node-pools'"),
        ("home: /etc", "home = '/etc'"),
        ("training: {gpus: -1}", "training.gpus = -1"),
        ("nodePools: {file: pools.yaml}\ntraining: {nodePool: l44}", "'l44', which this site does not know"),
        (
            "nodePools: {file: pools.yaml}\ntraining: {nodePool: l4, gpus: 8}",
            "training.gpus = 8, and a node of pool 'l4' has 1",
        ),
        ("training: {cluster: shared, gpus: 1}", "training.gpus = 1 beside training.cluster = 'shared'"),
        ("training: {cluster: shared, nodePool: a100}", "training.nodePool = 'a100' beside training.cluster"),
        ("training: {cluster: shared, runner: step}", "training.runner = 'step' beside training.cluster"),
        ("steps: {prepare: {resources: {memory: lots}}}", "steps.prepare.resources.memory = 'lots'"),
        ("defaults: {retries: {backoffSeconds: 300}}", "the retries of fine-tune wait up to 600 s"),
        (
            "steps: {evaluate: {retries: {count: 6}}}",
            "the retries of evaluate wait up to 320 s (backoffSeconds × backoffFactor for each try before)",
        ),
        ("defaults: {retries: {count: 1, backoffSeconds: 241}}", "wait up to 241 s"),
        ("training: {abandonedSeconds: 79}", "ends itself after 79 s"),
        ("a: [", "cannot be read"),
        ("- a", "(whole)"),
    ],
)
def test_a_wrong_site_file_is_named_with_field_and_value(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "pools.yaml").write_text("l4: {gpusPerNode: 1}")
    with pytest.raises(InvalidInput, match=re.escape(said)) as caught:
        packages(tmp_path, text)
    assert caught.value.next_step


@pytest.mark.parametrize(
    "text",
    [
        "defaults: {retries: {count: 1, backoffSeconds: 240}}",
        "defaults: {retries: {count: 0, backoffSeconds: 3000}}",
        "steps: {prepare: {retries: {backoffSeconds: 3000}}}",  # no job waits for it
        "training: {runner: step}\ndefaults: {retries: {backoffSeconds: 3000}}",
        "training: {reattachSeconds: 660}\ndefaults: {retries: {backoffSeconds: 300}}",
    ],
)
def test_retries_that_lose_no_job_are_taken(tmp_path: Path, text: str) -> None:
    assert packages(tmp_path, text)


def test_an_empty_site_is_the_chart_s_default() -> None:
    assert read_site(None) == Site()
    assert Site().config_map == "tidegate-pipelines-env"


def test_a_site_leaves_no_trace_in_the_pipelines_themselves(tmp_path: Path) -> None:
    """In a process of its own: a pipeline is built when it is first imported."""
    code = (
        "import sys; from pathlib import Path; from pipelines.packages import compile_site; "
        "from pipelines.site import read_site; from pipelines.compile import COMPILED, compile_all; "
        "out = Path(sys.argv[1]); compile_site(read_site(None), out / 'site'); "
        "assert all(path.read_text() == (COMPILED / path.name).read_text() for path in compile_all(out / 'plain'))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
