"""The tables of the journal (design: journal, leases, many replicas), as SQLAlchemy Core.

Times are milliseconds since 1970 in UTC, so that SQLite and PostgreSQL compare them alike; ``Instant`` turns them into
aware datetimes. The schema itself is made by the Alembic migrations beside this module, never by ``create_all``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class Instant(TypeDecorator[datetime]):
    """An aware datetime, stored as milliseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return int(value.timestamp() * 1000) if isinstance(value, datetime) else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value / 1000, tz=UTC)


metadata = MetaData()
# SQLite gives an autoincrement only to INTEGER, not to BIGINT.
_Number = BigInteger().with_variant(Integer(), "sqlite")
HOLDING_CLAUSE = "mutates AND state IN ('queued', 'running', 'needs_attention')"

runs = Table(
    "runs",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("key", String(255), nullable=False, unique=True),  # what Slack's trigger gave; a repeat finds the same run
    Column("target", String(64), nullable=False),
    Column("runbook", String(64), nullable=False),
    Column("runbook_text", Text, nullable=False),
    Column("inputs", JSON, nullable=False),
    Column("state", String(24), nullable=False),
    Column("mutates", Boolean, nullable=False),
    Column("lane", String(16), nullable=False, server_default="change"),
    Column("dry_run", Boolean, nullable=False, server_default=text("false")),
    Column("requested_by", String(64), nullable=False),
    Column("channel", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("expires_at", Instant),
    Column("note", Text, nullable=False, server_default=""),
    Column("plan", JSON),
    Column("supplied", JSON, nullable=False, server_default="{}"),
    Column("plan_digest", String(80)),
    Column("parent", String(16), ForeignKey("runs.id")),
    Column("pre_approved", Boolean, nullable=False),
    Column("approvals_needed", Integer, nullable=False),
    Column("exclude_requester", Boolean, nullable=False),
    Column("incident", String(32)),  # the permission with which one person confirms alone
    Column("excepted", JSON, nullable=False, server_default="[]"),
    Column("cancel_requested_by", String(64)),
    Column("preempted_by", String(16)),
    Column("lease_owner", String(80)),
    Column("lease_until", Instant),
    Column("fence", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Index("runs_by_target", "target", "created_at"),
    Index("runs_by_state", "state"),
    Index("runs_by_parent", "parent"),
    Index("runs_by_preempted", "preempted_by"),
)
Index(
    "one_mutating_run_a_lane",
    runs.c.target,
    runs.c.lane,
    unique=True,
    sqlite_where=text(HOLDING_CLAUSE),
    postgresql_where=text(HOLDING_CLAUSE),
)

steps = Table(
    "steps",
    metadata,
    Column("run", String(16), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("id", String(64), nullable=False),
    Column("uses", String(64), nullable=False),
    Column("title", String(200), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("intent", JSON),
    Column("outcome", JSON),
    Column("progress", String(300), nullable=False, server_default=""),
    Column("started_at", Instant),
    Column("ended_at", Instant),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("run", String(16), ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("user", String(64), nullable=False),
    Column("decision", String(16), nullable=False),
    Column("digest", String(80), nullable=False),
    Column("at", Instant, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("alone", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("run", "user", "digest", "decision", name="one_voice_a_plan"),
)

overrides = Table(
    "overrides",
    metadata,
    Column("run", String(16), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", String(80), primary_key=True),
    Column("code", String(64), primary_key=True),
    Column("user", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Instant, nullable=False),
)

ticks = Table(
    "ticks",
    metadata,
    Column("run", String(16), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("item", String(64), primary_key=True),
    Column("user", String(64), nullable=False),
    Column("at", Instant, nullable=False),
)

locks = Table(
    "locks",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(80), nullable=False),
    Column("until", Instant, nullable=False),
    Column("fence", Integer, nullable=False),
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("due_at", Instant, nullable=False),
    Column("what", String(32), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("fired_at", Instant),
    Index("schedules_due", "fired_at", "due_at"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("key", String(160), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("run", String(16), ForeignKey("runs.id", ondelete="CASCADE")),
    Column("channel", String(64), nullable=False),
    Column("body", JSON, nullable=False),
    Column("wanted", Integer, nullable=False, server_default="1"),
    Column("sent", Integer, nullable=False, server_default="0"),
    Column("ts", String(32)),
    Column("client_msg_id", String(36), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("not_before", Instant),
    Column("error", Text),
    Index("outbox_by_run", "run"),
)

audit = Table(
    "audit",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("who", String(64), nullable=False),
    Column("what", String(64), nullable=False),
    Column("target", String(64)),
    Column("run", String(16)),
    Column("details", JSON, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
