"""The Ray head of the local platform: one token-authenticated node on the loopback interface."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

from tidegate.errors import InvalidInput
from tidegate.settings import Settings

LOGICAL_CPUS = 16
"""Ray counts slots, not cores: a waiting Serve replica, a waiting driver and a training worker all hold one."""
_OBJECT_STORE_BYTES = 256 << 20
"""Jobs pass addresses of files, not data; Ray's default of 30% of memory would starve the training."""
_TOKEN_BYTES = 32
_UNIX_PATH_MAX = 107
_SESSION_SUFFIX = len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.12345")


@dataclass(frozen=True, kw_only=True)
class RayPorts:
    """TCP ports of a Ray head; all on 127.0.0.1."""

    gcs: int
    node_manager: int
    object_manager: int
    dashboard: int
    dashboard_agent: int
    dashboard_agent_grpc: int
    runtime_env_agent: int
    client_server: int
    metrics: int
    dashboard_metrics: int
    autoscaler_metrics: int

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the ports, in the order of the fields."""
        return tuple(field.name for field in fields(cls))


def ray_head_command(settings: Settings, ports: RayPorts) -> tuple[list[str], dict[str, str]]:
    """Command and environment of `ray start --head --block`. Makes the token and the session folder.

    Raises:
        InvalidInput: the folder for temporary files is too long for Ray's UNIX sockets.
    """
    argv = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        "--node-ip-address=127.0.0.1",
        f"--port={ports.gcs}",
        f"--node-manager-port={ports.node_manager}",
        f"--object-manager-port={ports.object_manager}",
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={ports.dashboard}",
        f"--dashboard-agent-listen-port={ports.dashboard_agent}",
        f"--dashboard-agent-grpc-port={ports.dashboard_agent_grpc}",
        f"--runtime-env-agent-port={ports.runtime_env_agent}",
        f"--ray-client-server-port={ports.client_server}",
        f"--metrics-export-port={ports.metrics}",
        *("--min-worker-port=0", "--max-worker-port=0"),  # the system finds free ones; Ray's range may be taken
        f"--num-cpus={LOGICAL_CPUS}",
        f"--num-gpus={settings.training.gpus}",
        f"--object-store-memory={_OBJECT_STORE_BYTES}",
        f"--temp-dir={ray_temp_dir(settings)}",
        "--disable-usage-stats",
        # One node that never scales, whose jobs keep logs of their own: neither autoscaler nor log forwarding.
        *("--no-monitor", "--include-log-monitor=false"),
    ]
    return argv, ray_environment(settings) | {
        # Workers import the platform's own packages wherever the head was started from.
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_source_root()), os.environ.get("PYTHONPATH", "")])),
        "PYTHONUNBUFFERED": "1",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        # Processes are started when they are needed: 16 idle ones would cost two cores their first half minute.
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        # Ray's housekeeping is timed for clusters; on two cores its ticks would take a fifth of the machine.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_DASHBOARD_STATS_UPDATING_INTERVAL": "60",
        "RAY_metrics_report_interval_ms": "60000",
        "RAY_raylet_report_resources_period_milliseconds": "500",
        "RAY_raylet_report_loads_period_milliseconds": "1000",
        "RAY_task_events_report_interval_ms": "0",
        "DASHBOARD_METRIC_PORT": str(ports.dashboard_metrics),
        "AUTOSCALER_METRIC_PORT": str(ports.autoscaler_metrics),
        # Ray would run all its workers at 15, the engines among them; only the pools' workers yield to serving.
        "RAY_worker_niceness": "0",
        # Engine, training and gateway share the cores: a thread that waits spins for microseconds, not milliseconds;
        # one that never spins pays a wake-up for every small operation.
        "GOMP_SPINCOUNT": "20000",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def ray_environment(settings: Settings) -> dict[str, str]:
    """What every process that talks to this Ray must have in its environment before it imports ray.

    The token is the platform's own; Ray's default in the home folder of the user is never read or written.
    """
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(ensure_ray_token(settings)),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Despite its name this is Ray's switch for "this is one machine": addresses stay on 127.0.0.1, and a laptop
        # that changes its network keeps its platform.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


def ensure_ray_token(settings: Settings) -> Path:
    """The file with Ray's token (mode 0600); made when it is absent, by whoever comes first."""
    path = settings.ray_token_path
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(_TOKEN_BYTES))
    try:
        path.hardlink_to(partial)
    except FileExistsError:
        pass  # another process was first; its token counts
    finally:
        partial.unlink(missing_ok=True)
    return path


def ray_temp_dir(settings: Settings) -> Path:
    """Ray's session folder: private to the user, one per state folder, and short.

    Ray puts UNIX sockets in it, whose paths must not exceed 107 bytes, so it cannot lie below a state folder of any
    length.

    Raises:
        InvalidInput: the system's folder for temporary files is too long itself.
    """
    name = hashlib.sha256(str(settings.home).encode()).hexdigest()[:8]
    folder = Path(tempfile.gettempdir()) / f"tidegate-{os.getuid()}-{name}"
    if len(str(folder)) + _SESSION_SUFFIX > _UNIX_PATH_MAX:
        raise InvalidInput(
            f"the folder for temporary files {tempfile.gettempdir()!r} is too long for Ray's UNIX sockets",
            next_step="Set TMPDIR to a short path, for example /tmp.",
        )
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise InvalidInput(
            f"{folder} belongs to another user", next_step="Remove it, or set TMPDIR to a folder of your own."
        )
    folder.chmod(0o700)
    return folder


def _source_root() -> Path:
    return Path(__file__).resolve().parents[2]
