"""One Ray token for every Ray of a test process.

Ray reads its token once, when it is first imported, which collecting the tests may already do: so the token is there
before, and every platform that a test starts uses it.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path


def share_one_token() -> None:
    """Makes the token and names it in the environment, for this process and those that it starts."""
    token = Path(tempfile.mkdtemp(prefix="tidegate-test-")) / "ray.token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    os.environ.update(TIDEGATE_RAY_TOKEN_PATH=str(token), RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
