"""The stores' tables. `tidegate.migrations` creates them; a test compares the two."""

from __future__ import annotations

import sqlalchemy as sa

from tidegate.db import UtcDateTime, metadata

resources = sa.Table(
    "resources",
    metadata,
    sa.Column("kind", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("manifest", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("resource_version", sa.BigInteger, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
)
routing = sa.Table(
    "routing",
    metadata,
    sa.Column("deployment", sa.String(63), primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
routing_acks = sa.Table(
    "routing_acks",
    metadata,
    sa.Column("gateway", sa.String(255), primary_key=True),
    sa.Column("deployment", sa.String(63), primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
)
counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("holder", sa.String(255), nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
)
pairs = sa.Table(
    "pairs",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("deployment", sa.String(63), nullable=False),
    sa.Column("rollout", sa.String(64), nullable=False),
    sa.Column("request_id", sa.String(128), nullable=False),
    sa.Column("time", UtcDateTime, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("looked_at", UtcDateTime),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Index("pairs_open", "done", "looked_at", "time"),
    sa.Index("pairs_rollout", "rollout", "time"),
    sa.Index("pairs_request", "request_id"),
)
pair_events = sa.Table(
    "pair_events",
    metadata,
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
arm_windows = sa.Table(
    "arm_windows",
    metadata,
    sa.Column("key", sa.String(71), primary_key=True),
    sa.Column("deployment", sa.String(63), nullable=False),
    sa.Column("rollout", sa.String(64)),
    sa.Column("block_start", UtcDateTime, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Index("arm_windows_deployment", "deployment", "block_start"),
)
rollout_actions = sa.Table(
    "rollout_actions",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("deployment", sa.String(63), nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("by", sa.String(255), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("time", UtcDateTime, nullable=False),
    sa.Column("answer", sa.Text),
    sa.Column("rollout", sa.String(253)),
    sa.Index("rollout_actions_open", "deployment", "answer"),
)
requests = sa.Table(
    "requests",
    metadata,
    sa.Column("request_id", sa.String(128), primary_key=True),
    sa.Column("deployment", sa.String(63), nullable=False),
    sa.Column("time", UtcDateTime, nullable=False),
    sa.Index("requests_time", "time"),
)
feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("request_id", sa.String(128), nullable=False),
    sa.Column("deployment", sa.String(63), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("source", sa.String(255), nullable=False),
    sa.Column("time", UtcDateTime, nullable=False),
    sa.Index("feedback_request", "request_id", "kind"),
    sa.Index("feedback_deployment", "deployment", "time"),
)
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("alerts", sa.Integer, nullable=False),
    sa.Column("new_alerts", sa.Integer, nullable=False),
)
alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("dedup_key", sa.String(512), primary_key=True),
    sa.Column("delivery", sa.String(128), nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Index("alerts_open", "outcome", "received_at"),
)
firing_alerts = sa.Table(
    "firing_alerts",
    metadata,
    sa.Column("fingerprint", sa.String(64), primary_key=True),
    sa.Column("since", UtcDateTime, nullable=False),
)
_active = sa.text("status IN ('pending', 'running')")
retraining = sa.Table(
    "retraining",
    metadata,
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("model", sa.String(255), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    # The database itself keeps two retrainings of one model from running, whichever process asks.
    sa.Index("retraining_one_active", "model", unique=True, sqlite_where=_active, postgresql_where=_active),
)
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("pipeline", sa.String(64), nullable=False),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
)
run_stages = sa.Table(
    "run_stages",
    metadata,
    sa.Column("run", sa.String(128), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float(53), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)
