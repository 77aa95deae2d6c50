"""Many calls, a few at a time: as many tasks as calls may be under way, and not as many as there are calls.

Thousands of tasks that all begin in one turn of the event loop hold it up, whatever semaphore they then wait at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
LANES = 8
"""The checks of a plan each have so many; every one begins with a TLS handshake of a millisecond or two on the event loop."""


async def in_lanes(
    work: Callable[[Item], Awaitable[Result]], items: Iterable[Item], *, lanes: int = LANES
) -> list[Result]:
    """``work`` of each item, at most ``lanes`` at a time; the results in the order of ``items``.

    What ``work`` raises is raised here, and ends the calls that are under way.
    """
    waiting = list(items)
    results: dict[int, Result] = {}
    numbered = iter(enumerate(waiting))

    async def lane() -> None:
        for number, item in numbered:  # one iterator for all lanes: each takes the next that nobody has
            results[number] = await work(item)

    tasks = [asyncio.create_task(lane()) for _ in range(min(lanes, len(waiting)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [results[number] for number in range(len(waiting))]
