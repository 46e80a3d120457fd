"""Storage: folders and files by address, on the local disk (paths, `file://`) or through fsspec (`s3://`, `gs://`…)."""

from __future__ import annotations

import errno
import os
import posixpath
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import pathname2url

from tidegate.adapters.object_storage import not_found, open_remote, translated, write_limit
from tidegate.errors import InvalidInput
from tidegate.ids import digest_bytes, new_id


def is_local(uri: str) -> bool:
    """Whether an address is a path or a `file://` address."""
    return "://" not in uri or uri.startswith("file://")


def local(uri: str) -> Path:
    """The path of a local address.

    Raises:
        InvalidInput: the address is not local.
    """
    if not is_local(uri):
        raise InvalidInput(f"{uri} is not a local folder", next_step="Name a path or a file:// address.")
    if not uri.startswith("file://"):
        return Path(uri)
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise InvalidInput(f"{uri} names the host {parts.netloc!r}", next_step="Write file:///path with three slashes.")
    return Path(unquote(parts.path))


def to_uri(path: Path) -> str:
    """The `file://` address of a path."""
    return f"file://{pathname2url(str(path.absolute()))}"


def join(uri: str, *parts: str) -> str:
    """An address below another one.

    Raises:
        InvalidInput: a part is absolute or leads out of the folder.
    """
    for part in parts:
        if part.startswith("/") or ".." in part.split("/"):
            raise InvalidInput(f"{part!r} leads out of {uri}", next_step="Use a relative name without '..'.")
    if uri.startswith("file://"):  # `local` takes them for what they mean in an address
        parts = tuple(part.replace("%", "%25").replace("#", "%23").replace("?", "%3F") for part in parts)
    return posixpath.join(uri.rstrip("/") or "/", *parts)


def exists(uri: str) -> bool:
    """Whether there is a file or folder."""
    if is_local(uri):
        return local(uri).exists()
    with translated(uri):
        filesystem, path = open_remote(uri)
        return bool(filesystem.exists(path))


def read_bytes(uri: str) -> bytes:
    """A file's content.

    Raises:
        NotFound: there is no such file.
        Unavailable: the storage does not answer.
    """
    with translated(uri):
        if is_local(uri):
            return local(uri).read_bytes()
        filesystem, path = open_remote(uri)
        content: bytes = filesystem.cat_file(path)
        return content


def read_text(uri: str) -> str:
    """A file's content as UTF-8.

    Raises:
        InvalidInput: it is not UTF-8.
    """
    try:
        return read_bytes(uri).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{uri} is not UTF-8: byte {error.start} cannot be read", next_step="Convert it to UTF-8."
        ) from None


def write_bytes(uri: str, data: bytes) -> None:
    """Writes a file atomically: a reader sees the old content or all of the new one. Folders are made as needed.

    Raises:
        ResourceExhausted: the disk is full.
        Unavailable: the storage does not answer or refuses.
    """
    with translated(uri):
        if is_local(uri):
            _write_local(local(uri), data)
        else:
            filesystem, path = open_remote(uri)
            # An object store shows an object only when it is complete.
            filesystem.pipe_file(path, data, **write_limit(filesystem, len(data)))


def create_text(uri: str, text: str) -> bool:
    """Writes a file unless there is one: of several writers one creates it.

    That is exact on a local disk and on S3 that knows conditional writes; of other storage's drivers some only look
    before they write, and two writers of one moment may then both believe that they created it.

    Returns:
        Whether the file holds this text. So a writer whose answer was lost learns that the file is its own; let the
        texts of two writers differ.

    Raises:
        ResourceExhausted: the disk is full.
        Unavailable: the storage does not answer or refuses.
    """
    data = text.encode()
    with translated(uri):
        if is_local(uri):
            _create_local(local(uri), data)
        else:
            _create_remote(*open_remote(uri), data)
        return read_bytes(uri) == data


def upload(path: Path, uri: str) -> None:
    """A local file's content to a remote address, part by part; it is seen there when it is complete.

    Raises:
        Unavailable: the storage does not answer or refuses.
    """
    with translated(uri):
        filesystem, name = open_remote(uri)
        filesystem.put_file(str(path), name, **write_limit(filesystem, path.stat().st_size))


