"""What people ask of rollouts, and the answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.db import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rollout_actions",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("deployment", sa.String(63), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("answer", sa.Text),
    )
    op.create_index("rollout_actions_open", "rollout_actions", ["deployment", "answer"])
