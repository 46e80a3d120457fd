import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.storage_contract import StorageContract
from tidegate.adapters import storage
from tidegate.adapters.object_storage import translated
from tidegate.errors import InvalidInput, ResourceExhausted, Unavailable
from tidegate.ids import new_id


@pytest.fixture(params=["path", "file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder by plain path, by file:// and in fsspec's own in-memory storage: one contract."""
    if request.param == "memory":
        yield f"memory://{new_id()}"
        return
    yield str(tmp_path / "a folder") if request.param == "path" else storage.to_uri(tmp_path / "a folder")


class TestStorage(StorageContract):
    """All of it, and again on a real S3 server in tests/integration/storage."""


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


OPERATIONS: dict[str, Callable[[str, Path], object]] = {
    "exists": lambda uri, _: storage.exists(uri),
    "read": lambda uri, _: storage.read_bytes(uri),
    "upload": lambda uri, _: storage.upload(Path(__file__), uri),
    "copy here": storage.local_path,
}


@pytest.mark.parametrize("vendor", ["google.auth.exceptions", "azure.core.exceptions"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_driver_that_fails_when_it_is_opened_is_unavailable(operation: str, vendor: str, tmp_path: Path) -> None:
    refusal = type("RefreshError", (Exception,), {"__module__": vendor})

    class Driver(MemoryFileSystem):  # type: ignore[misc]
        cachable = False

        def __init__(self, **_: object) -> None:
            raise refusal("the metadata server said nothing")

    fsspec.register_implementation("tide-cloud", Driver, clobber=True)
    with pytest.raises(Unavailable, match="tide-cloud://bucket/x cannot be used: the metadata server said nothing"):
        OPERATIONS[operation]("tide-cloud://bucket/x", tmp_path)


def test_a_value_error_about_content_is_no_outage() -> None:
    def fail(error: Exception) -> None:
        with translated("s3://bucket/x"):
            raise error

    with pytest.raises(Unavailable, match="AWS_ENDPOINT_URL"):
        fail(ValueError("Invalid endpoint: nowhere"))
    with pytest.raises(UnicodeDecodeError):
        fail(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"))


def test_a_scheme_without_a_driver_says_what_to_install() -> None:
    with pytest.raises(Unavailable, match="'tide'"):
        storage.read_bytes("tide://bucket/x")


def test_a_remote_address_is_no_local_path() -> None:
    with pytest.raises(InvalidInput, match="s3://b/x"):
        storage.local("s3://b/x")
    with pytest.raises(InvalidInput, match="'host'"):
        storage.local("file://host/x")
    assert storage.local("file:///a%20b") == Path("/a b")