def write_text(uri: str, text: str) -> None:
    """`write_bytes` of UTF-8."""
    write_bytes(uri, text.encode())


def local_path(uri: str, cache: Path) -> Path:
    """A path on this machine with the content of an address: the path itself, or a copy under `cache`.

    A copy is made once per address and kept: addresses that are read this way must not change their content
    (artifacts are written once, under a name of their own).

    Raises:
        NotFound: there is nothing at the address.
    """
    if is_local(uri):
        path = local(uri)
        if not path.exists():
            raise not_found(uri)
        return path
    target = cache / "storage" / digest_bytes(uri.encode()).removeprefix("sha256:")[:32] / Path(uri.rstrip("/")).name
    if not target.exists():
        part = target.with_name(f"{target.name}.{new_id()}.part")
        with translated(uri):
            filesystem, name = open_remote(uri)
            if not filesystem.exists(name):
                raise not_found(uri)
            part.parent.mkdir(parents=True, exist_ok=True)
            try:
                filesystem.get(name, str(part), recursive=bool(filesystem.isdir(name)))
                _move_into_place(part, target)
            except BaseException:
                _discard(part)
                raise
    return target


def copy_tree(source: str, target: str) -> None:
    """Copies all files below a folder to another folder; either may be remote. Existing files are replaced.

    Raises:
        NotFound: the source is no folder.
    """
    for name in list_files(source):
        write_bytes(join(target, name), read_bytes(join(source, name)))


def list_files(uri: str) -> list[str]:
    """Names of all files below a folder, relative to it, sorted.

    Raises:
        NotFound: it is no folder.
    """
    with translated(uri):
        if is_local(uri):
            root = local(uri)
            if not root.is_dir():
                raise not_found(uri)
            # os.walk: a folder that somebody deletes meanwhile is left out, where rglob fails.
            found = (Path(base, name) for base, _, names in os.walk(root) for name in names)
            return sorted(path.relative_to(root).as_posix() for path in found if path.is_file())
        filesystem, path = open_remote(uri)
        start = path.rstrip("/") + "/"
        below = (str(name).removeprefix(start) for name in filesystem.find(path) if str(name).startswith(start))
        # Consoles and other programs mark folders by empty objects, whose names end with a slash.
        files = sorted(name for name in below if name and not name.endswith("/"))
        if not files and not filesystem.isdir(path):
            raise not_found(uri)
        return files


def remove_tree(uri: str) -> None:
    """Deletes a folder with all that is below it; one that is not there is no error, nor one that others delete, too.

    Raises:
        Unavailable: the storage does not answer or refuses.
    """
    with translated(uri):
        if is_local(uri):
            with suppress(FileNotFoundError):
                shutil.rmtree(local(uri))
            return
        filesystem, path = open_remote(uri)
        with suppress(FileNotFoundError):
            filesystem.rm(path, recursive=True)


def _write_local(path: Path, data: bytes) -> None:
    with _written(path, data) as part:
        part.replace(path)


def _create_local(path: Path, data: bytes) -> None:
    with _written(path, data) as part, suppress(FileExistsError):
        os.link(part, path)  # unlike a rename, it replaces nothing


@contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    """The content of a file-to-be, safely on the disk beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{new_id()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


def _create_remote(filesystem: Any, path: str, data: bytes) -> None:
    """Writes unless something is there; who was first is told by what is there afterwards."""
    limit = write_limit(filesystem, len(data))
    try:
        filesystem.pipe_file(path, data, mode="create", **limit)
    except (OSError, TypeError) as error:
        if filesystem.exists(path):
            return
        # No conditional writes: the server says so (501), or the driver does not know the argument.
        if not isinstance(error, TypeError) and error.errno != errno.ENOSYS:
            raise
        filesystem.pipe_file(path, data, **limit)


def _move_into_place(part: Path, target: Path) -> None:
    """Renames a finished copy; when another process was first, its copy stays and ours goes."""
    try:
        part.rename(target)
    except OSError:
        if not target.exists():
            raise
        _discard(part)


def _discard(part: Path) -> None:
    """Half a copy is of no use, and may be gigabytes."""
    shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)
