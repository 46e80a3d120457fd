"""Many processes register at once; the server goes away in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.registry.racer import bare_version
from tests.mlflow_process import Server
from tidegate.adapters.mlflow_registry import READY_TAG, MlflowRegistry
from tidegate.adapters.mlflow_rest import MlflowRest
from tidegate.errors import Unavailable

pytestmark = pytest.mark.integration
PROCESSES, KEYS, SHARED = 8, 5, 2


def test_concurrent_registrations_lose_and_double_nothing(server: Server, tmp_path: Path) -> None:
    """8 processes x 5 keys; 2 of the keys are the same in all processes, and are one version each."""
    name = "raced"
    racers = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.integration.registry.racer",
                server.uri,
                str(tmp_path / str(i)),
                name,
                str(i),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(PROCESSES)
    ]
    seen: dict[str, set[str]] = {}
    for racer in racers:
        out, error = racer.communicate(timeout=300)
        assert racer.returncode == 0, error
        for key, version in json.loads(out).items():
            seen.setdefault(key, set()).add(version)

    assert len(seen) == PROCESSES * (KEYS - SHARED) + SHARED
    assert all(len(versions) == 1 for versions in seen.values())  # everyone was given the same version for a key
    registry = MlflowRegistry(server.uri, cache=tmp_path / "reader")
    stored = [version.version for version in registry.versions(name)]
    assert Counter(stored) == Counter(version for versions in seen.values() for version in versions)


def test_version_without_ready_tag_is_not_there_and_the_same_key_completes_it(server: Server, tmp_path: Path) -> None:
    rest = MlflowRest(server.uri)
    registry = MlflowRegistry(server.uri, cache=tmp_path)
    version, run_id = bare_version(server.uri, "halfway", "key-1")
    made = registry.register(version, run_id=run_id, idempotency_key="key-1")
    rest.send("DELETE", "/model-versions/delete-tag", name="halfway", version=made.version, key=READY_TAG)
    rest.post("/registered-models/alias", name="halfway", alias="challenger", version=made.version)
    assert registry.versions("halfway") == []
    assert registry.by_alias("halfway", "challenger") is None
    assert registry.by_key("halfway", "key-1") is None

    again = registry.register(version, run_id=run_id, idempotency_key="key-1")
    assert again.version == made.version
    assert [item.version for item in registry.versions("halfway")] == [made.version]


def test_server_that_goes_away_is_named_and_a_rerun_heals(server: Server, tmp_path: Path) -> None:
    version, run_id = bare_version(server.uri, "interrupted", "key-1")
    registry = MlflowRegistry(server.uri, cache=tmp_path, patience=1.0)
    server.stop()
    try:
        with pytest.raises(Unavailable, match=r"MLflow at http://127.*tidegate up"):
            registry.register(version, run_id=run_id, idempotency_key="key-1")
    finally:
        server.start()
    assert registry.versions("interrupted") == []
    made = registry.register(version, run_id=run_id, idempotency_key="key-1")
    assert [item.key for item in registry.versions("interrupted")] == [made.key]
