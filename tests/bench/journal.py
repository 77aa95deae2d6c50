"""Reads the bot's journal from outside, past the bot: what is true, and when it became true."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BUSY = "('planning', 'queued', 'running')"


@dataclass(frozen=True)
class Step:
    """A step as the journal has it; times are seconds since 1970."""

    id: str
    title: str
    state: str
    started: float | None
    ended: float | None


@dataclass(frozen=True)
class Run:
    """A run as the journal has it; ``changed`` is when its newest write was."""

    id: str
    runbook: str
    target: str
    state: str
    note: str
    created: float
    changed: float
    started: float | None
    ended: float | None
    steps: tuple[Step, ...]
    card: str | None  # the card's timestamp in Slack


class JournalFile:
    """The SQLite file of a bot that runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def newest(self, target: str, runbook: str) -> Run:
        """The newest run of that kind. Raises LookupError when there is none."""
        rows = self._rows(
            "SELECT * FROM runs WHERE target = ? AND runbook = ? ORDER BY created_at DESC LIMIT 1", target, runbook
        )
        if not rows:
            raise LookupError(f"no {runbook} of {target} in the journal")
        run = rows[0]
        steps = self._rows("SELECT * FROM steps WHERE run = ? ORDER BY number", run["id"])
        cards = self._rows("SELECT ts FROM outbox WHERE run = ? AND kind = 'card'", run["id"])
        return Run(
            id=run["id"],
            runbook=run["runbook"],
            target=run["target"],
            state=run["state"],
            note=run["note"],
            created=run["created_at"] / 1000,
            changed=run["updated_at"] / 1000,
            started=_seconds(run["started_at"]),
            ended=_seconds(run["ended_at"]),
            steps=tuple(
                Step(s["id"], s["title"], s["state"], _seconds(s["started_at"]), _seconds(s["ended_at"])) for s in steps
            ),
            card=cards[0]["ts"] if cards else None,
        )

    def states(self, runbook: str) -> dict[str, int]:
        """How many runs of that kind are in each state."""
        rows = self._rows("SELECT state, count(*) AS n FROM runs WHERE runbook = ? GROUP BY state", runbook)
        return {row["state"]: row["n"] for row in rows}

    async def quiet(self, *, within: float, runs: int = 0) -> None:
        """Waits until there are so many runs, none is carried, and everything is said in Slack. Raises TimeoutError."""
        async with asyncio.timeout(within):
            while self.count() < runs or self._under_way():  # noqa: ASYNC110 - another process's database has no event
                await asyncio.sleep(0.1)

    def count(self) -> int:
        """How many runs there are."""
        return int(self._rows("SELECT count(*) AS n FROM runs")[0]["n"])

    def _under_way(self) -> int:
        runs = self._rows(f"SELECT count(*) AS n FROM runs WHERE state IN {_BUSY}")[0]["n"]
        unsaid = self._rows("SELECT count(*) AS n FROM outbox WHERE sent < wanted")[0]["n"]
        return int(runs) + int(unsaid)

    def _rows(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(statement, values).fetchall()


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
