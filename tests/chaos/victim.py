"""The bot as it is, but a signal may hit it at a chosen write of the journal. The bot knows nothing of it.

Every committed write is a line in the file ``writes``. The file ``orders``, when it is there, says what happens at which
one: ``SIGKILL before begin_step upgrade``, *before* being right before its commit and *after* right after it. It is
carried out once: whoever takes the file away does it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.store import audit
from bot.store.database import Database
from bot.store.journal import Journal
from bot.store.tables import runs, steps

UNCOUNTED = {"run", "past", "holders", "renew", "progress", "say"}
"""Reading, heartbeats, and what is only told."""


@dataclass
class Write:
    """One call of a writing method. Only its first transaction writes; what follows reads the run back."""

    method: str
    arguments: dict[str, Any]
    audited: list[str] = field(default_factory=list)
    committed: bool = False

    async def label(self, connection: AsyncConnection) -> str | None:
        """Its name, as the orders call it; None for a claim that found nothing to carry."""
        given = self.arguments
        match self.method:
            case "claim":
                if not self.audited:
                    return None
                row = (await connection.execute(select(runs.c.state).where(runs.c.id == self.audited[0]))).one()
                return f"claim {row.state}"
            case "begin_step" | "end_step":
                wanted = (steps.c.run == given["claim"].run, steps.c.number == given["number"])
                row = (await connection.execute(select(steps.c.id).where(*wanted))).one()
                return f"{self.method} {row.id}"
            case "save_plan":
                return f"save_plan {given['state'].value}"
            case "move":
                return f"move {given['to'].value}"
            case _:
                return self.method


_under_way: ContextVar[Write | None] = ContextVar("write", default=None)


class Fate:
    """Carries out the orders at the moment that they name."""

    def __init__(self, orders: Path, writes: Path) -> None:
        self._orders = orders
        self._writes = writes

    def meet(self, moment: str, label: str) -> None:
        """A moment has come: ``before`` or ``after`` the commit of the write."""
        if moment == "after":
            with self._writes.open("a", encoding="utf-8") as file:
                file.write(f"{label}\n")
        try:
            number, _, wanted = self._orders.read_text(encoding="utf-8").partition(" ")
            if wanted != f"{moment} {label}":
                return
            self._orders.rename(self._orders.with_suffix(f".{os.getpid()}"))
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.Signals[number])
        if number == "SIGKILL":
            time.sleep(60)


def watch(fate: Fate) -> None:
    """Wraps the journal's writing methods, the transactions, and the audit trail's entry."""
    append, transaction = audit.append, Database.transaction

    @functools.wraps(append)
    async def noted(connection: AsyncConnection, **row: Any) -> None:
        write = _under_way.get()
        if write is not None and row["run"]:
            write.audited.append(row["run"])
        await append(connection, **row)

    @contextlib.asynccontextmanager
    async def watched(database: Database) -> AsyncIterator[AsyncConnection]:
        write, label = _under_way.get(), None
        async with transaction(database) as connection:
            yield connection
            if write is not None and not write.committed:
                label = await write.label(connection)
                if label is not None:
                    fate.meet("before", label)
        if write is not None and label is not None:
            write.committed = True
            fate.meet("after", label)

    audit.append = noted
    Database.transaction = watched  # type: ignore[assignment,method-assign]
    for name, method in inspect.getmembers(Journal, inspect.iscoroutinefunction):
        if not name.startswith("_") and name not in UNCOUNTED:
            setattr(Journal, name, _named(name, method))


def _named(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(method)

    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        token = _under_way.set(Write(name, signature.bind(*args, **kwargs).arguments))
        try:
            return await method(*args, **kwargs)
        finally:
            _under_way.reset(token)

    return call
