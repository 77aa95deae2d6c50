"""How long a command waits for its ack: from the moment the workspace sends the envelope until the ack is there.

Both bots run side by side and take turns. After each turn ours may finish what it was asked for, so that neither side's
turn pays for the work of the one before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import cycle, islice

from tests.bench.figures import Figure, compared
from tests.bench.place import ALICE, CROWD, Place, Side, say

LIMIT = 1.25
COMMANDS = {"status": "status", "upgrade": "upgrade 0.9.9"}
"""There is no such version: the run is made, planned and shown, and ends before Helm is asked to render it. Hundreds of
rehearsals would take many minutes, and nobody's ack waits for them."""
BURST = 100
IN_A_ROW, TURNS_IN_A_ROW, TURNS_OF_BURSTS = 20, 5, 3


async def measure(place: Place) -> AsyncIterator[Figure]:
    """The four ack figures. Both bots have to be connected."""
    for side in (place.ours, place.bare):  # the first command of a process is not what is measured
        await _in_a_row(side, "help", 5)
    for burst in (False, True):
        for name, text in COMMANDS.items():
            ours: list[float] = []
            bare: list[float] = []
            for turn in range(TURNS_OF_BURSTS if burst else TURNS_IN_A_ROW):
                say(f"acks of {text!r}, {'burst' if burst else 'in a row'}, turn {turn + 1}")
                known = place.journal.count()
                for side, seen in ((place.ours, ours), (place.bare, bare))[:: -1 if turn % 2 else 1]:
                    seen += await (_at_once(side, text, BURST) if burst else _in_a_row(side, text, IN_A_ROW))
                    if side is place.ours:
                        await place.journal.quiet(within=120, runs=known + (BURST if burst else IN_A_ROW))
            kind = f"burst{BURST}" if burst else "sequential"
            yield compared(f"ack_{name}_{kind}", ours, bare, limit=LIMIT, unit="ms", scale=1000)


async def _in_a_row(side: Side, text: str, count: int) -> list[float]:
    """Each is typed as soon as the one before is acknowledged."""
    side.slack.deliveries.clear()
    for channel in islice(cycle(CROWD), count):
        await side.slack.command(ALICE, channel, text)
    return _waits(side, count)


async def _at_once(side: Side, text: str, count: int) -> list[float]:
    side.slack.deliveries.clear()
    await asyncio.gather(*(side.slack.command(ALICE, channel, text) for channel in islice(cycle(CROWD), count)))
    return _waits(side, count)


def _waits(side: Side, count: int) -> list[float]:
    found = [d.acked - d.time for d in side.slack.deliveries if d.acked is not None and d.attempt == 0]
    if len(found) != count or len(side.slack.deliveries) != count:
        raise AssertionError(f"{count} commands, {len(side.slack.deliveries)} deliveries, {len(found)} acks at once")
    return found
