"""Values as users of the chart have them."""

from __future__ import annotations

from tests.integration.chart.charts import Json, merged

SECRETS: Json = {
    "attestation": {"existingSecret": "tidegate-attestation"},
    "gateway": {"existingSecret": "tidegate-gateway"},
    "receiver": {"existingSecret": "tidegate-receiver"},
}
LOCAL: Json = {**SECRETS, "local": {"enabled": True}}
BASE: Json = merged(
    SECRETS,
    {
        "database": {"existingSecret": "tidegate-database"},
        "artifacts": {"uri": "s3://models/artifacts"},
        "inferenceLog": {"uri": "s3://models/inference-log"},
        "objectStorage": {"existingSecret": "tidegate-object-storage", "env": {"AWS_REGION": "eu-central-1"}},
        "mlflow": {"server": {"existingSecret": "tidegate-mlflow", "artifactRoot": "s3://models/mlflow"}},
    },
)
NOTHING_CLUSTER_WIDE: Json = {
    "crds": {"enabled": False},
    "admissionPolicies": {"enabled": False, "gatewayLeases": False},
}
_EVERY_WORKLOAD: Json = {
    "podLabels": {"team": "a"},
    "podAnnotations": {"note": "b"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}],
    "priorityClassName": "serving",
    "extraEnv": [
        {"name": "A", "value": "1"},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "extra", "key": "b"}}},
    ],
    "extraVolumes": [{"name": "extra", "configMap": {"name": "extra"}}],
    "extraVolumeMounts": [{"name": "extra", "mountPath": "/etc/extra"}],
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"}},
    "terminationGracePeriodSeconds": 45,
}
_AFFINITY: Json = {
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}
            ]
        }
    }
}
_SPREAD: Json = {
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"a": "b"}},
        }
    ]
}
_DRIFT: Json = {
    "driftChecks": {
        "deployments": [
            {"deployment": "intent-assistant"},
            {
                "deployment": "a-deployment-with-a-name-as-long-as-it-may-be-and-a-bit",
                "schedule": "*/15 * * * *",
                "windowSeconds": 900,
                "alert": False,
            },
        ]
    }
}
_POOLS: Json = {
    "gpuNodePools": {
        "gpu-l4": {
            "nodeSelector": {"cloud.example.com/gpu": "l4"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "gpuResource": "nvidia.com/gpu",
            "gpusPerNode": 4,
            "cpu": "30",
            "memory": "110Gi",
            "sharedMemory": "16Gi",
            "topologyKey": "topology.kubernetes.io/zone",
            "priorityClassName": "serving",
            "pricePerHour": 3.25,
            "kueueQueue": "training",
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
            "volumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
            "env": {"NCCL_SOCKET_IFNAME": "eth0"},
        },
        "cpu": {"cpu": 2, "memory": "4Gi", "pricePerHour": "0.10"},
    }
}
_WORKLOADS = ("operator", "gateway", "scorer", "receiver", "driftChecks")
_MONITORING: Json = {
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "alertLabels": {"team": "ml"}, "disabled": ["TidegateRolledBack"]},
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "tidegate"}},
    }
}
_ROUTE: Json = {
    "gateway": {
        "url": "https://models.example.com",
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
            "hostnames": ["models.example.com"],
        },
    }
}
_STRICT_NETWORK: Json = {
    "networkPolicy": {
        "dns": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
        "apiServer": [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
        "gatewayFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "apps"}}}],
        "alertsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "mlflowFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "notebooks"}}}],
        "database": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
        "redis": [{"podSelector": {"matchLabels": {"app": "redis"}}}],
        "redisPorts": [6379, 26379],
        "external": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}],
        "engines": {"egress": [{"ports": [{"protocol": "TCP", "port": 443}]}]},
    }
}
_AUTHORITY: Json = {"certificateAuthority": {"configMap": "company-ca"}}
_KFP: Json = {
    "kfp": {
        "url": "https://kubeflow.example.com/pipeline",
        "uiUrl": "https://kubeflow.example.com",
        "version": "0.1.0-abc",
    }
}

