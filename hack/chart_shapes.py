"""Which JSON Schema a value of the chart has: by its path where it is special, else by its default."""

from __future__ import annotations

from functools import cache
from typing import Any

Shape = dict[str, Any]

_TEXT: Shape = {"type": "string"}
_NAME: Shape = {"type": "string", "maxLength": 253, "pattern": r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"}
_LABEL: Shape = {"type": "string", "maxLength": 63, "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"}
_KEY: Shape = {"type": "string", "pattern": r"^[-._a-zA-Z0-9]+$"}
_PORT: Shape = {"type": "integer", "minimum": 1, "maximum": 65535}
_COUNT: Shape = {"type": "integer", "minimum": 0}
_POSITIVE: Shape = {"type": "integer", "minimum": 1}
_FILLED: Shape = {"type": "string", "minLength": 1}
_CPU: Shape = {"type": ["string", "number"], "pattern": r"^[0-9]+(m|\.[0-9]+)?$", "exclusiveMinimum": 0}
# With its unit: a number of bytes would be rendered as 8.58e+09.
_BYTES: Shape = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)$"}
_TEXTS: Shape = {"type": "object", "additionalProperties": {"type": "string"}}
_SCALARS: Shape = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_FREE: Shape = {"type": "object"}
_OBJECTS: Shape = {"type": "array", "items": {"type": "object"}}
_ID: Shape = {"type": ["integer", "null"], "minimum": 1}
# No user in an address: a password would lie in a ConfigMap.
_URL: Shape = {"type": "string", "pattern": r"^(https?://[^@\s]+)?$"}
_STORE: Shape = {"type": "string", "pattern": r"^([a-z0-9]+://[^@\s]+)?$"}
_CRON: Shape = {
    "type": "string",
    "pattern": r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly|every\s+\S+)|\S+(\s+\S+){4})$",
}
_DURATION: Shape = {"type": "string", "pattern": r"^([0-9]+(h|m|s|ms))+$"}


def _closed(required: tuple[str, ...] = (), **properties: Shape) -> Shape:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        **({"required": list(required)} if required else {}),
    }


def _one_of(*values: str) -> Shape:
    return {"type": "string", "enum": list(values)}


