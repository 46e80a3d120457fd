"""Release: what is rolled out. A version on an engine; another engine under the same version is another release.

A version's number alone is the release on a runtime's first engine: "7". On the engine that a later change of the
ModelRuntime declared it is "7+e2": the arms of a rollout, the evidence and the record all tell the two apart.
"""

from __future__ import annotations

import re
from typing import Final

_MARK = "+"
FIRST = ""
"""The engine of a runtime that never changed."""
ENGINE_SUFFIX: Final = re.compile(r"-e[0-9]+$")
"""What the name of an engine other than the first ends with."""


def release_of(version: str, engine: str) -> str:
    """'7' and 'e2' are '7+e2'; the first engine has no name."""
    return f"{version}{_MARK}{engine}" if engine else version


def version_of(release: str) -> str:
    """The registry's number."""
    return release.partition(_MARK)[0]


def engine_of(release: str) -> str:
    """The engine's name within its runtime; empty for the first."""
    return release.partition(_MARK)[2]


def engine_name(runtime: str, engine: str) -> str:
    """The name under which a runtime's engine runs."""
    return f"{runtime}-{engine}" if engine else runtime
