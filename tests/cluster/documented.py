"""What docs/cluster.md tells a platform engineer to write and to run, as it stands there."""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from tests.cluster.node import ROOT, Json

_PAGE = ROOT / "docs" / "cluster.md"


def values() -> Json:
    """The least values of an installation."""
    found: Json = yaml.safe_load(_block("image: {registry:"))
    return found


def commands(holding: str, replaced: Mapping[str, str]) -> str:
    """The block of commands with that text; `replaced`: what is another on this machine, such as addresses."""
    text = _block(holding)
    for there, here in replaced.items():
        assert there in text, f"no {there!r} in the block of docs/cluster.md with {holding!r}"
        text = text.replace(there, here)
    return text


def _block(holding: str) -> str:
    blocks = re.findall(r"^```\w*\n(.*?)^```", _PAGE.read_text(), re.DOTALL | re.MULTILINE)
    found = [block for block in blocks if holding in block]
    assert len(found) == 1, f"{len(found)} blocks of docs/cluster.md hold {holding!r}"
    return str(found[0])
