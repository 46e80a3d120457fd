"""What a training continues from belongs to the run's base model."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.fine_tune.start import Start, find_start, same_base
from tidegate.adapters.base_model import ResolvedBase
from tidegate.domain.training import BaseModelRef
from tidegate.errors import InvalidInput
from tidegate.settings import load_settings

_DIGEST, _OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def _base(digest: str) -> ResolvedBase:
    return ResolvedBase(ref=BaseModelRef(uri="/bases/aaaa", digest=digest, name="aaaa"), folder=Path("/bases/aaaa"))


def _start(digest: str) -> Start:
    base = BaseModelRef(uri="/bases/aaaa", digest=digest, name="SmolLM2-135M-Instruct")
    return Start(uri="/adapters/1", folder=Path("/adapters/1"), base=base)


def test_a_continued_version_names_the_base() -> None:
    assert same_base(_base(_DIGEST), _start(_DIGEST), "intents/1").ref.name == "SmolLM2-135M-Instruct"


def test_an_adapter_of_another_base_is_refused_and_both_bases_are_named() -> None:
    with pytest.raises(InvalidInput, match=rf"intents/1 was trained on SmolLM2.*{_OTHER}.*aaaa.*{_DIGEST}"):
        same_base(_base(_DIGEST), _start(_OTHER), "intents/1")


def test_an_address_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    start = find_start(str(tmp_path), load_settings(tmp_path / "home"))
    assert start == Start(uri=str(tmp_path), folder=tmp_path)
    assert same_base(_base(_DIGEST), start, str(tmp_path)) == _base(_DIGEST)
