"""Which attempt a request means: a later one refuses it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rollout_actions", sa.Column("rollout", sa.String(253)))
