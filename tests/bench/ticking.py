"""The bot with a clock beside it in its event loop: ``python -m tests.bench.ticking`` is ``aeterna-bot serve`` that notes gaps.

The clock wants to be called every few milliseconds. When it is called late the loop was held up, by what this process did or
because the machine gave it no core; the file ``ticks`` beside the configuration gets a line: the moment, and the gap.
"""

from __future__ import annotations

import asyncio
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
    with file.open("a", buffering=1) as lines:
        while True:
            before = time.monotonic()
            await asyncio.sleep(EVERY)
            gap = time.monotonic() - before - EVERY
            if gap >= NOTED:
                lines.write(f"{time.time():.3f} {gap:.4f}\n")


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
