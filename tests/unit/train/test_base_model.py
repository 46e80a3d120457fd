import errno
import json
import pickle
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tidegate.adapters.base_model import resolve_base_model
from tidegate.adapters.base_model_files import base_digest, disk_room, exclusive, tokenizer_digest
from tidegate.errors import ContractBroken, InvalidInput, NotFound, ResourceExhausted, Unavailable


def make_model(folder: Path, **config: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], **config}))
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


def test_a_folder_is_used_where_it_lies_by_path_and_by_file_address(folder: Path, tmp_path: Path) -> None:
    by_path = resolve_base_model(str(folder), tmp_path / "cache")
    by_address = resolve_base_model(folder.as_uri(), tmp_path / "cache")
    assert by_path.folder == by_address.folder == folder
    assert by_path.ref.digest == by_address.ref.digest
    assert by_path.ref.name == "model"


def test_the_digest_is_of_the_model_files_alone(folder: Path, tmp_path: Path) -> None:
    before = base_digest(folder)
    (folder / "README.md").write_text("hello")
    assert base_digest(folder) == before
    tokens = tokenizer_digest(folder)
    (folder / "model.safetensors").write_bytes(b"other")
    assert base_digest(folder) != before
    assert tokenizer_digest(folder) == tokens


def test_a_changed_file_is_noticed_in_spite_of_the_memo(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    digest = resolve_base_model(str(folder), cache).ref.digest
    assert resolve_base_model(str(folder), cache, digest).ref.digest == digest
    (folder / "model.safetensors").write_bytes(b"WEIGHTS")  # the same size
    with pytest.raises(ContractBroken, match=digest):
        resolve_base_model(str(folder), cache, digest)


def test_a_damaged_memo_only_costs_time(folder: Path, tmp_path: Path) -> None:
    digest = base_digest(folder, tmp_path)
    for memo in (tmp_path / "digests").iterdir():
        memo.write_text("[1, 2")
    assert base_digest(folder, tmp_path) == digest


def test_pickles_are_refused_by_name_and_never_opened(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    marker = tmp_path / "opened"

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (marker,))

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InvalidInput, match=r"pytorch_model\.bin"):
        resolve_base_model(str(folder), tmp_path / "cache")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: make_model(f, auto_map={"AutoModel": "code.py"}), "auto_map"),
        (lambda f: make_model(f, architectures=["BertForMaskedLM"]), "BertForMaskedLM"),
        (lambda f: (f / "config.json").write_text("{"), "not JSON"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "not JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "not a JSON object"),
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda f: ((f / "chat_template.jinja").unlink(), (f / "tokenizer_config.json").write_text("{}")), "template"),
        (lambda f: (f / "model.safetensors").unlink(), "safetensors"),
    ],
)
def test_an_unusable_folder_is_refused_with_a_reason_and_a_next_step(
    folder: Path, tmp_path: Path, change: object, message: str
) -> None:
    change(folder)  # type: ignore[operator]
    with pytest.raises(InvalidInput, match=message) as caught:
        resolve_base_model(str(folder), tmp_path / "cache")
    assert caught.value.next_step


@pytest.mark.parametrize("uri", ["/no/such/folder", "file:///no/such/folder", "builtin:gpt-9", "one/two/three"])
def test_an_unknown_model_is_not_found_and_the_error_lists_what_there_is(uri: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        resolve_base_model(uri, tmp_path)
    assert "builtin:smollm2-135m-instruct" in caught.value.next_step


def test_without_a_hub_in_reach_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="acme/model") as caught:
        resolve_base_model("acme/model", tmp_path)
    assert "builtin:smollm2-135m-instruct" in caught.value.next_step


