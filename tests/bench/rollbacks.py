"""Whole rollbacks: ours from the approving click to "healthy", the script's from its first command to its last.

Ours plans once more, verifies every server and says what was left behind, which the script does not. Two releases of the same
kind; which of them is whose changes from pair to pair, and so does who goes first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from dev import release
from dev.slack import Message
from tests.bench.figures import Figure, compared
from tests.bench.guide import Guide
from tests.bench.place import AFTER, ALICE, BEFORE, BOB, FULL, Place, say

PAIRS = 5
LIMIT = 1.0


async def measure(place: Place) -> AsyncIterator[Figure]:
    """``rollback_to_healthy``. Our bot has to be connected, the other may be away."""
    guide = Guide(
        helm=place.toolchain.path("helm"),
        kubectl=place.toolchain.path("kubectl"),
        kubeconfig=place.cluster.kubeconfig,
        home=place.directory / "guide",
        repository=place.charts.url,
    )
    guide.home.mkdir(exist_ok=True)
    ours: list[float] = []
    script: list[float] = []
    await asyncio.gather(*(place.install(namespace, BEFORE) for namespace in FULL))
    for pair in range(PAIRS):
        await asyncio.gather(*(place.install(namespace, AFTER) for namespace in FULL))
        mine, theirs = FULL[:: -1 if pair % 2 else 1]
        for first in (True, False):
            if first == (pair in (0, 3, 4)):
                ours.append(await _ours(place, mine))
            else:
                back = await _before(place, theirs)
                script.append(await asyncio.to_thread(guide.rollback, theirs, revision=back))
                say(f"the script in {theirs}: {script[-1]:.2f} s ({_parts(guide.took)})")
    yield compared("rollback_to_healthy", ours, script, limit=LIMIT, unit="s")


async def _before(place: Place, namespace: str) -> int:
    """The number of the revision before the newest one."""
    found = await release.status(place.toolchain.path("helm"), place.cluster.kubeconfig, namespace=namespace)
    return int(found["revision"]) - 1


async def _ours(place: Place, target: str) -> float:
    slack, back = place.ours.slack, await _before(place, target)
    await slack.command(ALICE, target, f"rollback {back}")
    card = await slack.wait_for(target, lambda message: "Approve" in message.buttons, timeout=60)
    await place.journal.quiet(within=30)
    approved = time.time()
    await slack.click(BOB, target, card.ts, "run_approve", wait_for_ack=False)
    await slack.wait_for(target, lambda message: message.ts == card.ts and _over(message), timeout=120)
    run = place.journal.newest(target, "rollback")
    if run.state != "succeeded" or run.ended is None:
        raise RuntimeError(f"run {run.id} ended as {run.state}: {run.note}\n{slack.transcript(target)}")
    await place.journal.quiet(within=30)
    parts = {step.id: step.ended - step.started for step in run.steps if step.started and step.ended}
    planned = {"approval and planning again": min(s.started for s in run.steps if s.started) - approved}
    say(f"our bot in {target}: {run.ended - approved:.2f} s ({_parts(planned | parts)})")
    return run.ended - approved


def _over(message: Message) -> bool:
    """A run that goes on has a Cancel button, one that waits has Approve; one that is over has neither."""
    return not {"Cancel", "Approve"} & set(message.buttons) and any("*Done*" in str(block) for block in message.blocks)


def _parts(took: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in took.items())
