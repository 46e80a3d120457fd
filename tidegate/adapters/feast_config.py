"""A `feature_store.yaml` that the platform team gives: read, its variables replaced, its mistakes explained.

The format is Feast's own. Feast replaces `${NAME}` in the file's text before it parses it; here the same is done in
each value after parsing, so that a password with a quote, a `#` or a `:` stays one value, and no part of it is shown
by the parser's error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tidegate.db import CONNECT_ARGS
from tidegate.errors import InvalidInput

REGISTRY_REFRESH_SECONDS: Final = 60
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_ADDRESS = re.compile(r"[^,=\s/@]+:\d+(,|$)")
_REQUIRED = ("project", "registry", "online_store")
_FILE_STORES = ("file", "dask", "duckdb")
"""Offline stores of Feast that read the Parquet files that we write."""
_WRITING = {"socket_timeout": "10", "socket_connect_timeout": "5"}
_SERVING = {"socket_timeout": "2", "socket_connect_timeout": "2"}
# A request waits a second at most. The client's own tries with pauses would let it end by time, without the reason.
# Clients of a cluster and of Sentinel look elsewhere at their next try, and keep it.
_SERVING_ONE = {**_SERVING, "retry": "null"}
_CONTROL = re.compile(r"[\x00-\x1f]")
_SEPARATORS = ',"\\'
"""What Feast's connection strings give a meaning of their own."""

Config = dict[str, Any]


def read_config(path: Path, environment: Mapping[str, str] = os.environ, *, serving: bool = False) -> Config:
    """The content of a `feature_store.yaml`, with `${NAME}` replaced and with what a shared store needs beside it.

    Args:
        environment: where the variables come from.
        serving: for a process that only reads: its copy of the registry is renewed in the background, so that no
            request waits for a registry that hangs.

    Raises:
        InvalidInput: there is no such file, it is no YAML mapping, it lacks a part, a variable is not set or holds what
            Feast cannot carry, Redis has no address, or the offline store reads no files.
    """
    found = _parsed(path)
    missing = [name for name in _REQUIRED if not found.get(name)]
    if missing:
        raise InvalidInput(
            f"the feature store's configuration {path} has no {' and no '.join(missing)}",
            next_step="Add it: Feast's default is a file of this process alone, which nobody else sees.",
        )
    config: Config = {key: _expanded(value, key, path, environment) for key, value in found.items()}
    offline = _kind(config.get("offline_store", "file"))
    if offline not in _FILE_STORES:
        raise InvalidInput(
            f"the feature store's configuration {path} names the offline store {offline!r}",
            next_step=f"Use one that reads Parquet files ({', '.join(_FILE_STORES)}): the features step writes them.",
        )
    _complete(config, path, serving=serving)
    return config


def _parsed(path: Path) -> Config:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInput(
            f"the feature store's configuration {path} does not exist",
            next_step="Mount it there, or correct TIDEGATE_FEATURES__CONFIG.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"the feature store's configuration {path} cannot be read: {error}", next_step="Correct the file."
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)  # the whole message would quote the line, and what it holds
        where = "" if mark is None else f" in line {mark.line + 1}: {getattr(error, 'problem', '')}"
        raise InvalidInput(
            f"the feature store's configuration {path} is no YAML{where}", next_step="Correct the file."
        ) from None
    if not isinstance(found, dict):
        raise InvalidInput(
            f"the feature store's configuration {path} holds no mapping, but {type(found).__name__}",
            next_step="Write it as Feast's feature_store.yaml: project, registry, online_store, offline_store.",
        )
    return found


def _expanded(value: Any, key: str, path: Path, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _expanded(item, str(name), path, environment) for name, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item, key, path, environment) for item in value]
    if not isinstance(value, str):
        return value

    def content(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        if name not in environment:
            raise InvalidInput(
                f"the feature store's configuration {path} takes ${{{name}}} in {key!r}, and it is not set",
                next_step=f"Give this process the environment variable {name}, from a Secret if it is secret.",
            )
        found = environment[name]
        if key == "connection_string":
            _check_carried(name, found)
        return found

    return _VARIABLE.sub(content, value)


def _check_carried(name: str, value: str) -> None:
    """Feast takes a value that it cannot decode as it stands, with its quotes: the password would only be wrong."""
    if value.endswith(("\n", "\r")):
        raise InvalidInput(
            f"{name} ends with a line break, and Feast's connection string cannot carry it",
            next_step="Make the Secret without it: 'echo' adds one, 'echo -n' and printf do not.",
        )
    if _CONTROL.search(value):
        raise InvalidInput(
            f"{name} holds a control character (a tab or a line break), and Feast's connection string cannot carry it",
            next_step="Give the online store a password without it, or make the Secret anew if it came by mistake.",
        )
    if any(mark in value for mark in _SEPARATORS):
        raise InvalidInput(
            f"{name} holds a comma, a double quote or a backslash, and Feast's connection string cannot carry it",
            next_step="Give the online store a password without them.",
        )


def _kind(part: Any) -> str:
    return str(part.get("type", "")) if isinstance(part, dict) else str(part)


def _complete(config: Config, path: Path, *, serving: bool) -> None:
    """What Feast's defaults leave out for a store that several pods share; whoever sets it otherwise is heard."""
    registry, online = config["registry"], config["online_store"]
    if isinstance(registry, str):  # Feast's short form
        registry = config["registry"] = {"path": registry}
    if isinstance(registry, dict):
        registry.setdefault("cache_ttl_seconds", REGISTRY_REFRESH_SECONDS)
        # Gateways go on reading the last values while a run writes the next ones.
        registry.setdefault("serve_features_while_materializing", True)
        if serving:
            registry.setdefault("cache_mode", "thread")
        if registry.get("registry_type") == "sql" and str(registry.get("path", "")).startswith("postgres"):
            registry["path"] = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", registry["path"])
            registry.setdefault(
                "sqlalchemy_config_kwargs", {"echo": False, "pool_pre_ping": True, "connect_args": dict(CONNECT_ARGS)}
            )
    if isinstance(online, dict) and online.get("type") == "redis":
        # Without it a corrected value of the same moment stays out of Redis, while training sees it. Its price is
        # that the last writer wins, and there is one writer at a time.
        online.setdefault("skip_dedup", True)
        given = str(online.get("connection_string", ""))
        alone = online.get("redis_type", "redis") == "redis"
        if not _is_addressed(given, alone=alone):
            # Nothing of it is shown: whoever writes an address otherwise may have put the password there.
            raise InvalidInput(
                f"the feature store's configuration {path}: connection_string begins with no address",
                next_step="Begin it with host:port, for example redis.data.svc:6379, without redis:// and without the "
                "password; options follow after commas.",
            )
        limits = _WRITING if not serving else _SERVING_ONE if alone else _SERVING
        online["connection_string"] = _with_options(given, limits)


def _is_addressed(connection: str, *, alone: bool) -> bool:
    """Whether Feast finds addresses. It takes every part without `=` for one, in any order, and quotes what is none."""
    if alone:
        return _ADDRESS.match(connection) is not None
    nodes = [part for part in connection.split(",") if "=" not in part]
    return any(nodes) and not any(mark in node for node in nodes for mark in "/@")


def _with_options(connection: str, options: Mapping[str, str]) -> str:
    """Feast hands them to Redis' client, which by itself waits for an answer for ever."""
    named = {part.partition("=")[0] for part in connection.split(",")}
    return ",".join([connection, *(f"{name}={value}" for name, value in options.items() if name not in named)])
