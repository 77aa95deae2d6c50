"""Emergencies: a lane of their own beside the changes, confirmation by one person, pre-emption, dry runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
HOLDING = sa.text("mutates AND state IN ('queued', 'running', 'needs_attention')")


def upgrade() -> None:
    op.add_column("runs", sa.Column("lane", sa.String(length=16), server_default="change", nullable=False))
    op.add_column("runs", sa.Column("dry_run", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("runs", sa.Column("incident", sa.String(length=32), nullable=True))
    op.add_column("runs", sa.Column("excepted", sa.JSON(), server_default="[]", nullable=False))
    op.add_column("runs", sa.Column("preempted_by", sa.String(length=16), nullable=True))
    op.add_column("approvals", sa.Column("alone", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("runs_by_preempted", "runs", ["preempted_by"])
    op.drop_index("one_mutating_run_a_target", table_name="runs")
    op.create_index(
        "one_mutating_run_a_lane",
        "runs",
        ["target", "lane"],
        unique=True,
        sqlite_where=HOLDING,
        postgresql_where=HOLDING,
    )


def downgrade() -> None:
    op.drop_index("one_mutating_run_a_lane", table_name="runs")
    op.create_index(
        "one_mutating_run_a_target",
        "runs",
        ["target"],
        unique=True,
        sqlite_where=HOLDING,
        postgresql_where=HOLDING,
    )
    op.drop_index("runs_by_preempted", table_name="runs")
    op.drop_column("approvals", "alone")
    for name in ("preempted_by", "excepted", "incident", "dry_run", "lane"):
        op.drop_column("runs", name)
