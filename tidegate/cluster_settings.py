"""What only the profile `cluster` is told."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat


class ClusterSettings(BaseModel):
    """The API server, and what engines on a cluster are made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str = Field(default="", description="namespace of the resources; unset: the pod's own")
    request_timeout: PositiveFloat = Field(default=5.0, description="longest wait for the API server (s)")
    resync_seconds: PositiveFloat = Field(default=20.0, description="operator: lists all objects anew so often (s)")
    metrics_host: str = Field(default="0.0.0.0", description="address that /metrics and /healthz bind")  # noqa: S104
    metrics_port: int = Field(default=9090, ge=0, le=65535, description="their port; 0 takes a free one")
    webhook_secret_path: Path | None = Field(
        default=None, description="file with the secret of MLflow's webhook, which hints that the registry changed"
    )
    node_pools_path: Path | None = Field(default=None, description="YAML of node pools: name → selector, tolerations…")
    engine_image: str = Field(default="", description="image of engines whose ModelRuntime names none")
    ray_version: str = Field(default="2.60.0", description="Ray in the engines' images")
    head_cpu: str = Field(default="2", description="CPUs that the head of an engine's Ray asks for")
    head_memory: str = Field(default="8Gi", description="its memory, request and limit alike")
    head_node_pool: str = Field(
        default="", description="node pool whose selector, tolerations and priority class it takes; unset: any node"
    )
    service_account: str = Field(default="", description="service account of the engines' pods")
    ray_token_secret: str = Field(default="", description="Secret with Ray's token under 'auth_token'")
    redis_address: str = Field(
        default="",
        description="Redis for Ray's GCS fault tolerance, host:port, or rediss://host:port for TLS; unset: none",
    )
    redis_password_secret: str = Field(default="", description="Secret with its password under 'password'")
    engine_env_secret: str = Field(default="", description="Secret whose keys are the engines' environment")
    engine_env_config: str = Field(default="", description="ConfigMap whose keys are the engines' environment")
    engine_url: str = Field(
        default="http://{service}.{namespace}.svc:8000", description="where gateways reach an engine's Service"
    )
    ray_dashboard_url: str = Field(
        default="http://{cluster}-head-svc.{namespace}.svc:8265", description="where the operator reaches its Ray"
    )
