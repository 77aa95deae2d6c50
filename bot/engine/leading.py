"""Work that one replica at a time does: the poster, the scheduler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bot.errors import Temporary
from bot.store.leases import Leases

log = logging.getLogger(__name__)


async def lead(leases: Leases, name: str, work: Callable[[], Awaitable[None]], *, every: float) -> None:
    """Runs ``work()`` whenever and as long as this process holds the lease ``name``; until cancelled.

    ``every`` (seconds) is how often the lease is asked for or renewed: at most a third of its length. When the lease is lost,
    or cannot be renewed, the work is cancelled. An error of the work's own comes out of here.
    """
    task: asyncio.Task[None] | None = None
    try:
        while True:
            held = await _hold(leases, name, within=2 * every)
            if held and task is None:
                task = asyncio.ensure_future(_call(work))
            elif not held and task is not None:
                log.warning("the lease %r is lost", name)
                await _end(task)
                task = None
            if task is None:
                await asyncio.sleep(every)
            else:
                await asyncio.wait({task}, timeout=every)
                if task.done():
                    return task.result()
    finally:
        if task is not None:
            await _end(task)


async def _call(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def _hold(leases: Leases, name: str, *, within: float) -> bool:
    try:
        async with asyncio.timeout(within):  # a connection that hangs must not outlast the lease
            return await leases.hold(name)
    except (Temporary, TimeoutError) as error:
        log.warning("the lease %r cannot be renewed: %r", name, error)
        return False


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
