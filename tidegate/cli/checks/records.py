"""The database and its ledger, and the secrets' modes."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from tidegate.cli.checks.finding import Finding
from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.errors import TidegateError
from tidegate.ledger import Ledger, VerifyResult
from tidegate.migrations import REVISIONS
from tidegate.settings import Settings

NAME = "records"


@dataclass(frozen=True, slots=True)
class RecordFacts:
    """What was seen: `revision` None is a database without a schema; `ledger` None was not looked at."""

    exists: bool
    revision: str | None = None
    ledger: VerifyResult | None = None
    open_secrets: tuple[Path, ...] = ()
    trouble: str = ""
    mend: str = ""


def check(settings: Settings) -> Finding:
    return decide(_look(settings))


def decide(facts: RecordFacts) -> Finding:
    """Judges secrets first: they matter even before a database exists."""
    if facts.open_secrets:
        names = " ".join(str(path) for path in facts.open_secrets)
        return Finding(NAME, "problem", f"secrets that others can read: {names}", f"Run: chmod go-rwx {names}")
    if facts.trouble:
        return Finding(NAME, "problem", facts.trouble, facts.mend)
    if not facts.exists:
        return Finding(NAME, "ok", "no database yet; 'tidegate up' makes it")
    if facts.revision != REVISIONS[-1]:
        return Finding(
            NAME,
            "warning",
            f"the database is at schema {facts.revision or 'none'}, this version brings {REVISIONS[-1]}",
            "Nothing to do: the next 'tidegate up' migrates it.",
        )
    if facts.ledger is not None and not facts.ledger.ok:
        return Finding(
            NAME,
            "problem",
            f"the ledger is broken at row {facts.ledger.bad_seq}: {facts.ledger.reason}",
            "Restore the database from a backup; the rows before it are sound.",
        )
    return Finding(
        NAME, "ok", f"schema {facts.revision}, {facts.ledger.rows if facts.ledger else 0} ledger rows verify"
    )


def _look(settings: Settings) -> RecordFacts:
    loose = tuple(path for path in _secret_files(settings) if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    url = settings.database_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return RecordFacts(exists=False, open_secrets=loose)
    try:
        database = Database.open(url, migrate=False)
        try:
            revision = database.revision()
            verified = Ledger(database, SystemClock()).verify() if revision == REVISIONS[-1] else None
        finally:
            database.close()
    except TidegateError as error:
        return RecordFacts(exists=True, open_secrets=loose, trouble=error.problem, mend=error.next_step)
    return RecordFacts(exists=True, revision=revision, ledger=verified, open_secrets=loose)


def _secret_files(settings: Settings) -> list[Path]:
    named = {
        settings.attestation_key_path,
        settings.api_keys_path,
        settings.ray_token_path,
        settings.receiver_token_path,
    }
    below = settings.secrets.rglob("*") if settings.secrets.exists() else ()
    return sorted(path for path in named.union(below) if path.is_file())
