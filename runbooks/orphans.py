"""Helm processes that outlived the bot that started them.

A killed bot leaves its Helm running (it writes to files, not to us), so a ``pending-*`` revision may still come to its
end. Only when no Helm is at work on the release any more is it taken for dead.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from bot.engine.contract import Facts, StepContext
from bot.helm.models import Revision
from bot.helm.releases import RevisionState
from runbooks import revisions

ELSEWHERE = 30.0
"""Seconds that a Helm of another host gets; a replica that lost its lease stops its own well before."""
LONGEST = 1_800.0
_PAUSE = 0.5


def here() -> str:
    """This host, for an intent."""
    return socket.gethostname()


def helm_at_work(release: str, namespace: str, *, proc: Path = Path("/proc")) -> bool:
    """Whether a Helm process of this host is changing the release. False where there is no ``/proc``."""
    wanted = f"--namespace={namespace}"
    return any(
        len(words) > 2
        and words[1] in ("upgrade", "rollback")
        and words[2] == release
        and wanted in words
        and not any(word.startswith("--dry-run") for word in words)
        for words in _command_lines(proc)
    )


async def settled(
    context: StepContext, intent: Facts, *, at_work: Callable[[str, str], bool] = helm_at_work
) -> list[Revision]:
    """The history, once the newest revision is not pending any more or nobody is left who could end it."""
    states = await at_rest(context, intent, at_work=at_work)
    return await context.clients.releases.history() if states else []


async def at_rest(
    context: StepContext, intent: Facts, *, at_work: Callable[[str, str], bool] = helm_at_work
) -> list[RevisionState]:
    """The same, from labels alone: numbers and states, and nothing is decoded."""
    release, namespace = context.target.release, context.target.namespace
    loop = asyncio.get_running_loop()
    began = loop.time()
    grace = 0.0 if intent.get("host") == here() else ELSEWHERE
    while True:
        states = await context.clients.releases.states()
        if not states or not states[-1].status.pending:
            return states
        waited = loop.time() - began
        alive = await asyncio.to_thread(at_work, release, namespace)
        if waited > LONGEST or (not alive and waited >= grace):
            return states
        context.progress(f"Revision {states[-1].revision} is {states[-1].status.value}; waiting for Helm to end.")
        await asyncio.sleep(_PAUSE)


def cut_off(history: list[Revision]) -> Revision | None:
    """The newest revision, if it is pending."""
    newest = revisions.newest(history)
    return newest if newest is not None and newest.status.pending else None


def _command_lines(proc: Path) -> list[list[str]]:
    found = []
    for path in proc.glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode(errors="replace").split("\0"))
        except OSError:  # it ended while we looked
            continue
    return found
