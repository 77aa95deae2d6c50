"""Ends a ``pending-*`` revision whose helm is dead, by ``helm rollback`` to the last deployed revision."""

from __future__ import annotations

from typing import ClassVar

from bot.engine.contract import Facts, Outcome, StepContext
from bot.errors import Refused
from runbooks import orphans, revisions
from runbooks.steps.rollback import HelmRollback, RollbackParams


class HelmUnlock(HelmRollback):
    """As ``helm.rollback``, but only from a revision that is still stuck and that no helm of this host works on."""

    name: ClassVar[str] = "helm.unlock"
    title: ClassVar[str] = "Unlock the release"

    async def run(self, context: StepContext, params: RollbackParams, intent: Facts) -> Outcome:
        """Raises ``Refused`` where it came to its end by itself: then there is nothing to unlock any more."""
        newest = revisions.newest(await orphans.settled(context, intent))
        if newest is not None and newest.revision == int(intent["revision"]) and not newest.status.pending:
            raise Refused(
                f"Revision {newest.revision} is {newest.status.value} now: it came to its end by itself, and nothing was done.",
                way_out="Look at `status`.",
            )
        return await super().run(context, params, intent)
