"""The environment of a step's pod, from mounted folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from components._step import output_uri, step_key
from tidegate.environment import FOLDERS_VARIABLE, take_folders
from tidegate.wire import error_from_line


def _folder(path: Path, **files: str) -> Path:
    """As the kubelet mounts a ConfigMap: links over a folder of two dots."""
    data = path / "..2026"
    data.mkdir(parents=True)
    (path / "..data").symlink_to(data.name)
    for name, text in files.items():
        (data / name.replace("__dot__", ".")).write_text(text)
        (path / name.replace("__dot__", ".")).symlink_to(f"..data/{name.replace('__dot__', '.')}")
    return path


def test_files_become_variables_and_what_is_set_stays(tmp_path: Path) -> None:
    secret = _folder(tmp_path / "secret", AWS_SECRET_ACCESS_KEY="s3cret\n", BOTH="secret", attestation__dot__key="k")
    config = _folder(tmp_path / "config", TIDEGATE_MLFLOW_URI="http://m", BOTH="config", SET="config")
    environment = {FOLDERS_VARIABLE: f"{secret}:{config}:{tmp_path / 'missing'}", "SET": "before"}
    assert take_folders(environment) == [tmp_path / "missing"]
    del environment[FOLDERS_VARIABLE]
    assert environment == {
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "BOTH": "secret",
        "SET": "before",
        "TIDEGATE_MLFLOW_URI": "http://m",
    }


def test_without_folders_nothing_is_taken() -> None:
    environment = {"A": "b"}
    assert take_folders(environment) == []
    assert environment == {"A": "b"}


def test_a_step_without_its_config_map_says_which_one_in_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(FOLDERS_VARIABLE, str(tmp_path / "environment"))
    monkeypatch.setenv("TIDEGATE_PROFILE", "cluster")
    with pytest.raises(SystemExit):
        output_uri(step_key("prepare", "run-1"))
    errors = [error for line in capsys.readouterr().out.splitlines() if (error := error_from_line(line)) is not None]
    assert "TIDEGATE_ARTIFACTS_URI" in errors[0].problem
    assert f"{tmp_path / 'environment'} holds nothing" in errors[0].next_step
