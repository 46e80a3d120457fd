"""Which of the platform's own alerts fire, and since when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.db import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "firing_alerts",
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("since", UtcDateTime, nullable=False),
    )
