"""Object storage through fsspec (`s3://`, `gs://`…): file systems that never wait for ever, and their errors as ours.

The drivers alone would wait too long: s3fs repeats what botocore has repeated, and a write to a server that takes the
connection and says nothing never ends (aiohttp awaits "100 Continue" without a time-out). docs/chart.md has figures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tidegate.certificates import unverified
from tidegate.errors import Denied, NotFound, ResourceExhausted, TidegateError, Unavailable, is_no_room

_CONNECT_SECONDS = 5
_READ_SECONDS = 15  # without a byte; a long transfer that moves is not ended
_TRIES = 3  # of one request, also after a 500 or 503 of the server's
_ROUNDS = 2  # of those: s3fs's own, which alone covers an answer that breaks off in its middle
_WRITE_SECONDS = 90.0
_WRITE_SECONDS_PER_BYTE = 1 / (256 << 10)
_TRUSTED = "AWS_CA_BUNDLE"
"""Names the file of certificates that botocore trusts."""
_VENDORS = {"botocore", "aiobotocore", "aiohttp", "urllib3", "gcsfs", "adlfs", "google", "azure"}
"""Packages whose errors reach us as they are; fsspec asks drivers for OSErrors, but not all are translated."""


def open_remote(uri: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path on it.

    Raises:
        Unavailable: no driver for the scheme is installed, or the file of trusted certificates is not there.
    """
    import fsspec  # noqa: PLC0415 - only remote addresses need it

    scheme = uri.split("://", 1)[0]
    try:
        # Others write there, too: a listing that is kept hides what came since, even from a read by its full name.
        filesystem, path = fsspec.core.url_to_fs(uri, use_listings_cache=False, **_options(scheme))
    except (ImportError, ValueError) as error:
        raise Unavailable(
            f"{uri}: storage scheme {scheme!r} cannot be used: {error}",
            next_step=f"Install the fsspec implementation of {scheme}:// (for example s3fs), or use another address.",
        ) from None
    if scheme == "s3":
        filesystem.retries = _ROUNDS
    return filesystem, str(path)


def _options(scheme: str) -> dict[str, Any]:
    if scheme != "s3":
        return {}
    _check_trusted(os.environ.get(_TRUSTED, ""))
    config: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _READ_SECONDS,
        "retries": {"mode": "standard", "total_max_attempts": _TRIES},
    }
    # botocore knows AWS_DEFAULT_REGION alone; every other SDK, and who follows their manuals, says AWS_REGION.
    region = os.environ.get("AWS_REGION")
    return {"config_kwargs": config, "client_kwargs": {"region_name": region} if region else {}}


def _check_trusted(file: str) -> None:
    """Else botocore says "no such file", which would mean the object."""
    if file and not Path(file).exists():
        raise Unavailable(
            f"the file of trusted certificates {file} does not exist",
            next_step=f"Put the authority's certificates there, or correct {_TRUSTED}; pipelines' pods find the key "
            "ca.crt of the Secret tidegate-pipelines there.",
        )


def write_limit(filesystem: Any, size: int) -> dict[str, Any]:
    """Arguments that bound a write of so many bytes as a whole; only asynchronous drivers take them."""
    seconds = _WRITE_SECONDS + size * _WRITE_SECONDS_PER_BYTE
    return {"timeout": seconds} if getattr(filesystem, "async_impl", False) else {}


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Errors of storage, local or remote, as errors of tidegate."""
    try:
        yield
    except TidegateError:
        raise
    except FileNotFoundError as error:
        raise _no_bucket(uri, error) or not_found(uri) from None
    except OSError as error:
        raise _from_system(uri, error) from error
    except Exception as error:
        # botocore says a wrong AWS_ENDPOINT_URL by a bare ValueError; kinds of it are about content.
        vendor = type(error).__module__.partition(".")[0] in _VENDORS
        if not vendor and not (type(error) is ValueError and uri.startswith("s3://")):
            raise
        raise _from_vendor(uri, error) from error


def not_found(uri: str) -> NotFound:
    """There is nothing at an address."""
    return NotFound(f"{uri} does not exist", next_step="Check the address, or run the step that writes it.")


def _no_bucket(uri: str, error: BaseException) -> NotFound | None:
    """S3 says of a missing bucket that the file is missing; what it said first is among the causes."""
    cause: BaseException | None = error
    while cause is not None:
        said = getattr(cause, "response", None)
        if isinstance(said, dict) and said.get("Error", {}).get("Code") == "NoSuchBucket":
            bucket = uri.split("://", 1)[1].partition("/")[0]
            return NotFound(
                f"{uri} cannot be used: there is no bucket {bucket!r}",
                next_step="Make the bucket, or check the address and AWS_ENDPOINT_URL.",
            )
        cause = cause.__cause__ or cause.__context__
    return None


def _from_system(uri: str, error: OSError) -> TidegateError:
    if is_no_room(error):
        return ResourceExhausted(f"no room left on the disk to write {uri}", next_step="Free some room and try again.")
    said = str(error.strerror or error).rstrip(".") or "it does not answer in time"
    if uri.startswith("s3://") and (untrusted := unverified(f"the storage of {uri}", said, _TRUSTED)):
        return untrusted
    if uri.startswith("s3://") and isinstance(error, PermissionError):
        return Denied(
            f"{uri} may not be used: {said}",
            next_step="Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and their rights on the bucket; without "
            "s3:ListBucket, what does not exist is forbidden, too.",
        )
    return Unavailable(f"{uri} cannot be used: {said}", next_step=_next_step(uri))


def _from_vendor(uri: str, error: Exception) -> TidegateError:
    said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if type(error).__name__ in {"NoCredentialsError", "PartialCredentialsError"}:
        return Denied(
            f"{uri} may not be used: {said}",
            next_step="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the service account an identity.",
        )
    if uri.startswith("s3://") and (untrusted := unverified(f"the storage of {uri}", said, _TRUSTED)):
        return untrusted
    return Unavailable(f"{uri} cannot be used: {said}", next_step=_next_step(uri))


def _next_step(uri: str) -> str:
    if uri.startswith("s3://"):
        return "Check the address and AWS_ENDPOINT_URL, and that the storage runs and is reachable; then try again."
    return "Check the address and your rights on it."