VALUE_SETS: dict[str, Json] = {
    "base": BASE,
    "local": LOCAL,
    "local with a claim": merged(LOCAL, {"local": {"existingClaim": "data"}}),
    "local, bound to a volume": merged(LOCAL, {"local": {"storageClassName": "-", "volumeName": "node-disk"}}),
    "local with drift checks": merged(LOCAL, _DRIFT),
    "drift checks": merged(BASE, _DRIFT),
    "drift checks by Kubeflow": merged(BASE, {"driftChecks": {"mode": "kfp"}}, _KFP),
    "existing MLflow": merged(
        BASE,
        {"mlflow": {"url": "https://mlflow.example.com", "existingSecret": "mlflow-client", "webhookSecret": "hook"}},
    ),
    "own MLflow with everything": merged(
        BASE,
        {
            "mlflow": {
                "webhookSecret": "hook",
                "server": {**_EVERY_WORKLOAD, "workers": 4, "allowedHosts": ["mlflow.example.com"], "migrate": False},
            }
        },
    ),
    "autoscaling": merged(BASE, {"gateway": {"autoscaling": {"enabled": True, "maxReplicas": 30}}}),
    "autoscaling behavior": merged(
        BASE,
        {"gateway": {"autoscaling": {"enabled": True, "behavior": {"scaleUp": {"stabilizationWindowSeconds": 30}}}}},
    ),
    "route": merged(BASE, _ROUTE),
    "load balancer": merged(
        BASE, {"gateway": {"service": {"type": "LoadBalancer", "annotations": {"a": "b"}}, "preStopSeconds": 0}}
    ),
    "monitoring": merged(BASE, _MONITORING),
    "pools": merged(BASE, _POOLS),
    "local and pools": merged(LOCAL, _POOLS),
    "every workload": merged(BASE, _DRIFT, dict.fromkeys(_WORKLOADS, _EVERY_WORKLOAD)),
    "affinity and spread": merged(BASE, {name: {**_AFFINITY, **_SPREAD} for name in _WORKLOADS[:4]}),
    "OpenShift": merged(BASE, {"security": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}),
    "one of each": merged(BASE, {name: {"replicas": 1} for name in ("operator", "gateway", "scorer", "receiver")}),
    "digests and a mirror": merged(
        BASE,
        {
            "image": {"registry": "mirror.example.com:5000", "pullPolicy": "Always", "pullSecrets": [{"name": "pull"}]},
            "images": {
                "operator": {"digest": "sha256:" + "a" * 64},
                "receiver": {"name": "mirror.example.com/other/receiver", "tag": "1.2.3"},
            },
        },
    ),
    "accounts of one's own": merged(
        BASE,
        _DRIFT,
        {name: {"serviceAccount": {"name": f"own-{name.lower()}"}} for name in _WORKLOADS},
        {"engines": {"serviceAccount": {"name": "own-engine"}}},
    ),
    "Ray's token and Redis": merged(
        BASE,
        {"ray": {"existingSecret": "ray"}, "redis": {"address": "redis.example.com:6379", "existingSecret": "redis"}},
    ),
    "Redis without a password": merged(BASE, {"redis": {"address": "redis.data.svc:6380"}}),
    "an authority of one's own": merged(
        BASE,
        _AUTHORITY,
        _DRIFT,
        _POOLS,
        {
            "certificateAuthority": {"key": "bundle.pem"},
            "pipelines": {"namespaces": ["models", "team-a"]},
            "redis": {"address": "redis.data.svc:6379", "existingSecret": "redis", "tls": True},
        },
    ),
    "local with an authority": merged(LOCAL, _AUTHORITY),
    "Redis by TLS with a public certificate": merged(BASE, {"redis": {"address": "redis.data.svc:6379", "tls": True}}),
    "local and Redis": merged(LOCAL, {"redis": {"address": "redis.data.svc:6379"}}),
    "features of one's own": merged(
        BASE,
        {
            "features": {
                "config": {
                    "project": "bank",
                    "registry": {"registry_type": "sql", "path": "${REGISTRY_URL}"},
                    "online_store": {"type": "dynamodb", "region": "eu-central-1"},
                }
            },
            "settings": {"TIDEGATE_FEATURES__HISTORY_URI": "s3://features/histories"},
        },
    ),
    "features in a folder of one's own": merged(
        BASE, {"redis": {"address": "redis:6379"}, "settings": {"TIDEGATE_FEAST_REPO": "/mnt/feast"}}
    ),
    "Kubeflow with a token": merged(BASE, _KFP, {"kfp": {"authentication": "token", "existingSecret": "kfp"}}),
    "Kubeflow with its own account": merged(
        BASE, _KFP, {"kfp": {"authentication": "serviceAccountToken", "caConfigMap": "kubeflow-ca"}}
    ),
    "Kubeflow with a header": merged(
        BASE, _KFP, {"kfp": {"authentication": "header", "headerName": "kubeflow-userid", "existingSecret": "kfp"}}
    ),
    "pipelines elsewhere": merged(
        BASE, _POOLS, {"pipelines": {"namespaces": ["team-a", "team-b"], "createServiceAccount": True}}
    ),
    "no network policies": merged(BASE, {"networkPolicy": {"enabled": False}}),
    "strict network": merged(BASE, _DRIFT, _STRICT_NETWORK),
    "a second release": merged(
        BASE, {"crds": {"enabled": False}, "admissionPolicies": {"enabled": False}, "fullnameOverride": "other"}
    ),
    "names and labels": merged(BASE, {"nameOverride": "gate", "commonLabels": {"cost-center": "42"}}),
    "settings": merged(
        BASE, {"settings": {"TIDEGATE_DRIFT__WINDOW_SECONDS": "7200"}, "operator": {"rbac": {"finalizers": True}}}
    ),
    "all at once": merged(
        BASE,
        _DRIFT,
        _MONITORING,
        _ROUTE,
        _POOLS,
        _KFP,
        _STRICT_NETWORK,
        _AUTHORITY,
        {name: {**_EVERY_WORKLOAD, **_AFFINITY} for name in _WORKLOADS},
        {"gateway": {"autoscaling": {"enabled": True}}, "ray": {"existingSecret": "ray"}},
    ),
}
"""Name → values: what S1 and H1 are shown on."""