def test_an_object_store_is_copied_once_and_again_when_it_changed(folder: Path, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(folder), "/bucket/acme", recursive=True)
    store.pipe_file("/bucket/acme/pytorch_model.bin", b"pickle")
    first = resolve_base_model("memory://bucket/acme", tmp_path / "cache")
    assert first.ref.digest == base_digest(folder)
    assert not (first.folder / "pytorch_model.bin").exists()
    assert resolve_base_model("memory://bucket/acme", tmp_path / "cache").folder == first.folder
    store.pipe_file("/bucket/acme/model.safetensors", b"new weights")
    assert resolve_base_model("memory://bucket/acme", tmp_path / "cache").ref.digest != first.ref.digest
    store.rm("/bucket", recursive=True)
    with pytest.raises(NotFound):
        resolve_base_model("memory://bucket/acme", tmp_path / "cache")


@pytest.fixture
def driver(folder: Path) -> type[MemoryFileSystem]:
    """A file system of its own scheme, with a model at tide-models://bucket/acme; it notes how it was opened."""

    class Driver(MemoryFileSystem):  # type: ignore[misc]
        protocol = "tide-models"
        cachable = False
        store: ClassVar[dict[str, object]] = {}
        pseudo_dirs: ClassVar[list[str]] = [""]
        opened: ClassVar[list[dict[str, object]]] = []

        def __init__(self, **options: object) -> None:
            self.opened.append(options)
            super().__init__(**options)

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return str(MemoryFileSystem._strip_protocol(path.removeprefix("tide-models://")))

    fsspec.register_implementation("tide-models", Driver, clobber=True)
    Driver().put(str(folder), "/bucket/acme", recursive=True)
    Driver.opened.clear()
    return Driver


def test_an_object_store_is_opened_like_all_storage(driver: Any, tmp_path: Path) -> None:
    resolve_base_model("tide-models://bucket/acme", tmp_path)
    assert driver.opened == [{"use_listings_cache": False}]


@pytest.mark.parametrize(
    ("failure", "kind", "said"),
    [
        (TimeoutError("not a byte"), Unavailable, "tide-models://bucket/acme cannot be used: not a byte"),
        (PermissionError("not yours"), Unavailable, "tide-models://bucket/acme cannot be used: not yours"),
        (FileNotFoundError("gone"), NotFound, "tide-models://bucket/acme does not exist"),
        (OSError(errno.ENOSPC, "No space left on device"), ResourceExhausted, "the disk of .*base-models is full"),
    ],
)
def test_a_download_that_breaks_off_is_told_by_its_reason(
    driver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: OSError, kind: type[Exception], said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(driver, "get_file", fail)
    with pytest.raises(kind, match=said):
        resolve_base_model("tide-models://bucket/acme", tmp_path)


def test_a_scheme_without_a_driver_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"scheme 'tide' cannot be used.*Install the fsspec implementation"):
        resolve_base_model("tide://bucket/acme", tmp_path)


def test_a_changed_copy_in_the_cache_is_refused(folder: Path, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(folder), "/bucket/tampered", recursive=True)
    copy = resolve_base_model("memory://bucket/tampered", tmp_path / "cache").folder
    (copy / "model.safetensors").write_bytes(b"tampered")
    with pytest.raises(ContractBroken, match=str(copy)):
        resolve_base_model("memory://bucket/tampered", tmp_path / "cache")
    store.rm("/bucket", recursive=True)


def test_a_full_disk_is_told_before_and_after_the_fact(tmp_path: Path) -> None:
    with pytest.raises(ResourceExhausted, match="MB"), disk_room(tmp_path, 1 << 60):
        pytest.fail("the block must not run")
    for full in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(ResourceExhausted, match="full"), disk_room(tmp_path):
            raise OSError(full, "No space left on device")
    with pytest.raises(OSError, match="Input/output"), disk_room(tmp_path):
        raise OSError(errno.EIO, "Input/output error")


def test_a_lock_is_waited_for_and_given_up_with_a_reason(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    with exclusive(lock), pytest.raises(Unavailable, match="another process"), exclusive(lock, timeout_seconds=0.0):
        pytest.fail("two holders")
    with exclusive(lock, timeout_seconds=0.0):
        pass
