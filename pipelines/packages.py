"""Packages for a site: the pipelines compiled with everything that their steps' pods need on this cluster.

The same site and release give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipelines.placement import placing
from pipelines.site import HOME_VOLUME, TRAINING_STEPS, Resources, Site, Step
from tidegate.domain.node_pools import QUEUE_LABEL, NodePool, Toleration, read_node_pools
from tidegate.environment import FOLDERS_VARIABLE
from tidegate.errors import InvalidInput
from tidegate.kfp_settings import JobSettings

ENV_FOLDER: Final = "/etc/tidegate/environment"
POOLS_FOLDER: Final = "/etc/tidegate/node-pools"
_RUN_LABEL: Final = "metadata.labels['pipeline/runid']"
"""What every pod of a KFP run carries; a step's job keys are made of it, so that they are the run's own."""
_DATA = Resources(cpu="1", memory="4Gi")
_THIN = Resources(cpu="250m", memory="1Gi")
"""A step that hands its work to a RayJob imports no training library."""
_DATA_SECONDS, _THIN_SPARE_SECONDS = 3 * 3600, 3600


def compile_site(site: Site, folder: Path, base: Path | None = None) -> list[Path]:
    """Compiles every pipeline for a site to `<folder>/<name>.yaml`.

    Args:
        site: the cluster.
        folder: where the packages go; made if need be.
        base: folder that `nodePools.file` is relative to.

    Raises:
        InvalidInput: a node pool that the site does not know, or that has not the GPUs; the folder cannot be made.
    """
    from kfp import compiler, dsl  # noqa: PLC0415 - takes seconds

    from pipelines.compile import PIPELINES  # noqa: PLC0415

    pools = _pools(site, base)
    _check_training(site, pools)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"packages cannot be written to {folder}: {error.strerror}", next_step="Name another folder with --out."
        ) from None
    written = []
    lifetimes: dict[str, int] = {}

    def place_task(step: str, task: Any) -> None:
        lifetimes[task.name] = _place(site, pools, step, task)

    # Before a site is in force: a pipeline is built when its module is imported.
    made = {name: _load(place) for name, place in PIPELINES.items()}
    with placing(place_task):
        for name, pipeline in made.items():
            again = dsl.pipeline(name=pipeline.name, description=pipeline.description)(pipeline.pipeline_func)
            _let_retries_live(again.pipeline_spec, lifetimes)
            path = folder / f"{name}.yaml"
            compiler.Compiler().compile(again, str(path))
            written.append(path)
    return written


def _load(place: str) -> Any:
    from importlib import import_module  # noqa: PLC0415

    module, _, function = place.partition(":")
    return getattr(import_module(module), function)


def job_settings(site: Site) -> JobSettings:
    """What the site's steps are told of training jobs."""
    training, environment = site.training, site.environment
    return JobSettings(
        runner=training.runner,
        image=site.images.of("train"),
        image_pull_policy=site.images.pull_policy,
        image_pull_secret=site.images.pull_secret or "",
        node_pool=training.node_pool,
        gpus=training.gpus,
        service_account=f"{site.release}-training" if training.service_account is None else training.service_account,
        env_config=site.config_map,
        env_secret=environment.secret,
        secret_files=environment.files,
        cluster=training.cluster,
        pending_seconds=training.pending_seconds,
        deadline_seconds=training.deadline_seconds,
        ttl_seconds=training.ttl_seconds,
        reattach_seconds=training.reattach_seconds,
        abandoned_seconds=training.abandoned_seconds,
    )


def _own_variables(site: Site) -> dict[str, str]:
    """What a package itself says to a step's process."""
    return {
        "TIDEGATE_PROFILE": "cluster",
        # The Secret first: what both say is taken from it.
        FOLDERS_VARIABLE: f"{site.environment.files}:{ENV_FOLDER}",
        "TIDEGATE_HOME": site.home,
        "TIDEGATE_CACHE": f"{site.home}/cache",
        "TIDEGATE_ATTESTATION_KEY_PATH": f"{site.environment.files}/attestation.key",
        "TIDEGATE_RECEIVER_TOKEN_PATH": f"{site.environment.files}/receiver.token",
        "TIDEGATE_CLUSTER__NODE_POOLS_PATH": f"{POOLS_FOLDER}/{site.node_pools.key}",
        **site.environment.variables,
    }


def _let_retries_live(spec: Any, lifetimes: Mapping[str, int]) -> None:
    """The SDK cuts this field to an hour; the backend takes what is written."""
    for name, task in spec.root.dag.tasks.items():
        if task.retry_policy.max_retry_count:
            task.retry_policy.backoff_max_duration.seconds = lifetimes[name]


