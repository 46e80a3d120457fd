"""Which code made a version."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import tidegate

COMMIT_VARIABLE = "TIDEGATE_COMMIT"


def code_commit(folder: Path | None = None) -> str:
    """The git commit of the running code, '-dirty' appended when the tree was not clean.

    Outside a checkout (an image) it is TIDEGATE_COMMIT, which the image's build sets; else 'unknown'.
    """
    given = os.environ.get(COMMIT_VARIABLE)
    if given:
        return given
    place = folder or Path(tidegate.__file__).parent
    commit = _git(place, "rev-parse", "HEAD")
    if commit is None:
        return "unknown"
    return f"{commit}-dirty" if _git(place, "status", "--porcelain") else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603  fixed arguments
            ["git", "-C", str(folder), *arguments],  # noqa: S607  wherever PATH has it
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
