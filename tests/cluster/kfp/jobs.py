"""Jobs that a test gives to KubeRay itself, as a step does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pipelines.packages import job_settings
from pipelines.site import read_site
from tests.cluster.kfp.backend import NAMESPACE, Backend
from tidegate.adapters.kube.api import KubeApi
from tidegate.adapters.rayjob_compute import RayJobCompute
from tidegate.adapters.rayjob_manifest import JobSite
from tidegate.domain.node_pools import NodePool
from tidegate.settings import load_settings

Make = Callable[..., RayJobCompute]


def compute_of(backend: Backend, site: Path, pools: Mapping[str, NodePool]) -> RayJobCompute:
    """What a step with this site file follows its jobs with."""
    settings = load_settings().model_copy(update={"jobs": job_settings(read_site(site))})
    known = JobSite(jobs=settings.jobs, cluster=settings.cluster, pools=pools)
    return RayJobCompute(KubeApi.from_kubeconfig(backend.node.kubeconfig, NAMESPACE), settings, known)
