"""The first schema: runs, steps, approvals, locks, schedules, outbox, audit."""

from __future__ import annotations

from alembic import op

from bot.store.tables import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # checkfirst: on SQLite a second replica may have come in between.
    metadata.create_all(op.get_bind(), checkfirst=True)


def downgrade() -> None:
    metadata.drop_all(op.get_bind())
