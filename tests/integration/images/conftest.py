"""The images, built once for all tests here on a Debian base from packages (hack/images/base.sh)."""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.images.image import ROOT, Image, build, opened

LIGHT = ("operator", "receiver", "mlflow")
HEAVY = ("pipeline-data", "train", "serve")
# TIDEGATE_IMAGES=all, or some of the names: 25 GB of disk and ten minutes for each of the GPU images.
_ASKED = os.environ.get("TIDEGATE_IMAGES", "").split()
ROLES = LIGHT + tuple(role for role in HEAVY if role in _ASKED or "all" in _ASKED)


@pytest.fixture(scope="session")
def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


@pytest.fixture(scope="session")
def builder() -> str:
    """Makes sure that there is something to build with; elsewhere than on Debian as root these tests are skipped."""
    if os.geteuid() != 0:
        pytest.skip("building images for a test needs root: debootstrap and mounts")
    done = subprocess.run([ROOT / "hack/images/setup.sh"], capture_output=True, text=True, check=False)
    if done.returncode == 3:  # cannot be installed here
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    return "buildah"


@pytest.fixture(scope="session")
def images(builder: str, version: str) -> Iterator[dict[str, Image]]:
    """Role → image, built with its archive."""
    done = build("--archive", *ROLES)
    assert done.returncode == 0, done.stdout + done.stderr
    with ExitStack() as stack:
        yield {role: stack.enter_context(opened(role, version)) for role in ROLES}


@pytest.fixture(params=ROLES)
def role(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def image(images: dict[str, Image], role: str) -> Image:
    return images[role]
