"""Storage on a real S3 server: the contract of all storages, and what only a server over a network does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
import s3fs

from tests.integration.storage.conftest import Environment
from tests.minio import Minio
from tests.storage_contract import StorageContract
from tidegate.adapters import object_storage, storage
from tidegate.errors import Denied, NotFound, TidegateError, Unavailable

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

Answer = TypeVar("Answer")
OPERATIONS: dict[str, Callable[[str, Path], object]] = {
    "exists": lambda uri, _: storage.exists(uri),
    "read": lambda uri, _: storage.read_bytes(uri),
    "write": lambda uri, _: storage.write_bytes(uri, b"x"),
    "upload": lambda uri, _: storage.upload(Path(__file__), uri),
    "list": lambda uri, _: storage.list_files(uri),
    "remove": lambda uri, _: storage.remove_tree(uri),
    "copy here": storage.local_path,
}


class TestBucket(StorageContract):
    """All of it."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limits, smaller."""
    for name, value in (("_READ_SECONDS", 1), ("_WRITE_SECONDS", 3.0), ("_TRIES", 1), ("_ROUNDS", 1)):
        monkeypatch.setattr(object_storage, name, value)


def answered(call: Callable[[], Answer]) -> Answer:
    """What a server that runs answers in the end: on a busy machine one try of a second may be too short."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return call()
        except Unavailable:
            if time.monotonic() > deadline:
                raise


def test_more_files_than_one_answer_lists_are_all_listed_and_deleted(bucket: str, server: Minio) -> None:
    client = server.client()
    names = [f"{number:04}.txt" for number in range(1001)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: client.put_object(Bucket=bucket, Key=f"many/{name}", Body=b""), names))
    client.put_object(Bucket=bucket, Key="many-others", Body=b"")
    assert storage.list_files(f"s3://{bucket}/many") == names
    storage.remove_tree(f"s3://{bucket}/many")
    assert server.keys(bucket) == ["many-others"]


def test_markers_of_folders_are_no_files(bucket: str, server: Minio, cache: Path) -> None:
    """Consoles leave them behind "create folder", and other programs behind every folder that they make."""
    for key in ("data/", "data/sub/"):
        server.client().put_object(Bucket=bucket, Key=key, Body=b"")
    storage.write_text(f"s3://{bucket}/data/sub/a.txt", "a")
    assert storage.list_files(f"s3://{bucket}/data") == ["sub/a.txt"]
    storage.copy_tree(f"s3://{bucket}/data", f"s3://{bucket}/copy")
    assert server.keys(bucket, "copy") == ["copy/sub/a.txt"]
    assert (storage.local_path(f"s3://{bucket}/data", cache) / "sub/a.txt").read_text() == "a"


def test_of_two_writers_of_one_name_one_wins_whole(bucket: str) -> None:
    address = f"s3://{bucket}/contended"
    contents = [bytes([number]) * (1 << 20) for number in range(6)]
    storage.write_bytes(address, contents[0])
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(storage.read_bytes(address))

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(lambda content: storage.write_bytes(address, content), contents * 3))
    done.set()
    reader.join()
    assert seen | {storage.read_bytes(address)} <= set(contents), "a reader saw parts of two contents"


def test_what_another_program_wrote_is_seen_at_once(bucket: str, server: Minio) -> None:
    assert storage.exists(f"s3://{bucket}/late/a.txt") is False
    storage.write_text(f"s3://{bucket}/late/b.txt", "b")
    assert storage.list_files(f"s3://{bucket}/late") == ["b.txt"]
    server.client().put_object(Bucket=bucket, Key="late/a.txt", Body=b"a")
    assert storage.list_files(f"s3://{bucket}/late") == ["a.txt", "b.txt"]
    assert storage.read_text(f"s3://{bucket}/late/a.txt") == "a"


@pytest.mark.parametrize(
    "wrong", [{"AWS_SECRET_ACCESS_KEY": "not-it"}, {"AWS_ACCESS_KEY_ID": "nobody"}], ids=["secret", "key"]
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_wrong_keys_are_said_by_the_names_of_their_variables(
    operation: str, wrong: dict[str, str], bucket: str, environment: Environment, cache: Path
) -> None:
    environment(**wrong)
    with pytest.raises(Denied, match=f"s3://{bucket}/x may not be used.*AWS_SECRET_ACCESS_KEY"):
        OPERATIONS[operation](f"s3://{bucket}/x", cache)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_missing_keys_are_said(operation: str, bucket: str, environment: Environment, cache: Path) -> None:
    environment(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)
    with pytest.raises(Denied, match="Set AWS_ACCESS_KEY_ID"):
        OPERATIONS[operation](f"s3://{bucket}/x", cache)


@pytest.mark.parametrize("operation", ["read", "write", "upload", "list"])
def test_a_missing_bucket_is_named_as_one(operation: str, environment: Environment, cache: Path) -> None:
    with pytest.raises(NotFound, match="there is no bucket 'nobody-made-it'"):
        OPERATIONS[operation]("s3://nobody-made-it/x", cache)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "127.0.0.1:9000", "http://nobody.invalid"])
def test_an_endpoint_that_leads_nowhere_is_said_by_its_name(
    endpoint: str, bucket: str, environment: Environment
) -> None:
    environment(AWS_ENDPOINT_URL=endpoint)
    with pytest.raises(Unavailable, match="AWS_ENDPOINT_URL") as caught:
        storage.read_bytes(f"s3://{bucket}/x")
    assert endpoint.removeprefix("http://") in caught.value.problem


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_falls_silent_is_given_up(
    operation: str, bucket: str, running: Minio, impatient: None, environment: Environment, cache: Path
) -> None:
    answered(lambda: storage.write_bytes(f"s3://{bucket}/x", b"x"))  # the connection is there
    running.freeze()
    with pytest.raises(Unavailable, match=f"s3://{bucket}/x cannot be used"):
        OPERATIONS[operation](f"s3://{bucket}/x", cache)
    running.thaw()
    assert answered(lambda: storage.read_bytes(f"s3://{bucket}/x"))


def test_a_server_that_goes_in_the_middle_leaves_no_half_file(
    bucket: str, running: Minio, impatient: None, cache: Path
) -> None:
    address, old, new = f"s3://{bucket}/large", b"o" * (24 << 20), b"n" * (24 << 20)
    answered(lambda: storage.write_bytes(address, old))
    failed: list[TidegateError] = []
    gone = threading.Event()

    def write() -> None:
        while True:
            try:
                storage.write_bytes(address, new)
            except TidegateError as error:
                if gone.is_set() or not isinstance(error, Unavailable):
                    failed.append(error)
                    return

    writer = threading.Thread(target=write)
    writer.start()
    while not answered(lambda: storage.read_bytes(address)).startswith(b"n"):
        assert writer.is_alive(), failed
    running.stop()
    gone.set()
    writer.join()
    assert isinstance(failed[0], Unavailable)
    with pytest.raises(Unavailable):
        storage.local_path(address, cache)
    assert list(cache.rglob("*.part")) == []
    running.start()
    assert answered(lambda: storage.read_bytes(address)) in (old, new)
    answered(lambda: storage.write_bytes(address, old))
    assert answered(lambda: storage.local_path(address, cache)).read_bytes() == old


def test_a_program_that_holds_connections_survives_a_restart_of_the_server(bucket: str, running: Minio) -> None:
    storage.write_text(f"s3://{bucket}/x", "x")
    running.stop()
    running.start()
    assert storage.read_text(f"s3://{bucket}/x") == "x"


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_either_name_of_the_region_is_taken(
    variable: str, bucket: str, server: Minio, environment: Environment
) -> None:
    environment(AWS_REGION=None, AWS_DEFAULT_REGION=None)
    environment(**{variable: server.environment["AWS_REGION"]})
    storage.write_text(f"s3://{bucket}/x", "x")
    filesystem: s3fs.S3FileSystem
    filesystem, _ = object_storage.open_remote(f"s3://{bucket}/x")
    assert filesystem.s3.meta.region_name == server.environment["AWS_REGION"]
