"""What the pages for platform engineers tell them to write and to run, as it stands there."""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from tests.cluster.node import ROOT, Json

_PAGE = "cluster.md"


def values() -> Json:
    """The least values of an installation."""
    found: Json = yaml.safe_load(_block("image: {registry:"))
    return found


def ray_cluster() -> Json:
    """The least RayCluster that jobs may be sent to."""
    found: Json = yaml.safe_load(_block("kind: RayCluster", "pipelines.md"))
    return found


def commands(holding: str, replaced: Mapping[str, str], page: str = _PAGE) -> str:
    """The block of commands with that text; `replaced`: what is another on this machine, such as addresses."""
    text = _block(holding, page)
    for there, here in replaced.items():
        assert there in text, f"no {there!r} in the block of docs/{page} with {holding!r}"
        text = text.replace(there, here)
    return text


def _block(holding: str, page: str = _PAGE) -> str:
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE)
    found = [block for block in blocks if holding in block]
    assert len(found) == 1, f"{len(found)} blocks of docs/{page} hold {holding!r}"
    return str(found[0])
