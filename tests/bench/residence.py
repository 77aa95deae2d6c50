"""What the bot costs while it does nothing: how soon it is there, how much memory it holds, how much it keeps after work.

Memory is the resident set of the one process, without children, when it no longer changes.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from itertools import cycle, islice
from statistics import median

import psutil

from tests.bench.figures import Figure
from tests.bench.place import ALICE, CROWD, Place, Side, say

STARTS, IDLES = 5, 2
MOST_SECONDS, MOST_MB, MOST_GROWTH_MB = 2.0, 110.0, 15.0
RUNS, AT_ONCE = 200, 10
_MB = 1024 * 1024


async def starts(place: Place) -> AsyncIterator[Figure]:
    """Start after start, in turns; neither bot may run. The first start of ours also makes its database."""
    first: list[float] = []
    ours: list[float] = []
    bare: list[float] = []
    idle_ours: list[float] = []
    idle_bare: list[float] = []
    for turn in range(STARTS):
        say(f"start {turn + 1} of {STARTS}")
        shutil.rmtree(place.ours.directory / "state", ignore_errors=True)
        first.append((await _start(place.ours))[0])
        for side, seconds, memory in ((place.ours, ours, idle_ours), (place.bare, bare, idle_bare)):
            took, resident = await _start(side, settle=turn < IDLES)
            seconds.append(took)
            memory += [resident] if resident else []
    yield Figure("serve_to_connected", median(ours), median(bare), MOST_SECONDS, "most", "s")
    yield Figure("first_serve_to_connected", median(first), median(bare), MOST_SECONDS, "most", "s")
    yield Figure("idle_rss", median(idle_ours), median(idle_bare), MOST_MB, "most", "MB")


async def growth(place: Place) -> AsyncIterator[Figure]:
    """A process of its own does ``RUNS`` runs, ``AT_ONCE`` at a time; neither bot may run before."""
    async with place.ours.connected():
        pass  # makes the database, which takes memory that is used again later and would hide a growth
    async with place.ours.connected() as bot:
        before = await settled(bot.pid)
        say(f"{before:.1f} MB before {RUNS} runs")
        channels = cycle(CROWD)
        for done in range(0, RUNS, AT_ONCE):
            typed = (place.ours.slack.command(ALICE, channel, "status") for channel in islice(channels, AT_ONCE))
            known = place.journal.count()
            await asyncio.gather(*typed)
            await place.journal.quiet(within=60, runs=known + AT_ONCE)
            if not (done + AT_ONCE) % 50:
                say(f"{done + AT_ONCE} runs, {_resident(bot.pid):.1f} MB")
        states = place.journal.states("status")
        if set(states) != {"succeeded"}:
            raise RuntimeError(f"not every status run succeeded: {states}")
        after = await settled(bot.pid)
    yield Figure(f"rss_growth_after_{RUNS}_runs", after - before, None, MOST_GROWTH_MB, "most", "MB")


async def _start(side: Side, *, settle: bool = False) -> tuple[float, float | None]:
    """Seconds until it is connected and, if asked for, the memory that it then settles at."""
    began = time.monotonic()
    async with side.connected() as bot:
        took = time.monotonic() - began
        used = psutil.Process(bot.pid).cpu_times()
        # far apart, the two say that the machine was busy with something else
        say(f"{side.directory.name} connected after {took:.2f} s, {used.user + used.system:.2f} s of them computing")
        return took, await settled(bot.pid) if settle else None


async def settled(pid: int) -> float:
    """MB, when four looks in a row were the same within 0.2 MB, or after 15 s."""
    seen = [_resident(pid)]
    while len(seen) < 30 and (len(seen) < 4 or max(seen[-4:]) - min(seen[-4:]) > 0.2):
        await asyncio.sleep(0.5)
        seen.append(_resident(pid))
    return seen[-1]


def _resident(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / _MB
