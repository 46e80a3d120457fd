"""One Ray token for every Ray of a test process.

Ray reads its token once, when it is first imported, which collecting the tests may already do: so the token is there
before, and every platform that a test starts uses it.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from pathlib import Path


def share_one_token() -> None:
    """Makes the token and names it in the environment, for this process and those that it starts."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-test-"))
    atexit.register(_remove, folder, os.getpid())
    token = folder / "ray.token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    os.environ.update(TIDEGATE_RAY_TOKEN_PATH=str(token), RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))


def _remove(folder: Path, maker: int) -> None:
    """At the end of the process that made it: forks end, too."""
    if os.getpid() == maker:
        shutil.rmtree(folder, ignore_errors=True)
