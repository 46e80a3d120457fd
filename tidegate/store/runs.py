"""Pipeline runs with their stages, as the CLI and the demo's summary show them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from tidegate.clock import Clock
from tidegate.db import Database, insert
from tidegate.errors import Conflict, NotFound
from tidegate.ids import canonical_json
from tidegate.ledger import Ledger
from tidegate.store.tables import run_stages, runs

RunStatus = Literal["running", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class RunStage:
    """One step of a run."""

    name: str
    seconds: float
    status: RunStatus
    detail: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a pipeline; `stages` in the order in which they first reported."""

    id: str
    pipeline: str
    params: dict[str, Any]
    status: RunStatus
    detail: str
    started_at: datetime
    finished_at: datetime | None
    stages: tuple[RunStage, ...]


class RunStore:
    """Runs by id."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._ledger = Ledger(db, clock)

    def start(self, run: str, pipeline: str, params: dict[str, Any], *, actor: str = "pipelines") -> None:
        """Records a run that begins; repeating it for the same running run changes nothing.

        A run that has failed goes on when it is started again with the same parameters: what it had done is kept.

        Raises:
            Conflict: the id belongs to a run of another pipeline or of other parameters, or to one that has succeeded.
        """
        text = canonical_json(params)
        row = {
            "id": run,
            "pipeline": pipeline,
            "params": text,
            "status": "running",
            "detail": "",
            "started_at": self._clock.now(),
        }
        with self._db.write() as conn:
            first = insert(conn, runs).values(row).on_conflict_do_nothing(index_elements=[runs.c.id])
            if conn.execute(first).rowcount == 1:
                payload = {"pipeline": pipeline, "params": params}
                self._ledger.append("run.started", run, payload, actor=actor, conn=conn)
                return
            mine = sa.and_(runs.c.id == run, runs.c.pipeline == pipeline, runs.c.params == text)
            again = sa.update(runs).where(mine, runs.c.status == "failed")
            if conn.execute(again.values(status="running", detail="", finished_at=None)).rowcount == 1:
                repeated = {"pipeline": pipeline, "params": params, "again": True}
                self._ledger.append("run.started", run, repeated, actor=actor, conn=conn)
                return
            there = conn.execute(sa.select(runs).where(runs.c.id == run)).one()
        if there.pipeline != pipeline or there.params != text or there.status == "succeeded":
            differs = ", other parameters" if there.pipeline == pipeline and there.params != text else ""
            raise Conflict(
                f"run {run!r} exists: pipeline {there.pipeline!r}, {there.status}{differs}",
                next_step="Start it under a new name.",
            )

    def stage(self, run: str, name: str, seconds: float, status: RunStatus, detail: str = "") -> None:
        """Records a stage, or its newer state.

        Raises:
            NotFound: there is no such run.
        """
        with self._db.write() as conn:
            if conn.execute(sa.select(runs.c.id).where(runs.c.id == run).with_for_update()).first() is None:
                raise _missing(run)
            count = sa.select(sa.func.count()).select_from(run_stages).where(run_stages.c.run == run)
            values = {"seconds": seconds, "status": status, "detail": detail}
            statement = insert(conn, run_stages).values(
                run=run, name=name, position=conn.execute(count).scalar_one(), **values
            )
            conn.execute(statement.on_conflict_do_update(index_elements=["run", "name"], set_=values))

    def finish(self, run: str, status: RunStatus, detail: str = "", *, actor: str = "pipelines") -> None:
        """Records how a run ended; the first word counts, repeating it changes nothing.

        Raises:
            NotFound: there is no such run.
        """
        with self._db.write() as conn:
            running = sa.and_(runs.c.id == run, runs.c.status == "running")
            change = sa.update(runs).where(running)
            ended = conn.execute(change.values(status=status, detail=detail, finished_at=self._clock.now())).rowcount
            if ended:
                payload = {"status": status, "detail": detail}
                self._ledger.append("run.finished", run, payload, actor=actor, conn=conn)
            elif conn.execute(sa.select(runs.c.id).where(runs.c.id == run)).first() is None:
                raise _missing(run)

    def get(self, run: str) -> Run | None:
        """The run with its stages, or None."""
        found = self._runs(sa.select(runs).where(runs.c.id == run))
        return found[0] if found else None

    def list(self, pipeline: str | None = None, limit: int = 50) -> list[Run]:
        """The newest runs, newest first."""
        query = sa.select(runs).order_by(runs.c.started_at.desc(), runs.c.id.desc()).limit(limit)
        return [*self._runs(query if pipeline is None else query.where(runs.c.pipeline == pipeline))]

    def _runs(self, query: sa.Select[Any]) -> tuple[Run, ...]:
        with self._db.read() as conn:
            rows = list(conn.execute(query))
            by_run: dict[str, list[RunStage]] = {row.id: [] for row in rows}
            of_these = sa.select(run_stages).where(run_stages.c.run.in_(by_run))
            for row in conn.execute(of_these.order_by(run_stages.c.position)):
                stage = RunStage(name=row.name, seconds=row.seconds, status=row.status, detail=row.detail)
                by_run[row.run].append(stage)
        return tuple(
            Run(
                id=row.id,
                pipeline=row.pipeline,
                params=json.loads(row.params),
                status=row.status,
                detail=row.detail,
                started_at=row.started_at,
                finished_at=row.finished_at,
                stages=tuple(by_run[row.id]),
            )
            for row in rows
        )


def _missing(run: str) -> NotFound:
    return NotFound(f"run {run!r} does not exist", next_step="List the runs with 'tidegate run list'.")
