"""Alembic's environment: runs in the transaction that `tidegate.migrations.upgrade` holds."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
# The caller's transaction and lock span the whole upgrade; Alembic must not commit before the lock is released.
context.run_migrations()
