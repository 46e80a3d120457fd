"""The ledger's two tables: the entries, and one row that anchors the chain's head."""

from __future__ import annotations

import sqlalchemy as sa

from tidegate.db import UtcDateTime, metadata

entries = sa.Table(
    "ledger",
    metadata,
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
    sa.Index("ledger_kind_subject", "kind", "subject", "seq"),
    sa.Index("ledger_rollout", "rollout", "seq"),
    sa.Index("ledger_time", "time"),
)

head = sa.Table(
    "ledger_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.String(71), nullable=False),
)
