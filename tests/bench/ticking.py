"""The bot with a clock beside it in its event loop: ``python -m tests.bench.ticking`` is ``aeterna-bot serve`` that notes gaps.

The clock wants to be called every few milliseconds. When it is called late the loop was held up: by what this process did, or
because the machine had no core for it, which is not the bot's doing and is subtracted as the kernel counts it. The file
``ticks`` in the working directory gets a line: the moment, and the gap.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from bot import app, cli
from bot.settings import Settings

EVERY = 0.005
NOTED = 0.010
FILE = "ticks"
_serve = app.serve


async def tick(file: Path) -> None:
    """Notes each gap of at least ``NOTED`` seconds, until cancelled."""
    counted = os.open("/proc/thread-self/schedstat", os.O_RDONLY)  # kept open: looked at twice a tick
    with file.open("a", buffering=1) as lines, os.fdopen(counted):
        while True:
            before, waited = time.monotonic(), _waited(counted)
            await asyncio.sleep(EVERY)
            gap = time.monotonic() - before - EVERY - (_waited(counted) - waited)
            if gap >= NOTED:
                lines.write(f"{time.time():.3f} {gap:.4f}\n")


def _waited(file: int) -> float:
    """Seconds that this thread could have run and had no core (the second number, in nanoseconds)."""
    return int(os.pread(file, 100, 0).split()[1]) / 1e9


def longest(text: str, *, since: float, until: float) -> float:
    """The longest gap, in seconds, that ended between two moments (seconds since 1970); 0 when none was noted."""
    ticks = [tuple(map(float, line.split())) for line in text.splitlines()]
    return max((gap for at, gap in ticks if since <= at <= until), default=0.0)


async def _ticking(settings: Settings) -> None:
    clock = asyncio.create_task(tick(Path(FILE)), name="clock")
    try:
        await _serve(settings)
    finally:
        clock.cancel()


if __name__ == "__main__":
    app.serve = _ticking  # type: ignore[assignment]
    cli.main(["serve"])
