"""Manifests: YAML documents to resources, with errors that name the file, the document and the field."""

from __future__ import annotations

import difflib
from typing import Any

import yaml
from pydantic import ValidationError

from tidegate.domain.resource_base import API_VERSION
from tidegate.domain.resources import KINDS, AnyResource
from tidegate.errors import InvalidInput


def parse_manifests(text: str, source: str) -> list[AnyResource]:
    """All resources of a YAML text with one or more documents; empty documents are skipped.

    Raises:
        InvalidInput: text that is no YAML, an unknown kind, or a field that does not fit.
    """
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise InvalidInput(f"{source} is not YAML: {error}", next_step="Correct the file.") from None
    except (ValueError, RecursionError) as error:  # a date of month 13, a number of 5000 digits, 3000 brackets
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidInput(f"{source} cannot be read as YAML: {problem}", next_step="Correct the file.") from None
    return [
        parse_manifest(document, f"{source}, document {number}")
        for number, document in enumerate(documents, start=1)
        if document is not None
    ]


def parse_manifest(document: Any, source: str) -> AnyResource:
    """One resource of a parsed document.

    Raises:
        InvalidInput: see `parse_manifests`.
    """
    if not isinstance(document, dict):
        found = type(document).__name__
        raise InvalidInput(f"{source} is a {found}, not a manifest", next_step="Start with apiVersion.")
    if document.get("apiVersion") != API_VERSION:
        raise InvalidInput(
            f"{source} has apiVersion {document.get('apiVersion')!r}", next_step=f"Use apiVersion: {API_VERSION}."
        )
    kind = str(document.get("kind"))
    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Use one of {', '.join(KINDS)}."
        raise InvalidInput(f"{source} has kind {kind!r}", next_step=hint)
    try:
        return KINDS[kind].model_validate(document)
    except ValidationError as error:
        lines = [_line(item) for item in error.errors(include_url=False)]
        raise InvalidInput(
            f"{source} ({kind}) has {len(lines)} wrong field{'s' if len(lines) > 1 else ''}: " + "; ".join(lines),
            next_step="Correct them and apply again; nothing was changed.",
        ) from None


def _line(item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"]) or "(whole)"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        return f"{path} is not a field"
    if item["type"] == "missing":
        return f"{path} is missing"
    return f"{path}: {message}"
