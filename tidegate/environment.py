"""The environment of a step's pod, from mounted ConfigMaps and Secrets: a file a variable.

KFP passes keys of a Secret or a ConfigMap as variables only one by one, and before 2.15 refuses a key that may be
missing. A mounted folder has the keys that there are, and may be missing as a whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

FOLDERS_VARIABLE: Final = "TIDEGATE_ENV_FOLDERS"
RUN_VARIABLE: Final = "TIDEGATE_RUN"
"""The run that a step's process belongs to; on a cluster the id that KFP gave it: every pod of the run carries it."""
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


def take_folders(environment: MutableMapping[str, str] | None = None) -> list[Path]:
    """Files of the folders in `TIDEGATE_ENV_FOLDERS` whose names are variables' names become variables.

    What is set already stays, and an earlier folder wins over a later one.

    Returns:
        The folders that hold nothing: their ConfigMap or Secret is not there.
    """
    found = os.environ if environment is None else environment
    empty = []
    for folder in map(Path, filter(None, found.get(FOLDERS_VARIABLE, "").split(os.pathsep))):
        # Kubernetes' own links begin with two dots.
        files = [path for path in sorted(folder.glob("[!.]*")) if path.is_file()] if folder.is_dir() else []
        if not files:
            empty.append(folder)
        for path in files:
            if _VARIABLE.fullmatch(path.name) and path.name not in found:
                found[path.name] = path.read_text(encoding="utf-8").strip()
    return empty
