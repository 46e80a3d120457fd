import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tidegate.errors import InvalidInput
from tidegate.platform_file import read_platform_file, write_platform_file
from tidegate.settings import Settings, load_settings, variable

CLUSTER = {
    "database_url": "postgresql://db/tidegate",
    "artifacts_uri": "s3://bucket/artifacts",
    "inference_log.uri": "s3://bucket/log",
    "mlflow_uri": "http://mlflow",
    "gateway_url": "http://gateway",
    "receiver_url": "http://receiver",
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TIDEGATE_")]:
        monkeypatch.delenv(name)


def test_the_local_profile_keeps_everything_below_home(tmp_path: Path) -> None:
    found = load_settings(tmp_path)
    assert found.database_url == f"sqlite:///{tmp_path / 'tidegate.db'}"
    assert found.artifacts_uri == str(tmp_path / "artifacts")
    assert found.inference_log.uri == str(tmp_path / "inference-log")
    for path in (found.attestation_key_path, found.api_keys_path, found.ray_token_path, found.receiver_token_path):
        assert path.parent == tmp_path / "secrets"


def test_home_comes_from_the_environment_and_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDEGATE_HOME", "state")
    assert load_settings().home == tmp_path / "state"
    assert load_settings(tmp_path / "other").home == tmp_path / "other"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(environment=st.none() | st.integers(1, 65535), file=st.none() | st.integers(1, 65535))
def test_the_environment_goes_before_the_file_and_the_file_before_the_default(
    tmp_path: Path, environment: int | None, file: int | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        write_platform_file(tmp_path, {} if file is None else {"gateway_port": file})
        if environment is not None:
            patch.setenv("TIDEGATE_GATEWAY_PORT", str(environment))
        expected = next(value for value in (environment, file, 8080) if value is not None)
        found = load_settings(tmp_path)
    assert found.gateway_port == expected
    assert found.gateway_url == f"http://127.0.0.1:{expected}"


def test_the_file_of_the_home_that_the_environment_names_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_platform_file(tmp_path, {"mlflow_uri": "http://127.0.0.1:7777", "processes": {"mlflow": 1}})
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    assert load_settings().mlflow_uri == "http://127.0.0.1:7777"
    assert read_platform_file(tmp_path)["processes"] == {"mlflow": 1}


def test_nested_fields_merge_over_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_platform_file(tmp_path, {"drift": {"min_rows": 10}})
    monkeypatch.setenv("TIDEGATE_DRIFT__WINDOW_SECONDS", "60")
    found = load_settings(tmp_path).drift
    assert (found.min_rows, found.window_seconds) == (10, 60.0)


@pytest.mark.parametrize("missing", CLUSTER)
def test_a_cluster_has_no_silent_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setenv("TIDEGATE_PROFILE", "cluster")
    for name, value in CLUSTER.items():
        if name != missing:
            monkeypatch.setenv(variable(name), value)
    with pytest.raises(InvalidInput) as caught:
        load_settings(tmp_path)
    named = [
        name for name in CLUSTER if variable(name) in caught.value.problem.replace(",", " ").replace(";", " ").split()
    ]
    assert named == [missing]


def test_a_cluster_with_everything_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_PROFILE", "cluster")
    for name, value in CLUSTER.items():
        monkeypatch.setenv(variable(name), value)
    assert load_settings(tmp_path).database_url == "postgresql://db/tidegate"


def test_a_malformed_value_is_named_with_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_DRIFT__WINDOW_SECONDS", "soon")
    with pytest.raises(InvalidInput, match="TIDEGATE_DRIFT__WINDOW_SECONDS='soon'"):
        load_settings(tmp_path)


@pytest.mark.parametrize("text", ['{"min_rows": 4', "soon"])
def test_a_group_that_is_no_json_is_named_with_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TIDEGATE_DRIFT", text)
    with pytest.raises(InvalidInput, match=re.escape(f"TIDEGATE_DRIFT={text!r}: it is no JSON")):
        load_settings(tmp_path)


def test_what_kubernetes_says_of_services_is_not_taken_for_a_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the Services tidegate-gateway and tidegate-receiver, in each pod of their namespace."""
    for name in ("GATEWAY", "RECEIVER"):
        monkeypatch.setenv(f"TIDEGATE_{name}_PORT", "tcp://10.97.158.233:8080")
        monkeypatch.setenv(f"TIDEGATE_{name}_SERVICE_PORT", "8080")
    settings = load_settings(tmp_path)
    assert (settings.gateway_port, settings.receiver_port) == (8080, 8085)


@pytest.mark.parametrize("content", ["{", "[1]", '"text"'])
def test_a_damaged_platform_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "platform.json").write_text(content)
    with pytest.raises(InvalidInput, match=r"platform\.json"):
        load_settings(tmp_path)


def test_the_database_password_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_DATABASE_URL", "postgresql://me:hunter2@db/x")
    assert "hunter2" not in repr(load_settings(tmp_path))


def test_the_platform_file_is_replaced_whole(tmp_path: Path) -> None:
    write_platform_file(tmp_path, {"a": 1})
    write_platform_file(tmp_path, {"b": 2})
    assert json.loads((tmp_path / "platform.json").read_text()) == {"b": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["platform.json"]


def test_every_field_is_documented() -> None:
    def undocumented(model: type[BaseModel], path: str = "") -> list[str]:
        found = []
        for name, field in model.model_fields.items():
            kind: Any = field.annotation
            if not field.description:
                found.append(path + name)
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found += undocumented(kind, f"{path}{name}.")
        return found

    assert undocumented(Settings) == []
