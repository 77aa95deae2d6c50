"""Whole upgrades: ours from the approving click to "healthy", the guide's from its first command to its last.

Two releases of the same kind; which of them is whose changes from pair to pair, and so does who goes first. The card of
each of our runs is looked at too: how late it shows what is true, and how often it is edited.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from dev.slack import Call, Message
from tests.bench.figures import Figure, compared
from tests.bench.journal import Run
from tests.bench.place import AFTER, ALICE, BOB, FULL, Place, say

PAIRS = 5
LIMIT = 1.0
SHOWN_WITHIN, EDITED_EVERY = 2.0, 1.5  # seconds
_SLACK_CLOCK = time.time() - time.monotonic()  # calls have the monotonic clock's time, the journal the world's


@dataclass
class _Seen:
    ours: list[float] = field(default_factory=list)
    guide: list[float] = field(default_factory=list)
    lates: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)


async def measure(place: Place) -> AsyncIterator[Figure]:
    """``upgrade_to_healthy`` and the card's figures. Our bot has to be connected, the other may be away."""
    guide = place.guide(place.charts.url)
    await asyncio.to_thread(guide.prepare)
    seen = _Seen()
    for pair in range(PAIRS):
        if pair:
            await asyncio.gather(*(place.install(namespace) for namespace in FULL))
        mine, theirs = FULL[:: -1 if pair % 2 else 1]
        for first in (True, False):
            if first == (pair in (0, 3, 4)):
                await _ours(place, mine, seen)
            else:
                seen.guide.append(await asyncio.to_thread(guide.upgrade, theirs, version=AFTER, app_version=AFTER))
                say(f"the guide in {theirs}: {seen.guide[-1]:.2f} s ({_parts(guide.took)})")
    yield compared("upgrade_to_healthy", seen.ours, seen.guide, limit=LIMIT, unit="s")
    yield Figure("card_last_state_delay", max(seen.lates), None, SHOWN_WITHIN, "most", "s")
    yield Figure("card_updates_min_interval", min(seen.gaps), None, EDITED_EVERY, "least", "s")


async def _ours(place: Place, target: str, seen: _Seen) -> None:
    slack = place.ours.slack
    slack.calls.clear()
    await slack.command(ALICE, target, f"upgrade {AFTER}")
    card = await slack.wait_for(target, lambda message: "Approve" in message.buttons, timeout=60)
    await place.journal.quiet(within=30)
    approved = time.time()
    await slack.click(BOB, target, card.ts, "run_approve", wait_for_ack=False)
    await slack.wait_for(target, lambda message: message.ts == card.ts and _over(message), timeout=120)
    run = place.journal.newest(target, "upgrade")
    if run.state != "succeeded" or run.ended is None:
        raise RuntimeError(f"run {run.id} ended as {run.state}: {run.note}\n{slack.transcript(target)}")
    await place.journal.quiet(within=30)
    edits = [call for call in slack.calls if call.method == "chat.update" and call.args.get("ts") == card.ts]
    seen.ours.append(run.ended - approved)
    seen.lates += _delays(run, edits)
    seen.gaps += [later.time - earlier.time for earlier, later in pairwise(edits)]
    parts = {step.id: step.ended - step.started for step in run.steps if step.started and step.ended}
    planned = {"approval and planning again": min(s.started for s in run.steps if s.started) - approved}
    say(f"our bot in {target}: {seen.ours[-1]:.2f} s ({_parts(planned | parts)}; {len(edits)} edits)")


def _over(message: Message) -> bool:
    """A run that goes on has a Cancel button; one that has ended offers the way back, or another try."""
    return bool(message.buttons) and not {"Cancel", "Approve"} & set(message.buttons)


def _delays(run: Run, edits: Sequence[Call]) -> list[float]:
    """For each step that ended, and for the run: how long until an edit showed it.

    A card shows a step that has ended without the mark of one that is running or waiting.
    """
    found = []
    for step in run.steps:
        if step.ended is None:
            continue
        showing = next(edit for edit in edits if _line(edit, step.title)[:1] in "✅⚠⏭")
        found.append(showing.time + _SLACK_CLOCK - step.ended)
    assert run.ended is not None
    last = next(edit for edit in edits if "Done" in _text(edit))
    return [*found, last.time + _SLACK_CLOCK - run.ended]


def _line(edit: Call, title: str) -> str:
    return next((line for line in _text(edit).splitlines() if title in line and "→" not in line), "?")


def _text(edit: Call) -> str:
    def texts(block: Any) -> list[str]:
        if isinstance(block, dict):
            own = [block["text"]] if isinstance(block.get("text"), str) else []
            return own + [text for value in block.values() for text in texts(value)]
        return [text for value in block for text in texts(value)] if isinstance(block, list) else []

    return "\n".join(texts(edit.args.get("blocks")))


def _parts(took: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in took.items())
