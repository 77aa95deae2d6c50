"""Plans: a release of 50 objects beside its slowest check and beside Helm by hand; one of 2,000 beside the same bot idle.

A check alone is a runbook of its own with that check and nothing else, asked for and timed like the plan.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from typing import Any

from dev.charts.many import AFTER
from tests.bench import ticking
from tests.bench.figures import Figure, compared
from tests.bench.place import ALICE, CROWD, FEW, MANY, Place, Side, alone, plan_checks, say
from tests.bench.residence import settled

TURNS, LARGE = 7, 2
CANDIDATES = 2
"""Of the checks, each measured once, so many are measured as often as the plan: the slowest is among them."""
SLOWEST_CHECK, BY_HAND, ACKS = 1.3, 1.0, 2.0
MOST_MB, MOST_BLOCKED_MS = 200.0, 100.0
_ACK_EVERY = 0.2  # seconds; a person types no faster, and the runs behind the acks are not what is measured
_WITHIN = 300.0


async def measure(place: Place) -> AsyncIterator[Figure]:
    """The figures of both releases; neither bot may run before."""
    say("installing releases of 50 and of 2,000 objects")
    await place.install_generated()
    async for figure in _few(place):
        yield figure
    async for figure in _many(place):
        yield figure


async def _few(place: Place) -> AsyncIterator[Figure]:
    guide = place.guide(place.generated[FEW].url)
    await asyncio.to_thread(guide.prepare)
    plan: list[float] = []
    by_hand: list[float] = []
    async with place.ours.connected():
        await _planned(place, FEW, "plan")  # connects to the cluster and fetches the chart, as any earlier command did
        once = {name: await _planned(place, FEW, name) for name in map(alone, plan_checks())}
        say("each check alone: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in once.items()))
        checks: dict[str, list[float]] = {name: [] for name in sorted(once, key=once.__getitem__)[-CANDIDATES:]}
        for turn in range(TURNS):
            for name in ["plan", *checks][:: -1 if turn % 2 else 1]:
                (plan if name == "plan" else checks[name]).append(await _planned(place, FEW, name))
            by_hand.append(await asyncio.to_thread(guide.look, FEW, version=AFTER))
            say(f"50 objects, turn {turn + 1}: plan {plan[-1]:.2f} s, by hand {by_hand[-1]:.2f} s")
    slowest = max(checks.values(), key=median)
    yield compared("plan_50_to_slowest_check", plan, slowest, limit=SLOWEST_CHECK, unit="s")
    yield compared("plan_50_to_helm_by_hand", plan, by_hand, limit=BY_HAND, unit="s")


async def _many(place: Place) -> AsyncIterator[Figure]:
    ours = place.ours.doing(("-m", "tests.bench.ticking"))
    grown: list[float] = []
    blocked: list[float] = []
    blocked_idle: list[float] = []
    acks: list[float] = []
    acks_idle: list[float] = []
    took: list[float] = []
    for turn in range(LARGE):
        async with ours.connected() as bot:
            await _planned(place, FEW, "plan")
            before = await settled(bot.pid)
            _forget_peak(bot.pid)
            began = time.time()
            planning = asyncio.create_task(_planned(place, MANY, "plan"))
            acks += await _acks(ours, planning)
            took.append(planning.result())
            blocked.append(_longest(ours, since=began, until=time.time()))
            grown.append(_peak(bot.pid) - before)
            await asyncio.sleep(2)
            began = time.time()
            acks_idle += await _acks(ours, asyncio.create_task(asyncio.sleep(took[-1])))
            blocked_idle.append(_longest(ours, since=began, until=time.time()))
            say(
                f"2,000 objects, turn {turn + 1}: {took[-1]:.1f} s, {grown[-1]:.0f} MB over {before:.0f} MB, "
                f"blocked {blocked[-1] * 1000:.0f} ms, idle {blocked_idle[-1] * 1000:.0f} ms"
            )
    yield Figure("plan_2000_rss_growth", max(grown), None, MOST_MB, "most", "MB")
    worst, idle = median(blocked) * 1000, median(blocked_idle) * 1000
    yield Figure("plan_2000_loop_blocked", worst, idle, MOST_BLOCKED_MS, "most", "ms")
    yield compared("plan_2000_acks_to_idle", acks, acks_idle, limit=ACKS, unit="ms", scale=1000)


async def _planned(place: Place, target: str, runbook: str) -> float:
    """Seconds from the run's first row to its end. Waits until all of it is said in Slack; raises if it did not succeed."""
    known = place.journal.count()
    version = AFTER if runbook == "plan" else f"--version {AFTER}"
    await place.ours.slack.command(ALICE, target, f"{runbook} {version}")
    await place.journal.quiet(within=_WITHIN, runs=known + 1)
    run = place.journal.newest(target, runbook)
    if run.state != "succeeded" or run.ended is None:
        raise RuntimeError(f"{runbook} of {target} ended as {run.state}: {run.note}")
    return run.ended - run.created


async def _acks(side: Side, until: asyncio.Task[Any]) -> list[float]:
    """The acks of commands that are typed one after another for as long as a task takes."""
    side.slack.deliveries.clear()
    turn = 0
    while not until.done():
        await side.slack.command(ALICE, CROWD[turn % len(CROWD)], "help")
        turn += 1
        await asyncio.wait({until}, timeout=_ACK_EVERY)
    until.result()
    return [one.acked - one.time for one in side.slack.deliveries if one.acked is not None and one.attempt == 0]


def _longest(side: Side, *, since: float, until: float) -> float:
    return ticking.longest((side.directory / ticking.FILE).read_text(), since=since, until=until)


def _forget_peak(pid: int) -> None:
    """Lets the kernel begin anew with the highest resident set (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak(pid: int) -> float:
    """The highest resident set since, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
