"""What every storage does, wherever it is. A module with a fixture `folder` (an address that the tests may write below)
takes the tests over by a class:

    from tests.storage_contract import StorageContract

    class TestBucket(StorageContract): ...
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tidegate.adapters import storage
from tidegate.errors import InvalidInput, NotFound


class StorageContract:
    def test_what_is_written_is_read_again(self, folder: str) -> None:
        address = storage.join(folder, "deep", "report.json")
        assert not storage.exists(address)
        storage.write_text(address, "tide ≈ gate")
        storage.write_text(address, "gate ≈ tide")
        assert storage.exists(address)
        assert storage.read_text(address) == "gate ≈ tide"
        assert storage.list_files(folder) == ["deep/report.json"]

    def test_of_many_who_create_a_file_one_does(self, folder: str) -> None:
        address = storage.join(folder, "deep", "claim.json")
        texts = [f"writer {number}" for number in range(8)]
        at_once = 1 if folder.startswith("memory:") else len(texts)  # in memory there are no other processes
        with ThreadPoolExecutor(at_once) as pool:
            mine = list(pool.map(partial(storage.create_text, address), texts))
        created = [text for text, is_mine in zip(texts, mine, strict=True) if is_mine]
        assert created == [storage.read_text(address)]
        assert not storage.create_text(address, "late")
        assert storage.create_text(address, created[0]), "a writer whose answer was lost learns that it was first"
        assert storage.list_files(folder) == ["deep/claim.json"]

    def test_what_is_not_there_is_named(self, folder: str, tmp_path: Path) -> None:
        address = storage.join(folder, "absent")
        for look in (storage.read_bytes, storage.list_files, lambda uri: storage.local_path(uri, tmp_path / "cache")):
            with pytest.raises(NotFound, match="absent"):
                look(address)

    def test_a_tree_is_copied_and_found_locally(self, folder: str, tmp_path: Path) -> None:
        storage.write_bytes(storage.join(folder, "a.bin"), b"\x00\x01")
        storage.write_bytes(storage.join(folder, "sub/b.bin"), b"b")
        target = str(tmp_path / "copy")
        storage.copy_tree(folder, target)
        assert storage.list_files(target) == ["a.bin", "sub/b.bin"]
        local = storage.local_path(folder, tmp_path / "cache")
        assert (local / "sub" / "b.bin").read_bytes() == b"b"
        assert storage.local_path(folder, tmp_path / "cache") == local

    def test_a_deleted_tree_is_gone_and_may_be_deleted_again(self, folder: str) -> None:
        for name in ("01A/report.html", "01A/deep/data.json", "01B/report.html"):
            storage.write_text(storage.join(folder, name), "x")
        for _ in range(2):
            storage.remove_tree(storage.join(folder, "01A"))
            assert storage.list_files(folder) == ["01B/report.html"]

    def test_bytes_that_are_no_text_are_an_input_error(self, folder: str) -> None:
        address = storage.join(folder, "latin.txt")
        storage.write_bytes(address, b"ok \xff")
        with pytest.raises(InvalidInput, match="byte 3"):
            storage.read_text(address)

    def test_a_folder_is_not_the_one_whose_name_begins_alike(self, folder: str) -> None:
        for name in ("run/a.txt", "run-2/a.txt", "run.txt"):
            storage.write_text(storage.join(folder, name), name)
        assert storage.list_files(storage.join(folder, "run")) == ["a.txt"]
        storage.remove_tree(storage.join(folder, "run"))
        assert storage.list_files(folder) == ["run-2/a.txt", "run.txt"]

    @pytest.mark.parametrize("name", ["with space.txt", "model=m/hour=03/a+b%20c.txt", "größe.txt", "a#b.txt"])
    def test_names_may_hold_what_addresses_quote(self, folder: str, name: str) -> None:
        storage.write_text(storage.join(folder, name), "x")
        assert storage.read_text(storage.join(folder, name)) == "x"
        assert storage.list_files(folder) == [name]
