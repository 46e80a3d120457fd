"""One Ray token for every Ray of a test process.

Ray reads its token once, when it is first imported, which collecting the tests may already do: so the token is there
before, and every platform that a test starts uses it.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

_token = Path(tempfile.mkdtemp(prefix="tidegate-test-")) / "ray.token"
_token.write_text(secrets.token_hex(32))
_token.chmod(0o600)
os.environ["TIDEGATE_RAY_TOKEN_PATH"] = str(_token)
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN_PATH"] = str(_token)
