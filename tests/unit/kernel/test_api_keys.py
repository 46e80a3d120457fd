import stat
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tidegate.api_keys import ApiKey, ApiKeys, digest_key, ensure_default_keys, new_key
from tidegate.errors import InvalidInput, NotFound


def write(path: Path, keys: object) -> Path:
    path.write_text(yaml.safe_dump({"keys": keys}))
    return path


def entry(name: str, key: str, *roles: str) -> dict[str, object]:
    return {"name": name, "sha256": digest_key(key), "roles": list(roles)}


def test_a_key_gives_its_name_and_roles(tmp_path: Path) -> None:
    path = write(tmp_path / "k.yaml", [entry("app", "tg-1", "invoke"), entry("lab", "tg-2", "feedback:label")])
    keys = ApiKeys.load(path)
    app = keys.authenticate("Bearer tg-1")
    assert app is not None
    assert (app.name, app.may("invoke"), app.may("feedback:label")) == ("app", True, False)
    lab = keys.authenticate("bearer tg-2")
    assert lab is not None
    assert lab.may("feedback:label")


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic tg-1", "tg-1", "Bearer tg-1 x"]
)
def test_everything_else_is_nobody(tmp_path: Path, header: str | None) -> None:
    assert ApiKeys.load(write(tmp_path / "k.yaml", [entry("app", "tg-1", "invoke")])).authenticate(header) is None


@given(st.text())
def test_no_header_makes_it_fail(header: str) -> None:
    keys = ApiKeys((ApiKey(name="app", sha256=digest_key(new_key()), roles=("invoke",)),))
    assert keys.authenticate(header) is None
    assert keys.authenticate("Bearer " + header) is None


def test_default_keys_are_made_once_and_split_the_roles(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "api-keys.yaml"
    plain = ensure_default_keys(path)
    assert ensure_default_keys(path) == plain
    keys = ApiKeys.load(path)
    app, labeller = (keys.authenticate(f"Bearer {plain[name]}") for name in ("app", "labeller"))
    assert app is not None
    assert labeller is not None
    assert (app.may("invoke"), app.may("feedback:rating"), app.may("feedback:label")) == (True, True, False)
    assert (labeller.may("invoke"), labeller.may("feedback:label")) == (False, True)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert all(key not in path.read_text() for key in plain.values())


def test_keys_of_an_administrator_are_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "api-keys.yaml", [entry("ours", "tg-1", "invoke")])
    before = path.read_text()
    assert ensure_default_keys(path) == {}
    assert path.read_text() == before


@pytest.mark.parametrize(
    "keys",
    [
        None,
        [{"name": "app"}],
        [{"name": "app", "sha256": "secret-in-plain", "roles": ["invoke"]}],
        [{"name": "app", "sha256": "0" * 64, "roles": ["admin"]}],
        [entry("app", "tg-1", "invoke"), entry("app", "tg-2", "invoke")],
    ],
)
def test_a_wrong_file_is_named_without_its_values(tmp_path: Path, keys: object) -> None:
    with pytest.raises(InvalidInput, match=r"k\.yaml") as caught:
        ApiKeys.load(write(tmp_path / "k.yaml", keys))
    assert "secret-in-plain" not in str(caught.value)


def test_a_missing_file_and_broken_yaml_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"k\.yaml"):
        ApiKeys.load(tmp_path / "k.yaml")
    (tmp_path / "k.yaml").write_text("keys: [")
    with pytest.raises(InvalidInput, match=r"k\.yaml"):
        ApiKeys.load(tmp_path / "k.yaml")
