"""Room on the disks of state and cache."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tidegate.cli.checks.finding import Finding
from tidegate.settings import Settings

NAME = "disk"
GIB = 1 << 30
HOME_BYTES = 2 * GIB  # MLflow's artifacts with one stored base (0.3 GB), Ray's session and spill, logs
CACHE_BYTES = GIB  # the converted base model (0.3 GB), and its temporary copy while it is converted


@dataclass(frozen=True, slots=True)
class Room:
    """One folder's disk. `device` tells folders on one disk apart from folders on two."""

    what: str
    path: Path
    free: int
    needed: int
    device: int
    writable: bool


def check(settings: Settings) -> Finding:
    return decide([_look("home", settings.home, HOME_BYTES), _look("cache", settings.cache, CACHE_BYTES)])


def decide(rooms: list[Room]) -> Finding:
    """Judges free bytes against needed ones, summed over the folders on one disk."""
    for room in rooms:
        if not room.writable:
            return Finding(
                NAME,
                "problem",
                f"{room.what} {room.path} cannot be written",
                f"Change its owner or mode, or name another folder with TIDEGATE_{room.what.upper()}.",
            )
    for room in rooms:
        needed = sum(other.needed for other in rooms if other.device == room.device)
        if room.free < needed:
            return Finding(
                NAME,
                "problem",
                f"{room.free / GIB:.1f} GiB free on the disk of {room.what} {room.path}, {needed / GIB:.0f} GiB needed",
                f"Free some room, or name a folder on another disk with TIDEGATE_{room.what.upper()}.",
            )
    return Finding(NAME, "ok", ", ".join(f"{room.what}: {room.free / GIB:.0f} GiB free" for room in rooms))


def _look(what: str, path: Path, needed: int) -> Room:
    """The nearest folder that exists stands for one that will be made."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return Room(what, path, shutil.disk_usage(there).free, needed, there.stat().st_dev, writable)
