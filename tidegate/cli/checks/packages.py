"""Python's version, and the installed packages against the bounds that tidegate's own metadata declares."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata

from tidegate.cli.checks.finding import Finding
from tidegate.settings import Settings

NAME = "packages"
MINIMUM_PYTHON = (3, 11)
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?([^;]*)(?:;(.*))?$")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
_MEND = "Install what the lock names: make clean setup."


def check(settings: Settings) -> Finding:
    """Reads metadata only: importing the packages would take half a minute."""
    extras = ("local",) if settings.profile == "local" else ()
    return decide(sys.version_info[:2], bounds(metadata.requires("tidegate") or (), extras), _installed)


def decide(
    python: tuple[int, int], wanted: Iterable[tuple[str, str]], installed: Callable[[str], str | None]
) -> Finding:
    """Judges Python and each (package, bounds such as '>=2.0,<3')."""
    if python < MINIMUM_PYTHON:
        return Finding(
            NAME,
            "problem",
            f"Python {python[0]}.{python[1]} runs, {MINIMUM_PYTHON[0]}.{MINIMUM_PYTHON[1]} or newer is needed",
            "Make the environment anew with a newer Python: make clean setup PYTHON=python3.11.",
        )
    wrong, count = [], 0
    for name, limits in wanted:
        count += 1
        version = installed(name)
        if version is None:
            wrong.append(f"{name} is missing (wanted {limits or 'any'})")
        elif not fits(version, limits):
            wrong.append(f"{name} {version} is installed, wanted {limits}")
    if wrong:
        return Finding(NAME, "problem", "; ".join(wrong), _MEND)
    return Finding(NAME, "ok", f"Python {python[0]}.{python[1]}, {count} packages within their bounds")


def bounds(requirements: Sequence[str], extras: Iterable[str]) -> list[tuple[str, str]]:
    """(package, bounds) of tidegate itself and of the extras, extras that name other extras included."""
    wanted: dict[str, str] = {}
    open_extras, seen = [None, *extras], set()
    while open_extras:
        extra = open_extras.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for name, inner, limits in _of_extra(requirements, extra):
            if name == "tidegate":
                open_extras.extend(part.strip() for part in inner.split(","))
            else:
                wanted[name] = limits
    return sorted(wanted.items())


def fits(version: str, limits: str) -> bool:
    """Whether a version is within comma-separated `>=` and `<` bounds, compared by release number (PEP 440)."""
    have = _release(version)
    for limit in filter(None, (part.strip() for part in limits.split(","))):
        if limit.startswith(">=") and have < _release(limit[2:]):
            return False
        if limit.startswith("<") and not limit.startswith("<=") and have >= _release(limit[1:]):
            return False
    return True


def _of_extra(requirements: Sequence[str], extra: str | None) -> Iterator[tuple[str, str, str]]:
    for text in requirements:
        parts = _REQUIREMENT.match(text)
        if parts is None:
            continue
        marker = _EXTRA.search(parts[4] or "")
        if (marker[1] if marker else None) == extra:
            yield parts[1].lower(), parts[2] or "", parts[3].strip(" ()")


def _release(version: str) -> tuple[int, ...]:
    """The release segment, without trailing zeros: '2.60.0+cpu' is (2, 60)."""
    numbers = re.match(r"\s*\d+(\.\d+)*", version)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else [0]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
