"""The environment of a step's pod, from mounted folders."""

from __future__ import annotations

from pathlib import Path

from tidegate.environment import FOLDERS_VARIABLE, take_folders


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
