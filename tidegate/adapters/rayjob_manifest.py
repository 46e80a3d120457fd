"""A step's job as a RayJob of KubeRay (v1.6, v1.7). Rendering is pure, and the same work gives the same object.

The head does the work itself: one pod for one worker, no idle head beside a GPU. More workers are further pods, or
share one where the site gives a pod several GPUs. A worker trains on one GPU, so a job gets exactly as many as workers.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tidegate.adapters.job_folder import digest
from tidegate.adapters.kube.kinds import ApiKind
from tidegate.adapters.kube.ray_pods import env_from, on_nodes, ray_pod, resources
from tidegate.cluster_settings import ClusterSettings
from tidegate.domain.node_pools import QUEUE_LABEL, NodePool
from tidegate.errors import InvalidInput
from tidegate.kfp_settings import JobSettings
from tidegate.ports import JobSpec

Json = dict[str, Any]
RAY_JOB: Final = ApiKind("RayJob", "ray.io/v1", "rayjobs")
JOB: Final = "tidegate.dev/job"
KEY, DIGEST = "tidegate.dev/job-key", "tidegate.dev/job-digest"
CLUSTER_LABEL: Final = "ray.io/cluster"
_HOME: Final = "/var/lib/tidegate"
_LONGEST_NAME: Final = 47
"""KubeRay's MaxRayJobNameLength."""
_HASH: Final = 16
_NO_CHARACTERS = re.compile(r"[^a-z0-9]+")
_SPARE_SECONDS: Final = 120
"""A step notices first that its job does not begin and says why; KubeRay's deadline is for when no step is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSite:
    """What the platform adds to a job."""

    jobs: JobSettings
    cluster: ClusterSettings
    pools: Mapping[str, NodePool]


def rayjob_name(key: str, attempt: int) -> str:
    """`<step>-<hash of the key>-<attempt>`: whoever carries this step out finds the job of an earlier pod by it."""
    hashed = hashlib.sha256(key.encode()).hexdigest()[:_HASH]
    tail = f"-{hashed}-{attempt}"
    step = _NO_CHARACTERS.sub("-", key.rpartition("/")[2].lower()).strip("-")[: _LONGEST_NAME - len(tail)].rstrip("-")
    return f"{step if step[:1].isalpha() else f'job-{step}'.rstrip('-')[: _LONGEST_NAME - len(tail)]}{tail}"


def rayjob(job: JobSpec, attempt: int, folder: str, site: JobSite) -> Json:
    """The RayJob of an attempt, without what the API server adds.

    Args:
        folder: address of the job's folder.

    Raises:
        InvalidInput: no image, no such node pool, or it has not the GPUs.
    """
    settings, name = site.jobs, rayjob_name(job.key, attempt)
    pool_name, pool = _pool(job, site)
    labels = {"app.kubernetes.io/managed-by": "tidegate", "app.kubernetes.io/part-of": "tidegate", JOB: name}
    metadata: Json = {
        "name": name,
        "labels": dict(labels),
        "annotations": {KEY: job.key, DIGEST: digest(job), "tidegate.dev/node-pool": pool_name},
    }
    spec: Json = {
        "entrypoint": _entrypoint(folder, attempt, settings, gpus_of(job, settings)),
        "submissionMode": "HTTPMode",
        "backoffLimit": 0,
        "activeDeadlineSeconds": settings.deadline_seconds,  # KubeRay's to notice, and the step's to tell
        "preRunningDeadlineSeconds": settings.pending_seconds + _SPARE_SECONDS,
    }
    if settings.cluster:
        spec["clusterSelector"] = {CLUSTER_LABEL: settings.cluster}
        if gpus_of(job, settings) == 1:  # on a node that has one, and reserved: the work is done in this very process
            spec["entrypointNumGpus"] = 1
    else:
        if pool.kueue_queue:
            metadata["labels"][QUEUE_LABEL] = pool.kueue_queue
        spec |= {
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": settings.ttl_seconds,
            "rayClusterSpec": _cluster(job, labels, pool, site),
        }
    return {"metadata": metadata, "spec": spec}


def _entrypoint(folder: str, attempt: int, settings: JobSettings, gpus: int) -> str:
    command = ["python", "-m", "tidegate.adapters.rayjob_main", folder, str(attempt)]
    command += ["--reattach", str(settings.reattach_seconds), "--abandoned", str(settings.abandoned_seconds)]
    command += ["--gpus", str(gpus)] if gpus else []
    return shlex.join(command)


def _cluster(job: JobSpec, labels: Mapping[str, str], pool: NodePool, site: JobSite) -> Json:
    head, *others = pods_of(job, site.jobs)
    if pool.price_per_hour is not None:  # of a node; the training multiplies a worker's
        price = float(pool.price_per_hour) * (1 + len(others)) / workers_of(job)
        pool = pool.model_copy(update={"price_per_hour": f"{price:g}"})

    def wanted(gpus: int) -> Json:
        return resources(pool.cpu, pool.memory, pool.gpu_resource, gpus)

    made: Json = {
        "rayVersion": site.cluster.ray_version,
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": "0.0.0.0"},  # noqa: S104 - inside the pod; KubeRay submits to it
            "template": _pod("head", labels, wanted(head), pool, site),
        },
    }
    if others:
        made["workerGroupSpecs"] = [
            {
                "groupName": "workers",
                "replicas": len(others),
                "minReplicas": len(others),
                "maxReplicas": len(others),
                "rayStartParams": {},
                "template": _pod("worker", labels, wanted(others[0]), pool, site),
            }
        ]
    if site.cluster.ray_token_secret:
        made["authOptions"] = {"mode": "token", "secretName": site.cluster.ray_token_secret}
    return made


def workers_of(job: JobSpec) -> int:
    """How many Ray Train workers the work wants; a step that trains nothing wants one.

    Raises:
        InvalidInput: none, or fewer.
    """
    training = job.payload.get("training")
    workers = int(training.get("workers", 1)) if isinstance(training, Mapping) else 1
    if workers < 1:
        raise InvalidInput(
            f"workers = {workers}: a training has at least one worker",
            next_step="Start the run with workers=1 or more.",
        )
    return workers


def gpus_of(job: JobSpec, settings: JobSettings) -> int:
    """GPUs of the whole job: one a worker; none where the site reserves none, or the work has no use for one."""
    return workers_of(job) if settings.gpus and job.takes_gpus else 0


def pods_of(job: JobSpec, settings: JobSettings) -> list[int]:
    """GPUs of each pod, the head's first. On CPUs every worker has a pod; GPUs share pods, `settings.gpus` in each, and
    the head takes the rest."""
    workers = workers_of(job)
    if not gpus_of(job, settings):
        return [0] * workers
    others = (workers - 1) // settings.gpus
    return [workers - others * settings.gpus] + [settings.gpus] * others


def _pod(role: str, labels: Mapping[str, str], wanted: Json, pool: NodePool, site: JobSite) -> Json:
    settings = site.jobs
    own = {"TIDEGATE_PROFILE": "cluster", "TIDEGATE_HOME": _HOME, "TIDEGATE_CACHE": f"{_HOME}/cache"}
    if pool.price_per_hour is not None:
        own["TIDEGATE_TRAINING__PRICE_PER_HOUR"] = pool.price_per_hour
    with_files = bool(settings.env_secret and settings.secret_files)
    if with_files:
        own["TIDEGATE_ATTESTATION_KEY_PATH"] = f"{settings.secret_files}/attestation.key"
    made = ray_pod(
        role,
        settings.image,
        wanted,
        pool,
        labels=labels,
        sources=env_from(settings.env_secret, settings.env_config)[::-1],  # what both say is the Secret's
        shared_memory=pool.shared_memory,
        service_account=settings.service_account,
        variables=own,
    )
    spec = made["spec"]
    spec |= on_nodes(pool, {})  # the pods of one training belong together, not apart
    container = spec["containers"][0]
    spec["volumes"].append({"name": "tidegate-home", "emptyDir": {}})
    container["volumeMounts"].append({"name": "tidegate-home", "mountPath": _HOME})
    if with_files:
        secret = {"secretName": settings.env_secret, "optional": True}
        spec["volumes"].append({"name": "tidegate-secret", "secret": secret})
        mount = {"name": "tidegate-secret", "mountPath": settings.secret_files, "readOnly": True}
        container["volumeMounts"].append(mount)
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    if settings.image_pull_secret:
        spec["imagePullSecrets"] = [{"name": settings.image_pull_secret}]
    return made


def _pool(job: JobSpec, site: JobSite) -> tuple[str, NodePool]:
    settings = site.jobs
    if settings.cluster:
        if job.node_pool:
            raise InvalidInput(
                f"node_pool = {job.node_pool!r}: jobs are submitted to the RayCluster {settings.cluster!r}",
                next_step="Leave the parameter out, or take training.cluster out of the site file.",
            )
        return "", NodePool()
    if not settings.image:
        raise InvalidInput(
            f"job {job.key!r} has no image", next_step="Compile the package with 'tidegate pipelines compile --site'."
        )
    name = job.node_pool or settings.node_pool
    known = ", ".join(sorted(site.pools)) or "none"
    if not name:
        raise InvalidInput(
            f"job {job.key!r} is told no node pool",
            next_step=f"Give the parameter node_pool, or training.nodePool in the site file. Known are: {known}.",
        )
    if name not in site.pools:
        raise InvalidInput(f"there is no node pool {name!r} for job {job.key!r}", next_step=f"Known are: {known}.")
    if settings.gpus > site.pools[name].gpus_per_node:
        raise InvalidInput(
            f"job {job.key!r} wants {settings.gpus} GPUs a pod; a node of pool {name!r} has "
            f"{site.pools[name].gpus_per_node}",
            next_step="Lower training.gpus in the site file, or name another pool.",
        )
    return name, site.pools[name]
