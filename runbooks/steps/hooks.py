"""Giving up on a hook that cannot mend itself, instead of waiting with Helm until its timeout.

A hook whose image cannot be pulled would hold an upgrade for ten minutes in which nobody learns why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from bot.engine.contract import StepContext
from bot.errors import BotError, OutcomeUnknown, Permanent, Temporary
from bot.kube.diagnose import HOPELESS
from bot.kube.explain import StuckWorkload, explain
from runbooks import evidence

log = logging.getLogger(__name__)
PAUSE = 2.0
"""Seconds between two looks; most upgrades are over before the first."""


@asynccontextmanager
async def given_up(context: StepContext, before: int, *, after: timedelta) -> AsyncIterator[None]:
    """While the block runs Helm: cancel it once a hook of a revision newer than ``before`` has been hopeless for ``after``.

    Raises ``Permanent`` with the hook's events then, and what the block raises as it is.
    """
    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(_watch(context, before, after), name="watch the hooks")
            try:
                yield
            finally:
                watcher.cancel()
    except BaseExceptionGroup as found:
        unknown = next((error for error in found.exceptions if isinstance(error, OutcomeUnknown)), None)
        raise unknown or found.exceptions[0] from None


async def _watch(context: StepContext, before: int, after: timedelta) -> None:
    loop = asyncio.get_running_loop()
    since: float | None = None
    while True:
        await asyncio.sleep(PAUSE)
        try:
            stuck = await _hopeless(context, before)
        except Temporary as error:
            log.debug("hooks of run %s could not be looked at: %s", context.run.id, error)
            continue
        except BotError as error:  # no right to look: Helm's own timeout still holds
            log.info("hooks of run %s are not watched: %s", context.run.id, error)
            return
        since = (since or loop.time()) if stuck else None
        if stuck and since is not None and loop.time() - since >= after.total_seconds():
            said = stuck[0].problems[0].message
            raise Permanent(
                f"{stuck[0].ref} is stuck and will not mend itself: {said}",
                way_out="Helm was stopped; the revision counts as failed.",
                evidence=evidence.of_stuck(stuck),
            )


async def _hopeless(context: StepContext, before: int) -> list[StuckWorkload]:
    """The hooks that run now and have no chance."""
    release = await context.clients.releases.current()
    if release.revision <= before:
        return []
    running = evidence.unfinished_hooks(release, "")
    found = await explain(context.clients.cluster, running) if running else []
    return [one for one in found if any(problem.kind in HOPELESS for problem in one.problems)]
