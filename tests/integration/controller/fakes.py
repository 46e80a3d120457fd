"""A registry and engines in one JSON file: they outlive a killed controller, as the real ones do.

The real ones are exercised by tests/integration/registry, tests/integration/engines and the end-to-end test.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.unit.rollout.builders import version
from tidegate import attestation
from tidegate.domain.version import ModelVersion
from tidegate.errors import NotFound, Unavailable
from tidegate.ids import digest_json
from tidegate.ports import AdapterSlot, EngineStatus

KEY = b"k" * 32
KEYS = {attestation.key_id_of(KEY): KEY}


def signed(number: str, **changes: Any) -> ModelVersion:
    """A version whose attestation verifies, with an adapter of its own."""
    made = version(number, **changes)
    adapter = made.adapter.model_copy(update={"digest": digest_json({"adapter": number})})
    proof = attestation.sign(made.report, KEY, attestation.key_id_of(KEY), made.created_at)
    return made.model_copy(update={"attestation": proof, "adapter": adapter})


class FileRegistry:
    """Versions and aliases in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _read(self) -> dict[str, Any]:
        if not self._path.exists():
            return {"versions": {}, "aliases": {}}
        data: dict[str, Any] = json.loads(self._path.read_text())
        return data

    def _write(self, data: dict[str, Any]) -> None:
        _replace(self._path, data)

    def add(self, made: ModelVersion) -> None:
        data = self._read()
        data["versions"][made.version] = made.model_dump(mode="json")
        self._write(data)

    def forget(self, number: str) -> None:
        """Somebody deleted the version."""
        data = self._read()
        del data["versions"][number]
        data["aliases"] = {alias: version for alias, version in data["aliases"].items() if version != number}
        self._write(data)

    def register(self, version: ModelVersion, *, run_id: str, idempotency_key: str) -> ModelVersion:
        self.add(version)
        return version

    def get(self, name: str, version: str) -> ModelVersion:
        found = self._read()["versions"].get(version)
        if found is None:
            raise NotFound(f"version {version} of {name} does not exist", next_step="List them.")
        return ModelVersion.model_validate(found)

    def versions(self, name: str) -> Sequence[ModelVersion]:
        return [ModelVersion.model_validate(v) for v in self._read()["versions"].values()]

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        number = self._read()["aliases"].get(alias)
        return self.get(name, number) if number else None

    def set_alias(self, name: str, alias: str, version: str) -> None:
        data = self._read()
        data["aliases"][alias] = version
        self._write(data)

    def set_tag(self, name: str, version: str, key: str, value: str) -> None:
        raise NotImplementedError


class FileEngines:
    """Engines that hold at once what they are told to hold, except adapters that `break_adapter` names."""

    _changes = threading.Lock()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._broken = path.with_name("broken_adapters.json")
        self._moods = path.with_name("engine_moods.json")

    def mood(self, runtime: str, mood: str) -> None:
        """How an engine is from now on: `well`, `down` (no replica runs), `short` (one of two runs) or `silent`."""
        _replace(self._moods, {**self._said(self._moods), runtime: mood})

    def break_adapter(self, key: str) -> None:
        """The engine cannot hold this adapter from now on: its files are damaged."""
        _replace(self._broken, {**self._said(self._broken), key: True})

    def _read(self) -> dict[str, Any]:
        return self._said(self._path)

    @staticmethod
    def _said(path: Path) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return data

    def ensure(self, runtime: str, spec: Mapping[str, Any], adapters: Sequence[AdapterSlot]) -> None:
        with self._changes:
            _replace(self._path, {**self._read(), runtime: [slot.id for slot in adapters]})

    def status(self, runtime: str) -> EngineStatus:
        data = self._read()
        if runtime not in data:
            raise NotFound(f"no engine runs for ModelRuntime {runtime!r}", next_step="Wait.")
        mood = self._said(self._moods).get(runtime, "well")
        if mood == "silent":
            raise Unavailable(f"Ray of {runtime!r} does not answer", next_step="See its pods.")
        broken = self._said(self._broken)
        failed = [key for key in data[runtime] if key in broken]
        return EngineStatus(
            ready=not failed and mood == "well",
            url="http://127.0.0.1:1",
            adapters=tuple(key for key in data[runtime] if key not in broken and mood != "down"),
            replicas_ready=0 if mood == "down" else 1,
            replicas_wanted=2 if mood == "short" else 1,
            message="; ".join(f"adapter {key} is failed" for key in failed) or ("" if mood == "well" else mood),
        )

    def remove(self, runtime: str) -> None:
        with self._changes:
            _replace(self._path, {name: held for name, held in self._read().items() if name != runtime})


def _replace(path: Path, data: dict[str, Any]) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(data))
    part.replace(path)
