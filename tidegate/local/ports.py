"""Free TCP ports on the loopback interface, found once and remembered in `platform.json`."""

from __future__ import annotations

import itertools
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tidegate.errors import Conflict, ResourceExhausted

LOOPBACK = "127.0.0.1"
_LAST_PORT = 65_535
PORTS = range(16_000, 21_000)
"""Where ports are looked for. What a system gives to outgoing connections begins above (Linux 32768, macOS and Windows
49152), and so do Kubernetes' node ports (30000) and those of hack/kube (21248). A part that listens a minute after its
port was found, as an engine does once Ray is up, would else now and then find a connection of some program there, for
as long as that lasts."""


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def read_ports(written: Any) -> dict[str, int]:
    """Of what a file says by name, that which is a port; a name without one gets a new one."""
    if not isinstance(written, dict):
        return {}
    return {name: port for name, port in written.items() if type(port) is int and 0 < port <= _LAST_PORT}


def allocate(
    wanted: Sequence[str],
    remembered: Mapping[str, int],
    in_use: Iterable[str] = (),
    fixed: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """A port for every wanted name: the remembered one while it is free (or held by our own live part), else a new one.

    Args:
        wanted: names of ports.
        remembered: ports of an earlier start.
        in_use: names whose remembered port is held by a part of ours that runs; it keeps that port.
        fixed: ports that a person chose; no other is taken in their place.

    Raises:
        Conflict: a port that was chosen is taken.
        ResourceExhausted: too few ports are free.
    """
    held = set(in_use)
    chosen: dict[str, int] = {
        name: _chosen(name, port) for name, port in (fixed or {}).items() if name in wanted and name not in held
    }
    missing = []
    for name in wanted:
        port = remembered.get(name)
        if name in chosen:
            continue
        if port is not None and port not in chosen.values() and (name in held or is_free(port)):
            chosen[name] = port
        else:
            missing.append(name)
    return chosen | dict(zip(missing, free_ports(len(missing), taken=chosen.values()), strict=True))


def free_ports(
    count: int, host: str = LOOPBACK, *, among: Sequence[int] = PORTS, taken: Iterable[int] = ()
) -> list[int]:
    """Different ports that nobody listens on now, from a random one on.

    Args:
        count: how many.
        host: the address that they are to be free at.
        among: the ports to choose from.
        taken: ports that are spoken for, though nobody may listen yet.

    Raises:
        ResourceExhausted: so many are not free.
    """
    start, spoken_for = secrets.randbelow(len(among)), set(taken)
    candidates = (among[(start + offset) % len(among)] for offset in range(len(among)))
    free = (port for port in candidates if port not in spoken_for and is_free(port, host))
    found = list(itertools.islice(free, count))
    if len(found) < count:
        raise ResourceExhausted(
            f"of the ports {among[0]} to {among[-1]} on {host} only {len(found)} are free, and {count} are needed",
            next_step="Stop programs that hold many ports, then try again.",
        )
    return found


def _chosen(name: str, port: int) -> int:
    if not is_free(port):
        raise Conflict(
            f"port {port}, chosen for {name}, is taken by another program",
            next_step=f"Stop that program, or choose another port with TIDEGATE_{name.upper()}_PORT, or none.",
        )
    return port
