"""An image that `hack/images/build.sh` built: what it says of itself, its files, and programs in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
USER = 65532
PYTHON = "/opt/tidegate/bin/python"
PREFIX = os.environ.get("IMAGE_PREFIX", "localhost/tidegate")
_WRITABLE = ("/tmp", "/var/lib/tidegate")  # noqa: S108 - what the chart mounts, and nothing else


def build(
    *arguments: str, environment: Mapping[str, str] | None = None, tree: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """`hack/images/build.sh` of a tree, on the local base unless the environment names another."""
    return subprocess.run(
        [tree / "hack/images/build.sh", *arguments],
        env={"BUILDER": "buildah", "BASE_IMAGE": "local"} | dict(os.environ) | dict(environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )


def buildah(*arguments: str) -> str:
    return subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def archives(version: str) -> Path:
    """Where `build.sh --archive` puts archives and SBOMs."""
    named = os.environ.get("ARCHIVES")
    return Path(named) if named else Path.home() / ".cache/tidegate/images" / version


@dataclass(frozen=True)
class Image:
    """An image in buildah's storage, mounted at `root`."""

    name: str
    root: Path
    described: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """What its `config` says: User, Env, Labels…"""
        found: dict[str, Any] = self.described["OCIv1"]["config"]
        return found

    @property
    def created(self) -> str:
        return str(self.described["OCIv1"]["created"])

    @property
    def layers(self) -> list[str]:
        """Digests of the layers' files, the base's first."""
        found: list[str] = self.described["OCIv1"]["rootfs"]["diff_ids"]
        return found

    def path(self, inside: str) -> Path:
        return self.root / inside.lstrip("/")

    def run(
        self, folder: Path, arguments: Sequence[str], *, host_network: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program as the chart's pods do: its own user, no rights, read-only root, two writable folders."""
        command, identity = self.bundle(folder, arguments, host_network=host_network)
        try:
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        finally:
            subprocess.run(["runc", "delete", "--force", identity], capture_output=True, check=False)

    def bundle(self, folder: Path, arguments: Sequence[str], *, host_network: bool = False) -> tuple[list[str], str]:
        """A runc bundle in `folder`; gives the command that runs it, and the container's name."""
        mounts: list[dict[str, Any]] = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "mode=1777"]},  # noqa: S108
        ]
        folder.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(_WRITABLE):  # as an emptyDir is
            empty = folder / f"empty-{number}"
            empty.mkdir(exist_ok=True)
            empty.chmod(0o777)
            mounts.append(
                {"destination": path, "type": "bind", "source": str(empty), "options": ["rbind", "rw", "nosuid"]}
            )
        namespaces = ["pid", "mount", "ipc", "uts"] + ([] if host_network else ["network"])
        none: list[str] = []
        spec = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": USER, "gid": USER},
                "args": list(arguments),
                "env": self.config["Env"],
                "cwd": self.config["WorkingDir"],
                "noNewPrivileges": True,
                "capabilities": {"bounding": none, "effective": none, "permitted": none},
            },
            "root": {"path": str(self.root), "readonly": True},
            "mounts": mounts,
            "linux": {"namespaces": [{"type": kind} for kind in namespaces]},
        }
        (folder / "config.json").write_text(json.dumps(spec), encoding="utf-8")
        identity = f"tidegate-{os.getpid()}-{folder.name}"
        return ["runc", "run", "--bundle", str(folder), identity], identity


@contextmanager
def opened(role: str, version: str) -> Iterator[Image]:
    """The image of a role, mounted."""
    name = f"{PREFIX}/{role}:{version}"
    container = buildah("from", "--pull-never", name)
    try:
        described = json.loads(buildah("inspect", "--type", "image", name))
        yield Image(name=name, root=Path(buildah("mount", container)), described=described)
    finally:
        buildah("rm", container)


def copy_tree(target: Path) -> Path:
    """The files that images are built from, to be changed in a test."""
    for name in (
        *("tidegate", "components", "pipelines", "serving", "monitoring", "images", "requirements", "hack"),
        *("pyproject.toml", "README.md", "LICENSE", ".dockerignore"),
    ):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / name)
    return target
