"""Free TCP ports on the loopback interface, found once and remembered in `platform.json`."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence

from tidegate.errors import Conflict, ResourceExhausted

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


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
        ResourceExhausted: when the system hands out no port.
    """
    held = set(in_use)
    chosen: dict[str, int] = {
        name: _chosen(name, port) for name, port in (fixed or {}).items() if name in wanted and name not in held
    }
    probes: list[socket.socket] = []
    try:
        for name in wanted:
            if name in chosen:
                continue
            port = remembered.get(name)
            if port is not None and port not in chosen.values() and (name in held or is_free(port)):
                chosen[name] = port
                continue
            # All probes stay open until the end: two names must not be given the same port.
            probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            probes.append(probe)
            probe.bind((LOOPBACK, 0))
            chosen[name] = probe.getsockname()[1]
    except OSError as error:
        raise ResourceExhausted(
            f"no free port on {LOOPBACK} ({error.strerror})",
            next_step="Stop programs that hold many ports, then run `tidegate up` again.",
        ) from error
    finally:
        for probe in probes:
            probe.close()
    return chosen


def _chosen(name: str, port: int) -> int:
    if not is_free(port):
        raise Conflict(
            f"port {port}, chosen for {name}, is taken by another program",
            next_step=f"Stop that program, or choose another port with TIDEGATE_{name.upper()}_PORT, or none.",
        )
    return port
