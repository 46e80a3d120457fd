"""Follows the registry in the background, so that a registry that hangs never delays a rollback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.controller.conditions import bounded
from tidegate.domain.release import version_of
from tidegate.domain.resources import ModelSource
from tidegate.domain.version import ModelVersion
from tidegate.errors import NotFound, TidegateError
from tidegate.logging import get_logger
from tidegate.ports import Registry

_log = get_logger(__name__)
_STOP_SECONDS = 0.2
"""How long the end of the process may have to wait for a watch that waits for a hint."""
_UNKNOWN = "the registry has not answered yet"


@dataclass(frozen=True, slots=True)
class Nomination:
    """What the registry says of a source: a version, nothing (an alias that nobody set), or trouble."""

    version: ModelVersion | None
    trouble: str | None


@dataclass(frozen=True, slots=True)
class Champion:
    """Where the alias points; `known` is False while the registry does not answer."""

    version: str | None
    known: bool


class RegistryWatch:
    """The newest answers of a registry. `poll` asks; everything else only reads what is known.

    Args:
        alias_set: called as alias_set(model, alias, version) after an alias was set, to record it.
        may_write: whether this process leads now; aliases are not touched while it does not.
    """

    def __init__(
        self,
        registry: Registry,
        alias_set: Callable[[str, str, str], None],
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._registry = registry
        self._alias_set = alias_set
        self._may_write = may_write
        self._lock = threading.Lock()
        self._hinted = threading.Event()
        self._sources: dict[tuple[str, ModelSource], Nomination] = {}
        self._champions: dict[str, Champion] = {}
        self._wanted_aliases: dict[tuple[str, str], str] = {}
        self._wanted_versions: set[tuple[str, str]] = set()
        self._absent: set[tuple[str, str]] = set()
        self._versions: dict[tuple[str, str], ModelVersion] = {}  # versions never change: kept for good

    def nomination(self, model: str, source: ModelSource) -> Nomination:
        """What the source nominates, as of the last poll."""
        with self._lock:
            self._champions.setdefault(model, Champion(None, known=False))
            return self._sources.setdefault((model, source), Nomination(None, _UNKNOWN))

    def versions(self, model: str, numbers: set[str]) -> dict[str, ModelVersion]:
        """Those of the versions that are known; the others are asked for at the next poll."""
        with self._lock:
            found = {number: self._versions[model, number] for number in numbers if (model, number) in self._versions}
            self._wanted_versions |= {(model, number) for number in numbers - found.keys()}
        return found

    def releases(self, model: str, releases: set[str]) -> dict[str, ModelVersion]:
        """The versions of releases, as far as they are known, by release."""
        known = self.versions(model, {version_of(release) for release in releases})
        return {release: known[version_of(release)] for release in releases if version_of(release) in known}

    def absent(self, model: str, release: str) -> bool:
        """Whether the registry said at the last poll that it has no such version."""
        with self._lock:
            return (model, version_of(release)) in self._absent

    def champion(self, model: str) -> Champion:
        with self._lock:
            return self._champions.get(model, Champion(None, known=False))

    def point(self, model: str, alias: str, version: str) -> None:
        """Lets an alias point at a version, at the next poll."""
        with self._lock:
            self._wanted_aliases[model, alias] = version

    def forget_wishes(self) -> None:
        """Another controller may have wanted other aliases since."""
        with self._lock:
            self._wanted_aliases.clear()

    def poll(self) -> None:
        """Asks the registry for everything that is followed. Never raises: trouble is an answer."""
        with self._lock:
            sources, models = list(self._sources), list(self._champions)
            aliases, wanted = dict(self._wanted_aliases), set(self._wanted_versions)
        for (model, alias), version in aliases.items():
            self._set_alias(model, alias, version)
        for model, source in sources:
            nomination = self._ask(model, source)
            with self._lock:
                self._sources[model, source] = nomination
                if nomination.version is not None:
                    self._versions[model, nomination.version.version] = nomination.version
        for model, number in wanted:
            self._fetch(model, number)
        for model in models:
            champion = self._ask_champion(model)
            with self._lock:
                self._champions[model] = champion

    def run(self, stop: threading.Event, seconds: float) -> None:
        """Polls until stopped, and at once after a hint."""
        while not stop.is_set():
            self._hinted.clear()
            self.poll()
            deadline = time.monotonic() + seconds
            while not stop.is_set() and time.monotonic() < deadline and not self._hinted.wait(_STOP_SECONDS):
                pass

    def hint(self) -> None:
        """Something may have changed: the next poll is now."""
        self._hinted.set()

    def _ask(self, model: str, source: ModelSource) -> Nomination:
        try:
            if source.type == "Version":
                return Nomination(self._registry.get(model, source.version or ""), None)
            return Nomination(self._registry.by_alias(model, source.alias or ""), None)
        except TidegateError as error:
            return Nomination(None, bounded(str(error)))
        except Exception as error:
            _log.exception("the registry's answer is not understood", model=model)
            problem = f"the registry's answer for {model} is not understood ({type(error).__name__}: {error})"
            return Nomination(None, f"{bounded(problem)}. Check the setting mlflow_uri.")

    def _ask_champion(self, model: str) -> Champion:
        try:
            found = self._registry.by_alias(model, "champion")
        except Exception as error:
            _log.warning("the champion alias cannot be read", model=model, error=str(error))
            return Champion(None, known=False)
        return Champion(found.version if found is not None else None, known=True)

    def _fetch(self, model: str, number: str) -> None:
        found: ModelVersion | None = None
        try:
            found = self._registry.get(model, number)
        except NotFound:
            _log.warning("version is not in the registry", model=model, version=number)
        except Exception as error:
            _log.warning("version cannot be read", model=model, version=number, error=str(error))
            return
        with self._lock:
            self._wanted_versions.discard((model, number))
            if found is None:
                self._absent.add((model, number))
            else:
                self._absent.discard((model, number))
                self._versions[model, number] = found

    def _set_alias(self, model: str, alias: str, version: str) -> None:
        if not self._may_write():
            return
        try:
            self._registry.set_alias(model, alias, version)
            self._alias_set(model, alias, version)
        except Exception as error:
            _log.warning("alias cannot be set", model=model, alias=alias, version=version, error=str(error))
            return
        with self._lock:
            if self._wanted_aliases.get((model, alias)) == version:
                del self._wanted_aliases[model, alias]
