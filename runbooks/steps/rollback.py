"""``helm rollback`` to a named revision. It is never interrupted: a signal would leave the release ``pending-rollback``."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import ClassVar

from pydantic import BaseModel

from bot.engine.contract import Done, Facts, NotStarted, Outcome, Reconciled, Repeat, StepContext, Unknown
from bot.errors import BotError, Evidence, Permanent, Refused
from bot.helm.flags import Wait
from bot.helm.models import Revision, Status
from bot.helm.releases import RevisionState
from bot.settings import Duration
from runbooks import evidence, orphans, revisions
from runbooks.reading import chart_version, workloads
from runbooks.staying.orphans import strands
from runbooks.steps.common import Params

_ON_THE_WAY = ", on the way to "


class RollbackParams(Params):
    """``revision`` defaults to the plan's target; ``hook_timeout`` is what Helm gives each hook."""

    revision: int | None = None
    hook_timeout: Duration = timedelta(minutes=10)


class HelmRollback:
    """Goes back to the revision that the plan named."""

    name: ClassVar[str] = "helm.rollback"
    title: ClassVar[str] = "Roll back with Helm"
    repeat: ClassVar[Repeat] = Repeat.CHECK_FIRST
    timeout: ClassVar[timedelta] = timedelta(minutes=15)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = False
    params: ClassVar[type[BaseModel]] = RollbackParams

    async def intend(self, context: StepContext, params: RollbackParams) -> Facts:
        """The newest revision before, and where it goes: by labels, for the plan has just decoded them all."""
        wanted, states = _wanted(context, params), await _states(context)
        return {
            "revision": states[-1].revision,
            "status": states[-1].status.value,
            "target_revision": wanted,
            "version": await _version(context, wanted, {state.revision for state in states}),
            "host": orphans.here(),
        }

    async def run(self, context: StepContext, params: RollbackParams, intent: Facts) -> Outcome:
        """Raises what Helm said, with the state of the pods."""
        wanted = int(intent["target_revision"])
        newest = await self._newest(context, intent)
        if (
            newest is not None
            and newest.revision != int(intent["revision"])
            and not _own_trace(newest, context, intent)
        ):
            raise Refused(
                f"Revision {newest.revision} ({newest.status.value}) has come since this step began; nothing was done.",
                way_out="Look at the history before anything else is done.",
            )
        try:
            if (
                newest is not None
                and newest.status.pending
                and (last := await self._detour(context, wanted)) is not None
            ):
                context.progress(f"helm rollback to revision {last} first, so that nothing is left behind")
                await self._go(context, params, last, f"rollback to {last}{_ON_THE_WAY}{wanted}")
            context.progress(f"helm rollback to revision {wanted}")
            await self._go(context, params, wanted, f"rollback to {wanted}")
        except BotError as error:
            error.evidence += await self._why(context)
            error.way_out = f"{error.way_out} Retry, or choose another revision with `rollback REVISION`.".strip()
            raise
        now = await _states(context)
        return _went_back(now[-1].revision, wanted, str(intent.get("version", "")))

    @staticmethod
    async def _newest(context: StepContext, intent: Facts) -> Revision | None:
        """The newest revision, if there is more to see of it than that it still is the intent's and nobody is at work."""
        states = await orphans.at_rest(context, intent)
        if states and states[-1].revision == int(intent["revision"]) and not states[-1].status.pending:
            return None
        return revisions.newest(await context.clients.releases.history() if states else ())

    async def _detour(self, context: StepContext, wanted: int) -> int | None:
        """The last deployed revision, if a cut-off one has to be undone by it first, so that nothing is stranded."""
        return await asyncio.to_thread(strands, await context.clients.releases.all(), wanted)

    async def _go(self, context: StepContext, params: RollbackParams, revision: int, what: str) -> None:
        target = context.target
        await context.clients.helm.rollback(
            release=target.release,
            namespace=target.namespace,
            revision=revision,
            timeout=params.hook_timeout,
            wait=Wait.HOOKS_ONLY,
            description=revisions.mark(context.run, what),
            server_side=target.server_side_apply,
            on_progress=lambda note: context.progress(note.text),
        )

    async def reconcile(self, context: StepContext, params: RollbackParams, intent: Facts) -> Reconciled:
        """A newer revision that is a deployed copy of the target is the effect, whoever made it."""
        history = await orphans.settled(context, intent)
        newest, before, wanted = revisions.newest(history), int(intent["revision"]), int(intent["target_revision"])
        if newest is None:
            return Unknown(f"The release {context.target.release} is gone.")
        if newest.revision <= before:
            return NotStarted()
        copy = revisions.rolled_back_to(newest) == wanted
        if copy and newest.status is Status.DEPLOYED and not _on_the_way(newest):
            return Done(_went_back(newest.revision, wanted, str(intent.get("version", ""))))
        if _own_trace(newest, context, intent):
            return NotStarted()  # cut off in the middle, or on the way; going back again completes it
        return Unknown(_unclear(newest, wanted), (evidence.of_history(history),))

    async def _why(self, context: StepContext) -> tuple[Evidence, ...]:
        try:
            release = await context.clients.releases.current()
        except BotError as error:
            return (Evidence("The release could not be read", str(error)),)
        return await evidence.of_workloads(context.clients.cluster, await workloads(release, context.target.namespace))


def _own_trace(newest: Revision, context: StepContext, intent: Facts) -> bool:
    """Whether a revision newer than the intent's is what an earlier try of this very step left unfinished.

    Helm before 4.3 keeps no description of ours; then a pending rollback right after the intent's revision is taken for ours.
    """
    if newest.status is Status.PENDING_ROLLBACK:
        return newest.revision == int(intent["revision"]) + 1 or revisions.made_by(newest) == context.run.id
    return newest.status is Status.DEPLOYED and _on_the_way(newest) and revisions.made_by(newest) == context.run.id


def _on_the_way(revision: Revision) -> bool:
    return _ON_THE_WAY in revisions.purpose(revision)


async def _states(context: StepContext) -> list[RevisionState]:
    """Numbers and states of the revisions, oldest first, from labels. Raises ``ReleaseNotFound``."""
    states = await context.clients.releases.states()
    if not states:
        await context.clients.releases.current()  # says what is missing
    return states


async def _version(context: StepContext, wanted: int, there: set[int]) -> str:
    """The chart's version of the revision that is gone back to, as the plan saw it. Raises ``RevisionNotFound``."""
    if wanted in there and wanted == context.plan.get("target_revision") and "new_version" in context.plan:
        return str(context.plan["new_version"])
    return chart_version(await context.clients.releases.get(wanted))


def _wanted(context: StepContext, params: RollbackParams) -> int:
    wanted = params.revision or context.plan.get("target_revision")
    if not wanted:
        raise Permanent("No revision was named to go back to.", way_out="Use the check rollback.target in the plan.")
    return int(wanted)


def _went_back(revision: int, target: int, version: str) -> Outcome:
    named = f" ({version})" if version else ""
    return Outcome(
        summary=f"Back at revision {target}{named}, which is now revision {revision}.",
        facts={"revision": revision, "target_revision": target, "version": version},
    )


def _unclear(newest: Revision, wanted: int) -> str:
    return (
        f"Revision {newest.revision} ({newest.chart.version}) is {newest.status.value} and not a finished rollback to {wanted}: "
        f"{newest.description.rstrip('.')}."
    )
