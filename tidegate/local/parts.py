"""The parts of the embedded platform: what each is started with and how it says that it is ready."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import httpx

from tidegate.adapters.mlflow_server import mlflow_server
from tidegate.adapters.ray_head import RayPorts, ray_head_command
from tidegate.local.process import Part
from tidegate.settings import Settings

_PROBE_SECONDS = 2.0
HEAVY_IMPORT_SECONDS = 240.0
"""How long a part may take to import its libraries while two cores carry all the others too."""

PORT_NAMES = ("mlflow", "engine", "gateway", "receiver", *(f"ray_{name}" for name in RayPorts.names()))


@dataclass(frozen=True, kw_only=True)
class PartInfo:
    """What a part is for, for `status` and the README's table."""

    name: str
    purpose: str
    setting: str | None = None


PARTS = (
    PartInfo(name="mlflow", purpose="tracking and model registry", setting="mlflow_uri"),
    PartInfo(name="ray", purpose="compute for steps, Ray Serve for the engines", setting="ray_dashboard_url"),
    PartInfo(name="gateway", purpose="the OpenAI API that applications call", setting="gateway_url"),
    PartInfo(name="controller", purpose="rolls versions out and back"),
    PartInfo(name="scorer", purpose="scores mirrored pairs"),
    PartInfo(name="receiver", purpose="takes alerts, starts retraining", setting="receiver_url"),
)


def endpoints(ports: Mapping[str, int]) -> dict[str, object]:
    """The settings that follow from the ports; written to `platform.json` for every process to read."""
    return {
        "mlflow_uri": f"http://127.0.0.1:{ports['mlflow']}",
        "ray_address": f"127.0.0.1:{ports['ray_gcs']}",
        "ray_dashboard_url": f"http://127.0.0.1:{ports['ray_dashboard']}",
        "engine_url": f"http://127.0.0.1:{ports['engine']}",
        "gateway_url": f"http://127.0.0.1:{ports['gateway']}",
        "gateway_port": ports["gateway"],
        "receiver_url": f"http://127.0.0.1:{ports['receiver']}",
        "receiver_port": ports["receiver"],
    }


def build_parts(settings: Settings, ports: Mapping[str, int]) -> list[Part]:
    """All parts in starting order: what others need, or what is slow to import, first."""
    env = {"TIDEGATE_HOME": str(settings.home), "PYTHONUNBUFFERED": "1"}
    ray_ports = RayPorts(**{name: ports[f"ray_{name}"] for name in RayPorts.names()})
    ray_argv, ray_env = ray_head_command(settings, ray_ports)
    mlflow = mlflow_server(settings.home, ports["mlflow"])
    return [
        Part(
            name="ray",
            argv=ray_argv,
            env={**env, **ray_env},
            ready=lambda: _ray_has_a_node(settings),
            ready_seconds=HEAVY_IMPORT_SECONDS,
            restarts=2,  # Ray gives its own node 30 s to register, which a loaded machine can miss
        ),
        Part(
            name="mlflow",
            argv=mlflow.argv,
            env={**env, **mlflow.env},
            ready=_http(mlflow.health_url),
            ready_seconds=HEAVY_IMPORT_SECONDS,
        ),
        Part(
            name="receiver",
            argv=_module("monitoring.alerts"),
            env=env,
            ready=_http(f"{settings.receiver_url}/healthz"),
        ),
        Part(name="controller", argv=_module("serving.controller"), env=env, ready=_started),
        Part(name="scorer", argv=_module("monitoring.scoring"), env=env, ready=_started),
        Part(
            name="gateway",
            argv=_module("serving.gateway"),
            env=env,
            ready=_http(f"{settings.gateway_url}/healthz"),
            ready_seconds=HEAVY_IMPORT_SECONDS,
        ),
    ]


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]


def _started() -> bool:
    """For parts without an address: they are ready once they run, and their lease shows that they work."""
    return True


def _ray_has_a_node(settings: Settings) -> bool:
    """Ray's dashboard answers long before its node takes work."""
    try:
        response = _probe().get(f"{settings.ray_dashboard_url}/nodes?view=summary", headers=_bearer(settings))
        nodes = response.json()["data"]["summary"]
        return any(node["raylet"].get("state") == "ALIVE" for node in nodes)
    except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError):
        return False


@cache
def _probe() -> httpx.Client:
    """One client for all probes: making one costs 30 ms of CPU (it reads the system's certificates)."""
    return httpx.Client(timeout=_PROBE_SECONDS, trust_env=False, verify=False)  # noqa: S501 - plain HTTP on loopback


def _bearer(settings: Settings) -> dict[str, str]:
    return {"Authorization": f"Bearer {settings.ray_token_path.read_text().strip()}"}


def _http(url: str) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            return _probe().get(url).is_success
        except (httpx.HTTPError, OSError):
            return False

    return answers
