"""The first schema: ledger, resources, routing, evidence, leases, alerts, retraining, runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.db import UtcDateTime
from tidegate.ledger.entry import GENESIS

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _ledger()
    _desired_state()
    _evidence()
    _work()


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(26), nullable=False, unique=True),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("rollout", sa.String(64)),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("prev_hash", sa.String(71), nullable=False),
        sa.Column("hash", sa.String(71), nullable=False),
    )
    op.create_index("ledger_kind_subject", "ledger", ["kind", "subject", "seq"])
    op.create_index("ledger_rollout", "ledger", ["rollout", "seq"])
    op.create_index("ledger_time", "ledger", ["time"])
    head = op.create_table(
        "ledger_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(71), nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0, "hash": GENESIS}])
    for statement in _POSTGRES_GUARDS if op.get_bind().dialect.name == "postgresql" else _SQLITE_GUARDS:
        op.execute(sa.text(statement))


_SQLITE_GUARDS = (
    *(
        f"CREATE TRIGGER ledger_no_{verb.lower()} BEFORE {verb} ON ledger "
        f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: {verb} refused'); END"
        for verb in ("UPDATE", "DELETE")
    ),
    (
        "CREATE TRIGGER ledger_head_no_delete BEFORE DELETE ON ledger_head "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: DELETE of its head refused'); END"
    ),
    (
        "CREATE TRIGGER ledger_head_forward BEFORE UPDATE ON ledger_head WHEN NEW.seq <= OLD.seq "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: its head moves forward'); END"
    ),
)
_POSTGRES_GUARDS = (
    (
        "CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION 'the ledger is append-only: % refused', TG_OP; END $$"
    ),
    (
        "CREATE TRIGGER ledger_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()"
    ),
    (
        "CREATE TRIGGER ledger_head_no_delete BEFORE DELETE OR TRUNCATE ON ledger_head "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()"
    ),
    (
        "CREATE TRIGGER ledger_head_forward BEFORE UPDATE ON ledger_head FOR EACH ROW WHEN (NEW.seq <= OLD.seq) "
        "EXECUTE FUNCTION ledger_refuse()"
    ),
)


def _desired_state() -> None:
    op.create_table(
        "resources",
        sa.Column("kind", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("resource_version", sa.BigInteger, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "routing",
        sa.Column("deployment", sa.String(63), primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "routing_acks",
        sa.Column("gateway", sa.String(255), primary_key=True),
        sa.Column("deployment", sa.String(63), primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("seen_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("holder", sa.String(255), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
    )


def _evidence() -> None:
    op.create_table(
        "pairs",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("deployment", sa.String(63), nullable=False),
        sa.Column("rollout", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("looked_at", UtcDateTime),
        sa.Column("done", sa.Boolean, nullable=False),
    )
    op.create_index("pairs_open", "pairs", ["done", "looked_at", "time"])
    op.create_index("pairs_rollout", "pairs", ["rollout", "time"])
    op.create_index("pairs_request", "pairs", ["request_id"])
    op.create_table(
        "pair_events",
        sa.Column("rollout", sa.String(64), primary_key=True),
        sa.Column("pair", sa.String(64), primary_key=True),
        sa.Column("scorer", sa.String(64), primary_key=True),
        sa.Column("stable_score", sa.Float(53)),
        sa.Column("candidate_score", sa.Float(53)),
        sa.Column("user", sa.String(128), nullable=False),
        sa.Column("step", sa.String(63), nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("recorded_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "arm_windows",
        sa.Column("key", sa.String(71), primary_key=True),
        sa.Column("deployment", sa.String(63), nullable=False),
        sa.Column("rollout", sa.String(64)),
        sa.Column("block_start", UtcDateTime, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("arm_windows_deployment", "arm_windows", ["deployment", "block_start"])
    op.create_table(
        "requests",
        sa.Column("request_id", sa.String(128), primary_key=True),
        sa.Column("deployment", sa.String(63), nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
    )
    op.create_index("requests_time", "requests", ["time"])
    op.create_table(
        "feedback",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("deployment", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("source", sa.String(255), nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
    )
    op.create_index("feedback_request", "feedback", ["request_id", "kind"])
    op.create_index("feedback_deployment", "feedback", ["deployment", "time"])


def _work() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("alerts", sa.Integer, nullable=False),
        sa.Column("new_alerts", sa.Integer, nullable=False),
    )
    op.create_table(
        "alerts",
        sa.Column("dedup_key", sa.String(512), primary_key=True),
        sa.Column("delivery", sa.String(128), nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
    )
    op.create_index("alerts_open", "alerts", ["outcome", "received_at"])
    op.create_table(
        "retraining",
        sa.Column("key", sa.String(128), primary_key=True),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    active = sa.text("status IN ('pending', 'running')")
    op.create_index(
        "retraining_one_active", "retraining", ["model"], unique=True, sqlite_where=active, postgresql_where=active
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("pipeline", sa.String(64), nullable=False),
        sa.Column("params", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("finished_at", UtcDateTime),
    )
    op.create_table(
        "run_stages",
        sa.Column("run", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
