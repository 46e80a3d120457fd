#!/usr/bin/env python3
"""Packs a folder as an OCI image of one layer, as a tar that `ctr images import` takes. Standard library only.

Names and times are fixed, so that the same folder gives the same digest.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tarfile
from pathlib import Path

SKIPPED = ("var/cache/apt/archives/", "var/lib/apt/lists/", "dev/")
"""What a Debian root holds and a container does not need."""


def main() -> None:
    arguments = _arguments()
    out = Path(arguments.out)
    layer = out.with_name(out.name + ".layer")
    try:
        _pack(Path(arguments.folder), layer)
        digest, size = _digest(layer)
        _archive(out.with_name(out.name + ".part"), arguments, layer, digest, size)
        out.with_name(out.name + ".part").replace(out)
    finally:
        layer.unlink(missing_ok=True)
    print(arguments.name, f"sha256:{digest}", f"{size} bytes")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", help="the tar to write")
    parser.add_argument("name", help="image name with its tag")
    parser.add_argument("folder", help="the image's root")
    parser.add_argument("--user", default="")
    parser.add_argument("--entrypoint", default="", help="separated by commas")
    parser.add_argument("--cmd", default="", help="separated by commas")
    parser.add_argument("--env", action="append", default=[], help="NAME=VALUE, repeatable")
    return parser.parse_args()


def _pack(folder: Path, layer: Path) -> None:
    def kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        member.mtime = 0
        return None if member.name.removeprefix("./").startswith(SKIPPED) and not member.isdir() else member

    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as tar:  # no gzip: it would cost more than it saves here
        for entry in sorted(folder.iterdir()):
            tar.add(entry, arcname=f"./{entry.name}", filter=kept)


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def _archive(out: Path, arguments: argparse.Namespace, layer: Path, digest: str, size: int) -> None:
    """An OCI image layout: https://github.com/opencontainers/image-spec/blob/main/image-layout.md"""
    blobs: dict[str, bytes] = {}

    def blob(media_type: str, value: dict[str, object]) -> dict[str, object]:
        content = json.dumps(value, sort_keys=True).encode()
        name = hashlib.sha256(content).hexdigest()
        blobs[name] = content
        return {
            "mediaType": f"application/vnd.oci.image.{media_type}+json",
            "digest": f"sha256:{name}",
            "size": len(content),
        }

    config = blob("config.v1", _config(arguments, digest))
    layers = [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": f"sha256:{digest}", "size": size}]
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = blob("manifest.v1", {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers})
    manifest["platform"] = {"architecture": "amd64", "os": "linux"}
    manifest["annotations"] = {
        "io.containerd.image.name": arguments.name,
        "org.opencontainers.image.ref.name": arguments.name.rsplit(":", 1)[1],
    }
    with tarfile.open(out, "w") as tar:
        _put(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _put(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode())
        for name, content in blobs.items():
            _put(tar, f"blobs/sha256/{name}", content)
        with layer.open("rb") as file:
            member = tarfile.TarInfo(f"blobs/sha256/{digest}")
            member.size = size
            tar.addfile(member, file)


def _config(arguments: argparse.Namespace, digest: str) -> dict[str, object]:
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    config: dict[str, object] = {"Env": [path, *arguments.env], "WorkingDir": "/"}
    if arguments.user:
        config["User"] = arguments.user
    if arguments.entrypoint:
        config["Entrypoint"] = arguments.entrypoint.split(",")
    if arguments.cmd:
        config["Cmd"] = arguments.cmd.split(",")
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "image.py"}],
    }


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    main()
