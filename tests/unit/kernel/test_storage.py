import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.adapters import storage
from tidegate.errors import InvalidInput, NotFound, ResourceExhausted, Unavailable
from tidegate.ids import new_id


@pytest.fixture(params=["path", "file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder by plain path, by file:// and in fsspec's own in-memory storage: one contract."""
    if request.param == "memory":
        yield f"memory://{new_id()}"
        return
    yield str(tmp_path / "a folder") if request.param == "path" else storage.to_uri(tmp_path / "a folder")


def test_what_is_written_is_read_again(folder: str) -> None:
    address = storage.join(folder, "deep", "report.json")
    assert not storage.exists(address)
    storage.write_text(address, "tide ≈ gate")
    storage.write_text(address, "gate ≈ tide")
    assert storage.exists(address)
    assert storage.read_text(address) == "gate ≈ tide"
    assert storage.list_files(folder) == ["deep/report.json"]


def test_what_is_not_there_is_named(folder: str, tmp_path: Path) -> None:
    address = storage.join(folder, "absent")
    for look in (storage.read_bytes, storage.list_files, lambda uri: storage.local_path(uri, tmp_path / "cache")):
        with pytest.raises(NotFound, match="absent"):
            look(address)


def test_a_tree_is_copied_and_found_locally(folder: str, tmp_path: Path) -> None:
    storage.write_bytes(storage.join(folder, "a.bin"), b"\x00\x01")
    storage.write_bytes(storage.join(folder, "sub/b.bin"), b"b")
    target = str(tmp_path / "copy")
    storage.copy_tree(folder, target)
    assert storage.list_files(target) == ["a.bin", "sub/b.bin"]
    local = storage.local_path(folder, tmp_path / "cache")
    assert (local / "sub" / "b.bin").read_bytes() == b"b"
    assert storage.local_path(folder, tmp_path / "cache") == local


def test_a_deleted_tree_is_gone_and_may_be_deleted_again(folder: str) -> None:
    for name in ("01A/report.html", "01A/deep/data.json", "01B/report.html"):
        storage.write_text(storage.join(folder, name), "x")
    for _ in range(2):
        storage.remove_tree(storage.join(folder, "01A"))
        assert storage.list_files(folder) == ["01B/report.html"]


def test_bytes_that_are_no_text_are_an_input_error(folder: str) -> None:
    address = storage.join(folder, "latin.txt")
    storage.write_bytes(address, b"ok \xff")
    with pytest.raises(InvalidInput, match="byte 3"):
        storage.read_text(address)


@pytest.mark.parametrize("part", ["/etc/passwd", "../up", "a/../../b"])
def test_no_name_leads_out_of_its_folder(part: str) -> None:
    with pytest.raises(InvalidInput, match="leads out"):
        storage.join("s3://bucket/folder", part)


def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    storage.write_text(str(path), "old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceExhausted, match=r"report\.json"):
        storage.write_text(str(path), "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_a_scheme_without_a_driver_says_what_to_install() -> None:
    with pytest.raises(Unavailable, match="'tide'"):
        storage.read_bytes("tide://bucket/x")


def test_a_remote_address_is_no_local_path() -> None:
    with pytest.raises(InvalidInput, match="s3://b/x"):
        storage.local("s3://b/x")
    with pytest.raises(InvalidInput, match="'host'"):
        storage.local("file://host/x")
    assert storage.local("file:///a%20b") == Path("/a b")