_ENV = _closed(("name",), name={"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_]*$"}, value=_TEXT, valueFrom=_FREE)
# What Pod Security "restricted" lets a pod mount.
_VOLUME_TYPES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected")
_VOLUME = _closed(("name",), name=_TEXT, **dict.fromkeys(_VOLUME_TYPES, _FREE), secret=_FREE)
_TOLERATION = _closed(
    key=_TEXT,
    operator=_one_of("Exists", "Equal"),
    value=_TEXT,
    effect=_one_of("NoSchedule", "PreferNoSchedule", "NoExecute"),
    tolerationSeconds={"type": "integer"},
)
_POOL = _closed(
    nodeSelector=_TEXTS,
    tolerations={
        "type": "array",
        "items": {
            **_TOLERATION,
            "properties": {key: item for key, item in _TOLERATION["properties"].items() if key != "tolerationSeconds"},
        },
    },
    gpuResource=_FILLED,
    gpusPerNode={"type": "integer", "minimum": 0, "maximum": 64},
    cpu=_CPU,
    memory=_BYTES,
    sharedMemory=_BYTES,
    topologyKey={"type": ["string", "null"]},
    priorityClassName=_TEXT,
    pricePerHour={"type": ["string", "number"], "pattern": r"^[0-9]{1,6}(\.[0-9]{1,6})?$", "minimum": 0},
    kueueQueue=_FILLED,
    volumes=_OBJECTS,
    volumeMounts=_OBJECTS,
    env=_TEXTS,
)
_CHECK = _closed(
    ("deployment",),
    deployment={"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 63},
    schedule=_CRON,
    windowSeconds=_POSITIVE,
    alert={"type": "boolean"},
)
_PARENT = _closed(("name",), group=_TEXT, kind=_TEXT, name=_TEXT, namespace=_TEXT, sectionName=_TEXT, port=_PORT)

_BY_PATH: dict[str, Shape] = {
    # Its names are looked at in templates/_refusals.tpl: Helm reports a propertyNames at another value's place.
    "gpuNodePools": {"type": "object", "additionalProperties": _POOL},
    "image.pullPolicy": _one_of("Always", "IfNotPresent", "Never"),
    "image.pullSecrets": {"type": "array", "items": _closed(("name",), name=_NAME)},
    "logLevel": _one_of("DEBUG", "INFO", "WARNING", "ERROR"),
    "artifacts.uri": _STORE,
    "inferenceLog.uri": _STORE,
    "mlflow.server.artifactRoot": _STORE,
    "mlflow.server.workers": _POSITIVE,
    "mlflow.webhookSecret": _NAME,
    "redis.address": {"type": "string", "pattern": r"^([^@\s]+:[0-9]+)?$"},
    "certificateAuthority.configMap": _NAME,
    "kfp.caConfigMap": _NAME,
    "kfp.uiUrl": _URL,
    "kfp.authentication": _one_of("none", "token", "serviceAccountToken", "cookie", "header"),
    "gateway.service.type": _one_of("ClusterIP", "NodePort", "LoadBalancer"),
    "gateway.httpRoute.parentRefs": {"type": "array", "items": _PARENT},
    "gateway.httpRoute.requestTimeout": _DURATION,
    "gateway.autoscaling.behavior": _FREE,
    "gateway.autoscaling.metrics": _OBJECTS,
    "gateway.autoscaling.targetCPUUtilizationPercentage": {"type": "integer", "minimum": 1, "maximum": 100},
    "gateway.preStopSeconds": {"type": "integer", "minimum": 0, "maximum": 300},
    "pipelines.namespaces": {"type": "array", "items": {**_LABEL, "minLength": 1}},
    "pipelines.serviceAccount": {**_NAME, "minLength": 1},
    "kfp.namespace": _LABEL,
    "local.nodePool.name": _LABEL,
    "driftChecks.mode": _one_of("cronjob", "kfp"),
    "driftChecks.deployments": {"type": "array", "items": _CHECK},
    "driftChecks.schedule": _CRON,
    "driftChecks.backoffLimit": _COUNT,
    "monitoring.serviceMonitor.interval": _DURATION,
    "monitoring.serviceMonitor.scrapeTimeout": _DURATION,
    "engines.rayVersion": {"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+$"},
    "engines.env": _SCALARS,
    "objectStorage.env": _SCALARS,
    "features.config": _FREE,
    "local.existingClaim": _NAME,
}
_BY_KEY: dict[str, Shape] = {
    "existingSecret": _NAME,
    "key": _KEY,
    "apiKeysKey": _KEY,
    "pseudonymKey": _KEY,
    "url": _URL,
    "port": _PORT,
    "replicas": _COUNT,
    "minReplicas": _POSITIVE,
    "maxReplicas": _POSITIVE,
    "runAsUser": _ID,
    "runAsGroup": _ID,
    "fsGroup": _ID,
    "digest": {"type": "string", "pattern": r"^(sha256:[0-9a-f]{64})?$"},
    "tag": {"type": ["string", "number"]},
    "cpu": _CPU,
    "memory": _BYTES,
    "sharedMemory": _BYTES,
    "size": _BYTES,
    "resources": _closed(requests=_FREE, limits=_FREE, claims=_OBJECTS),
    "affinity": _FREE,
    "annotations": _TEXTS,
    "podAnnotations": _TEXTS,
    "podLabels": _TEXTS,
    "labels": _TEXTS,
    "alertLabels": _TEXTS,
    "commonLabels": _TEXTS,
    "nodeSelector": _TEXTS,
    "tolerations": {"type": "array", "items": _TOLERATION},
    "topologySpreadConstraints": _OBJECTS,
    "extraEnv": {"type": "array", "items": _ENV},
    "extraVolumes": {"type": "array", "items": _VOLUME},
    "extraVolumeMounts": _OBJECTS,
    "maxUnavailable": {"type": ["integer", "string"], "minimum": 0, "pattern": "^([0-9]{1,2}|100)%$"},
    "terminationGracePeriodSeconds": _POSITIVE,
    "activeDeadlineSeconds": _POSITIVE,
    "startingDeadlineSeconds": _POSITIVE,
    "apiServerPorts": {"type": "array", "items": _PORT, "minItems": 1},
    "dnsPorts": {"type": "array", "items": _PORT, "minItems": 1},
    "databasePorts": {"type": "array", "items": _PORT, "minItems": 1},
    "externalPorts": {"type": "array", "items": _PORT, "minItems": 1},
    "redisPorts": {"type": "array", "items": _PORT},
}
_NAMES: Shape = {"type": "array", "items": {"type": "string"}}
_CIDR: Shape = {"type": "string", "pattern": r"^[0-9a-fA-F.:]+/[0-9]{1,3}$"}
_SELECTOR = _closed(matchLabels=_TEXTS, matchExpressions=_OBJECTS)
_PEERS = _closed(
    ipBlock=_closed(("cidr",), cidr=_CIDR, **{"except": {"type": "array", "items": _CIDR}}),
    namespaceSelector=_SELECTOR,
    podSelector=_SELECTOR,
)


def shape(path: tuple[str, ...], default: Any) -> Shape:
    """The schema of a value, without its description."""
    name = ".".join(path)
    if name == "settings":
        return {"type": "object", "additionalProperties": False, "properties": dict.fromkeys(_settings(), _TEXT)}
    if path[-2:] == ("serviceAccount", "name"):
        return _NAME
    if path[0] == "networkPolicy" and isinstance(default, list) and path[-1] not in _BY_KEY:
        return _OBJECTS if path[-1] == "egress" else {"type": "array", "items": _PEERS}
    return _BY_PATH.get(name) or _BY_KEY.get(path[-1]) or _by_default(name, default)


def _by_default(name: str, default: Any) -> Shape:
    if isinstance(default, bool):
        return {"type": "boolean"}
    if isinstance(default, int):
        return {"type": "integer"}
    if isinstance(default, str):
        return _TEXT
    if isinstance(default, list):
        return _NAMES
    raise ValueError(f"values.yaml: {name} has no shape; give it one in hack/chart_shapes.py")


@cache
def _settings() -> tuple[str, ...]:
    """Variables of the settings that the chart does not make itself, and that may lie in a ConfigMap."""
    from pydantic import BaseModel

    from tidegate.settings import Settings, variable

    def names(model: type[BaseModel], prefix: str) -> list[str]:
        found = []
        for field, info in model.model_fields.items():
            kind = info.annotation
            group = isinstance(kind, type) and issubclass(kind, BaseModel)
            found += names(kind, f"{prefix}{field}.") if group else [variable(prefix + field)]  # type: ignore[arg-type]
        return found

    return tuple(name for name in names(Settings, "") if name not in OWN)


OWN = frozenset(
    f"TIDEGATE_{name}"
    for name in """
        PROFILE HOME CACHE LOG_LEVEL DATABASE_URL ARTIFACTS_URI MLFLOW_URI RAY_ADDRESS RAY_DASHBOARD_URL ENGINE_URL
        RAY_TOKEN_PATH GATEWAY_URL GATEWAY_HOST GATEWAY_PORT RECEIVER_URL RECEIVER_HOST RECEIVER_PORT
        RECEIVER_TOKEN_PATH ATTESTATION_KEY_PATH API_KEYS_PATH INFERENCE_LOG__URI CLUSTER__NAMESPACE
        CLUSTER__METRICS_PORT CLUSTER__WEBHOOK_SECRET_PATH CLUSTER__NODE_POOLS_PATH CLUSTER__ENGINE_IMAGE
        CLUSTER__RAY_VERSION CLUSTER__HEAD_CPU CLUSTER__HEAD_MEMORY CLUSTER__HEAD_NODE_POOL CLUSTER__SERVICE_ACCOUNT
        CLUSTER__RAY_TOKEN_SECRET
        CLUSTER__REDIS_ADDRESS CLUSTER__REDIS_PASSWORD_SECRET CLUSTER__ENGINE_ENV_SECRET CLUSTER__ENGINE_ENV_CONFIG
        KFP__URL KFP__UI_URL KFP__NAMESPACE KFP__SERVICE_ACCOUNT KFP__EXPERIMENT KFP__TOKEN_PATH KFP__COOKIE_PATH
        KFP__HEADER_NAME KFP__HEADER_VALUE_PATH KFP__CA_PATH KFP__VERSION FEATURES__CONFIG
        LIMITS__DRAIN_SECONDS
    """.split()  # noqa: SIM905 - a list would take forty lines
)
"""What the chart's templates render from values of their own."""
