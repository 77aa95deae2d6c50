"""What the probe found: plain values, which travel as one line of JSON at the end of the pod's log. No secret is in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["postgres", "redis", "qdrant"]
Tls: TypeAlias = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]
"""libpq's ``sslmode``. For Redis and Qdrant ``prefer`` is without TLS, and ``require`` verifies no certificate, as in libpq."""

MARK = "aeterna-probe"
"""The first key of the line, by which it is told from other JSON in a log."""
MOST_COUNTS = 400
"""A container runtime cuts lines at 16 KiB and the kubelet joins them again; much more than that is nobody's to read."""
LONGEST = 500


class Reason(StrEnum):
    """Why there is nothing to tell."""

    NO_ANSWER = "no_answer"  # no address for the name, refused, no route, timeout
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 - also: no password given, or an unknown user
    NO_DATABASE = "no_database"
    TLS = "tls"
    FORBIDDEN = "forbidden"  # logged in, or would be, and may not
    OTHER = "other"  # the server's own sentence is in ``said``


@dataclass(frozen=True)
class Count:
    """How many rows (keys, points) a table (database, collection) has.

    ``number`` is None when it could not be looked at; with ``exact`` false it is the server's estimate.
    """

    name: str
    number: int | None
    exact: bool = True


@dataclass(frozen=True)
class Migration:
    """The newest row of ``_aeterna_migrations``, as text."""

    version: str
    name: str = ""
    applied_at: str = ""


@dataclass(frozen=True)
class ProbeResult:
    """One look. ``reason`` is None when the server answered as hoped; else ``said`` is a sentence why not, and the rest is empty.

    ``size`` in bytes: of the database (PostgreSQL), of the memory in use (Redis); None where it is not told (Qdrant).
    ``counts``: rows by table (``schema.table`` where the schema is not on the search path), keys by ``db0``, points by
    collection; ``left_out`` more are not told. ``empty``: nothing but migrations in it; None when that cannot be known.
    ``read_only``: a standby or replica, to which nothing can be written. ``notes`` is what could not be looked at.
    """

    kind: Kind
    reason: Reason | None = None
    said: str = ""
    product: str = ""
    version: str = ""
    size: int | None = None
    counts: tuple[Count, ...] = ()
    left_out: int = 0
    empty: bool | None = None
    newest_migration: Migration | None = None
    read_only: bool = False
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.reason is None

    @property
    def rows(self) -> Mapping[str, int]:
        """What was counted or estimated, by name."""
        return {count.name: count.number for count in self.counts if count.number is not None}

    @property
    def estimated(self) -> frozenset[str]:
        """The names in ``rows`` whose number is an estimate."""
        return frozenset(count.name for count in self.counts if count.number is not None and not count.exact)

    @property
    def total(self) -> int:
        """All that was counted or estimated."""
        return sum(self.rows.values())


def line_of(result: ProbeResult) -> str:
    """The one line that ``found_in`` finds again."""
    return json.dumps({MARK: 1, **asdict(result)}, separators=(",", ":"))


def found_in(log: str) -> str | None:
    """The JSON of the result in a log, without the mark; None where no line is one. The last one counts."""
    for line in reversed(log.splitlines()):
        if not line.startswith(f'{{"{MARK}"'):
            continue
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if fields.pop(MARK) == 1:
            return json.dumps(fields)
    return None


def emptiness(counts: tuple[Count, ...], *, apart_from: str = "") -> bool | None:
    """Whether nothing is in any of them; None when what was not counted exactly could be something."""
    others = [count for count in counts if count.name.rpartition(".")[2] != apart_from]
    if any(count.number for count in others):
        return False
    return True if all(count.exact and count.number == 0 for count in others) else None