def _place(site: Site, pools: Mapping[str, NodePool], name: str, task: Any) -> int:
    """Everything that the step's pod is given.

    Returns:
        Seconds in which all tries of the step fit.
    """
    from kfp import kubernetes  # noqa: PLC0415

    step, given = site.defaults, site.steps.get(name, Step())
    in_step = site.training.runner == "step" and name in TRAINING_STEPS
    image = site.images.of("train") if in_step else site.images.of("pipeline-data")
    task.set_container_image(given.image or step.image or image)
    _environment(site, task)
    _set_resources(name, site, pools, task)
    retries = site.retries(name)
    if retries.count:
        task.set_retry(
            num_retries=retries.count,
            backoff_duration=f"{retries.backoff_seconds}s",
            backoff_factor=retries.backoff_factor,
        )
    longest = site.training.deadline_seconds + _THIN_SPARE_SECONDS if name in TRAINING_STEPS else _DATA_SECONDS
    timeout = given.timeout_seconds or step.timeout_seconds or longest
    kubernetes.set_timeout(task, timeout)
    if site.images.pull_policy:
        kubernetes.set_image_pull_policy(task, site.images.pull_policy)
    if site.images.pull_secret:
        kubernetes.set_image_pull_secrets(task, [site.images.pull_secret])
    labels = {"app.kubernetes.io/part-of": "tidegate", "tidegate.dev/step": name, **step.labels, **given.labels}
    for key, value in sorted(labels.items()):
        kubernetes.add_pod_label(task, key, value)
    for key, value in sorted({**step.annotations, **given.annotations}.items()):
        kubernetes.add_pod_annotation(task, key, value)
    return retries.lifetime(timeout)


def _environment(site: Site, task: Any) -> None:
    from kfp import kubernetes  # noqa: PLC0415

    environment = site.environment
    for key, value in sorted(_own_variables(site).items()):
        task.set_env_variable(key, value)
    task.set_env_variable("TIDEGATE_JOBS", json.dumps(job_settings(site).model_dump(mode="json"), sort_keys=True))
    kubernetes.use_field_path_as_env(task, "TIDEGATE_RUN", _RUN_LABEL)
    kubernetes.use_config_map_as_volume(task, site.config_map, ENV_FOLDER, optional=True)
    kubernetes.use_secret_as_volume(task, environment.secret, environment.files, optional=True)
    kubernetes.use_config_map_as_volume(task, site.pools_config_map, POOLS_FOLDER, optional=True)
    kubernetes.empty_dir_mount(task, HOME_VOLUME, site.home)
    for claim in site.claims:
        kubernetes.mount_pvc(task, claim.name, claim.mount_path, claim.sub_path)


def _set_resources(name: str, site: Site, pools: Mapping[str, NodePool], task: Any) -> None:
    """Resources and nodes. A step that trains in its own pod takes the training pool's."""
    from kfp import kubernetes  # noqa: PLC0415

    step, given = site.defaults, site.steps.get(name, Step())
    in_step = site.training.runner == "step" and name in TRAINING_STEPS
    chosen = given.node_pool or (site.training.node_pool if in_step else "") or step.node_pool
    pool = _pool(pools, chosen, name) if chosen else NodePool(cpu="1", memory="4Gi")
    built_in = _THIN if name in TRAINING_STEPS and not in_step else _DATA
    if in_step:
        built_in = Resources(cpu=pool.cpu, memory=pool.memory)
    wanted = {
        field: getattr(given.resources, field) or getattr(step.resources, field) or getattr(built_in, field)
        for field in ("cpu", "cpu_limit", "memory")
    }
    task.set_cpu_request(wanted["cpu"]).set_memory_request(wanted["memory"]).set_memory_limit(wanted["memory"])
    if wanted["cpu_limit"]:
        task.set_cpu_limit(wanted["cpu_limit"])
    gpus = _step_gpus(name, site) if in_step else 0
    if gpus:
        task.set_accelerator_type(pool.gpu_resource).set_accelerator_limit(gpus)
        task.set_env_variable("TIDEGATE_TRAINING__GPUS", str(gpus))
    if in_step and pool.kueue_queue:
        kubernetes.add_pod_label(task, QUEUE_LABEL, pool.kueue_queue)
    for key, value in sorted({**pool.node_selector, **step.node_selector, **given.node_selector}.items()):
        kubernetes.add_node_selector(task, key, value)
    for item in (*pool.tolerations, *step.tolerations, *given.tolerations):
        _tolerate(task, item)


def _step_gpus(name: str, site: Site) -> int:
    """GPUs of a step that does its work in its own pod: evaluation generates on one, registration on none."""
    return {"fine-tune": site.training.gpus, "evaluate": min(1, site.training.gpus)}.get(name, 0)


def _tolerate(task: Any, item: Toleration) -> None:
    from kfp import kubernetes  # noqa: PLC0415

    kubernetes.add_toleration(task, key=item.key, operator=item.operator, value=item.value, effect=item.effect)


def _pools(site: Site, base: Path | None) -> dict[str, NodePool]:
    if not site.node_pools.file:
        return {}
    return read_node_pools((base or Path()) / site.node_pools.file)


def _check_training(site: Site, pools: Mapping[str, NodePool]) -> None:
    """What can be known of the pool of training: the platform's own pools may not be at hand here."""
    name, gpus = site.training.node_pool, site.training.gpus
    if not site.node_pools.file or not name or site.training.cluster:
        return
    pool = _pool(pools, name, "fine-tune")
    if gpus > pool.gpus_per_node:
        raise InvalidInput(
            f"training.gpus = {gpus}, and a node of pool {name!r} has {pool.gpus_per_node}",
            next_step="Lower training.gpus, or name another pool.",
        )


def _pool(pools: Mapping[str, NodePool], wanted: str, step: str) -> NodePool:
    if wanted in pools:
        return pools[wanted]
    known = ", ".join(sorted(pools)) or "none: set nodePools.file"
    raise InvalidInput(
        f"step {step!r} runs on node pool {wanted!r}, which this site does not know", next_step=f"Known are: {known}."
    )
