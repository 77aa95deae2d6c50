"""``python -m tests.bench [PART…]``: one line a figure on stdout, progress on stderr, exit code 1 if one is over.

The parts are ``starts``, ``acks``, ``growth``, ``upgrades``, ``rollbacks``, ``plans`` and
``emergencies``; without a name all of them.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence

from dev import prepare
from tests.bench import acks, emergencies, plans, residence, rollbacks, upgrades
from tests.bench.figures import Figure
from tests.bench.place import Place, say


async def _acks(place: Place) -> AsyncIterator[Figure]:
    async with place.ours.connected(), place.bare.connected():
        async for figure in acks.measure(place):
            yield figure


async def _upgrades(place: Place) -> AsyncIterator[Figure]:
    async with place.ours.connected():
        async for figure in upgrades.measure(place):
            yield figure


async def _rollbacks(place: Place) -> AsyncIterator[Figure]:
    async with place.ours.connected():
        async for figure in rollbacks.measure(place):
            yield figure


PARTS: dict[str, Callable[[Place], AsyncIterator[Figure]]] = {
    "starts": residence.starts,
    "acks": _acks,
    "growth": residence.growth,
    "upgrades": _upgrades,
    "rollbacks": _rollbacks,
    "plans": plans.measure,
    "emergencies": emergencies.measure,
}


async def bench(names: Sequence[str]) -> bool:
    """Measures the parts and prints their figures; whether all limits hold."""
    good = True
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # as Ctrl-C: everything is taken away
    say("starting a control plane, two workspaces and three releases")
    async with Place.running() as place:
        for name in names:
            async for figure in PARTS[name](place):
                print(figure, flush=True)
                good = good and figure.ok
    say("done")
    return good


def main() -> int:
    """The exit code: 0 when every limit holds, 1 when one does not, 2 for a part that does not exist."""
    if unknown := set(sys.argv[1:]) - set(PARTS):
        say(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
        return 2
    if code := prepare.main():
        return code
    return 0 if asyncio.run(bench(sys.argv[1:] or list(PARTS))) else 1


if __name__ == "__main__":
    sys.exit(main())
