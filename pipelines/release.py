"""Names of versions: release and commit of whoever uploads, which is where packages are compiled."""

from __future__ import annotations

import re

from components.register.lineage import code_commit
from tidegate.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,126}")
_DIRTY = "-dirty"
_COMMIT, _CONTENT = 12, 8


def version_name(digest: str, given: str = "") -> str:
    """`<release>-<commit>`; a tree with changes of its own adds the content's digest, which alone tells it apart.

    Args:
        digest: of the package's content.
        given: a name that somebody chose; wins.

    Raises:
        InvalidInput: the chosen name cannot be one.
    """
    from importlib.metadata import version  # noqa: PLC0415

    if given:
        if not _NAME.fullmatch(given):
            step = "Use letters, digits, dots, dashes and underscores, at most 127."
            raise InvalidInput(f"version name {given!r} cannot be used", next_step=step)
        return given
    commit = code_commit()
    clean = commit.removesuffix(_DIRTY)
    name = f"{version('tidegate')}-{clean[:_COMMIT]}"
    if clean != commit or commit == "unknown":
        return f"{name}{_DIRTY}-{digest.removeprefix('sha256:')[:_CONTENT]}"
    return name
