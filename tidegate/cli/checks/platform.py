"""The platform's processes against their records, and the endpoints that should answer."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx
import psutil

from tidegate.cli.checks.finding import Finding
from tidegate.local.process import ProcessBook
from tidegate.settings import Settings

NAME = "platform"
_PROBE_SECONDS = 2.0
_START_TOLERANCE_SECONDS = 1.0

Answer = Literal["healthy", "unhealthy", "other", "silent"]
"""`unhealthy`: it answers with an error; `other`: what listens does not speak HTTP; `silent`: nothing listens."""


@dataclass(frozen=True, slots=True)
class PartFacts:
    """One part: has it a record, does the recorded process live, what does its endpoint say (None: it has none)."""

    name: str
    recorded: bool
    alive: bool
    url: str | None = None
    answer: Answer | None = None
    log: str = ""


def check(settings: Settings) -> Finding:
    records = _records(settings.home / "pids")
    # The probe for Ray goes to its dashboard's port: it answers 401 without the token, which is an answer.
    endpoints = {
        "mlflow": f"{settings.mlflow_uri}/health",
        "ray": f"{settings.ray_dashboard_url}/api/version",
        "gateway": f"{settings.gateway_url}/healthz",
        "receiver": f"{settings.receiver_url}/healthz",
    }
    return decide(
        [
            PartFacts(
                name=name,
                recorded=name in records,
                alive=records.get(name, False),
                url=endpoints.get(name),
                answer=_ask(endpoints[name], _token(settings) if name == "ray" else None)
                if name in endpoints
                else None,
                log=str(ProcessBook(settings.home).log_path(name)),
            )
            for name in sorted({*records, *endpoints})
        ]
    )


def decide(parts: list[PartFacts]) -> Finding:
    """Judges the parts: a dead record heals by itself, a deaf process or a stranger on a port does not."""
    for part in parts:
        if part.alive and part.answer not in (None, "healthy"):
            return Finding(
                NAME,
                "problem",
                f"{part.name} runs, but {part.url} does not answer well ({part.answer})",
                f"Read {part.log}, then run 'tidegate down' and 'tidegate up'.",
            )
    stale = [part.name for part in parts if part.recorded and not part.alive]
    if stale:
        return Finding(
            NAME,
            "problem",
            f"recorded but not running: {', '.join(stale)}",
            "Run 'tidegate up': it drops stale records and starts what is missing; the log says why it ended.",
        )
    strangers = [part for part in parts if not part.recorded and part.answer not in (None, "silent")]
    if strangers:
        return Finding(
            NAME,
            "warning",
            "; ".join(f"another program answers at {part.url} ({part.name})" for part in strangers),
            "Nothing to do: 'tidegate up' takes another port.",
        )
    running = [part.name for part in parts if part.alive]
    return Finding(NAME, "ok", f"running and healthy: {', '.join(running)}" if running else "not running")


def _records(folder: Path) -> dict[str, bool]:
    """Recorded parts and whether the very process of the record lives. Looks only; `tidegate up` heals."""
    return {path.stem: _alive(path) for path in sorted(folder.glob("*.json"))}


def _alive(path: Path) -> bool:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        process = psutil.Process(int(record["pid"]))
        same = abs(process.create_time() - float(record["started"])) < _START_TOLERANCE_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return False


def _ask(url: str, token: str | None) -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        response = httpx.get(url, headers=headers, timeout=_PROBE_SECONDS, trust_env=False)
        return "healthy" if response.is_success else "unhealthy"
    except httpx.HTTPError:
        return "other" if _listens(url) else "silent"


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=_PROBE_SECONDS):
            return True
    except OSError:
        return False


def _token(settings: Settings) -> str | None:
    try:
        return settings.ray_token_path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
