"""``helm upgrade``: exactly what was planned, marked as ours, and never repeated on a guess."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel

from bot.engine.contract import Done, Facts, NotStarted, Outcome, Reconciled, Repeat, StepContext, Unknown
from bot.errors import BotError, Evidence, Permanent, Refused
from bot.fingerprints import OTHER_KEY, other_key
from bot.helm.charts import ChartVersion, PulledChart
from bot.helm.failures import HookFailed
from bot.helm.flags import Wait
from bot.helm.models import Release, Revision, Status
from bot.helm.releases import newest_good
from bot.settings import Duration
from runbooks import evidence, orphans, revisions
from runbooks.reading import app_version, chart_version, final_values
from runbooks.steps import hooks
from runbooks.steps.common import Params

log = logging.getLogger(__name__)


class UpgradeParams(Params):
    """``hook_timeout`` is what Helm gives each hook; one that cannot mend itself is given up sooner."""

    hook_timeout: Duration = timedelta(minutes=10)
    give_up_after: Duration = timedelta(seconds=60)


class HelmUpgrade:
    """Upgrades to the version of the run's input. It waits for hooks only: ``rollout.watch`` knows more about pods."""

    name: ClassVar[str] = "helm.upgrade"
    title: ClassVar[str] = "Upgrade with Helm"
    repeat: ClassVar[Repeat] = Repeat.CHECK_FIRST
    timeout: ClassVar[timedelta] = timedelta(minutes=15)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = True
    params: ClassVar[type[BaseModel]] = UpgradeParams

    async def intend(self, context: StepContext, params: UpgradeParams) -> Facts:
        """The newest revision before, and what will be applied."""
        current = await context.clients.releases.current()
        return {
            "revision": current.revision,
            "status": current.status.value,
            "version": _version(context),
            "chart_digest": context.plan.get("chart_digest"),
            "values_digest": context.plan.get("values_digest"),
            "host": orphans.here(),
        }

    async def run(self, context: StepContext, params: UpgradeParams, intent: Facts) -> Outcome:
        """Raises ``Refused`` when chart or values are not what was approved, else what Helm said, with evidence."""
        clients, target = context.clients, context.target
        repaired = await self._repair(context, params, intent)
        current = await clients.releases.current()
        chart = await _chart(context)
        values = await final_values(
            release=current,
            target=target,
            workdir=Path(context.workdir),
            fingerprints=clients.fingerprints,
            supplied=context.run.supplied,
        )
        _as_approved("chart", chart.digest, context.plan.get("chart_digest"))
        _as_approved("values", values.digest, context.plan.get("values_digest"))
        context.progress(f"helm upgrade to {chart.version}")
        try:
            async with hooks.given_up(context, current.revision, after=params.give_up_after):
                release = await clients.helm.upgrade(
                    release=target.release,
                    namespace=target.namespace,
                    chart=chart.path,
                    values=values.file,
                    timeout=params.hook_timeout,
                    server_side=target.server_side_apply,
                    description=revisions.mark(context.run, f"upgrade to {chart.version}"),
                    labels=revisions.labels(context.run, current.revision),
                    wait=Wait.HOOKS_ONLY,
                    on_progress=lambda note: context.progress(note.text),
                )
        except BotError as error:
            error.evidence += await self._why(context, error)
            error.way_out = f"{error.way_out} {_next(context)}".strip()
            raise
        return _upgraded(context, release, chart.version, chart.app_version, repaired)

    async def reconcile(self, context: StepContext, params: UpgradeParams, intent: Facts) -> Reconciled:
        """By the newest revision: ours and deployed, nothing new, or something that a person has to look at.

        One of ours that stayed pending, and whose Helm is dead, counts as not started: ``run`` repairs it first.
        """
        history = await orphans.settled(context, intent)
        newest, before = revisions.newest(history), int(intent["revision"])
        if newest is None:
            return Unknown(f"The release {context.target.release} is gone.")
        if newest.revision <= before:
            return NotStarted()
        if not revisions.is_ours(newest, context.run):
            return Unknown(_not_ours(newest, history, context, before), (evidence.of_history(history),))
        if newest.status is Status.DEPLOYED:
            if revisions.rolled_back_to(newest) is not None:
                return NotStarted()  # the repair of one that was cut off; the upgrade itself has not begun again
            release = await context.clients.releases.get(newest.revision)
            return Done(_upgraded(context, release, chart_version(release), app_version(release), ""))
        if newest.status.pending:
            return NotStarted()
        text = (
            f"Revision {newest.revision}, made by this run, is {newest.status.value}: {newest.description.rstrip('.')}."
        )
        return Unknown(f"{text} {_next(context)}", (evidence.of_history(history),))

    async def _repair(self, context: StepContext, params: UpgradeParams, intent: Facts) -> str:
        """Ends a pending revision that a dead process of this run left, by going back to the last deployed one."""
        history = await orphans.settled(context, intent)
        self._as_seen(context, intent, history)
        pending = orphans.cut_off(history)
        if pending is None:
            return ""
        if not revisions.is_ours(pending, context.run):
            raise Refused(
                f"Revision {pending.revision} is {pending.status.value}, and not by this run: somebody else is at work.",
                way_out="Wait for it; if nobody is at work, `rollback` ends it.",
                evidence=(evidence.of_history(history),),
            )
        good = newest_good(history)
        if good is None:
            raise Permanent("There is no deployed revision to go back to.", evidence=(evidence.of_history(history),))
        context.progress(f"Revision {pending.revision} was cut off; going back to {good.revision} first.")
        await context.clients.helm.rollback(
            release=context.target.release,
            namespace=context.target.namespace,
            revision=good.revision,
            timeout=params.hook_timeout,
            wait=Wait.HOOKS_ONLY,
            description=revisions.mark(context.run, f"rollback to {good.revision} after a cut-off upgrade"),
            server_side=context.target.server_side_apply,
        )
        return f" Revision {pending.revision} had been cut off and was repaired by going back to {good.revision} first."

    @staticmethod
    def _as_seen(context: StepContext, intent: Facts, history: list[Revision]) -> None:
        """The release is as the intent saw it, or as this run's own broken attempt left it.

        A replica that slept through its lease after it had written the intent finds here what the other one did.
        """
        newest = revisions.newest(history)
        if newest is None or newest.revision == int(intent["revision"]):
            return
        broken = newest.status.pending or revisions.rolled_back_to(newest) is not None
        if not (broken and revisions.is_ours(newest, context.run)):
            raise Refused(
                f"Revision {newest.revision} ({newest.status.value}) has come since this step began; nothing was done.",
                way_out="Look at the history before anything else is done.",
                evidence=(evidence.of_history(history),),
            )

    async def _why(self, context: StepContext, error: BotError) -> tuple[Evidence, ...]:
        """The failed hook's own log and events."""
        if not isinstance(error, HookFailed):
            return ()
        try:
            failed = evidence.unfinished_hooks(await context.clients.releases.current(), error.event)
        except BotError as unread:
            return (Evidence("The failed hook could not be looked at", str(unread)),)
        return await evidence.of_workloads(context.clients.cluster, failed)


def _version(context: StepContext) -> str:
    version = context.run.inputs.get("version")
    if not version:
        raise Permanent("helm.upgrade needs a runbook with an input called version.")
    return str(version)


async def _chart(context: StepContext) -> PulledChart:
    """The very chart that was approved, if it is still on this disk; else from its source again."""
    clients, digest = context.clients, context.plan.get("chart_digest")
    if digest:
        approved = ChartVersion(str(context.plan.get("new_version") or _version(context)), digest=str(digest))
        try:
            return await clients.repository.pull(approved, clients.charts)
        except Permanent as error:  # planned on another replica, or the folder was emptied
            log.debug("the planned chart of run %s is not kept here: %s", context.run.id, error)
    return await clients.repository.pull(_version(context), clients.charts)


def _as_approved(what: str, now: str, planned: object) -> None:
    if planned is not None and planned != now:
        if other_key(str(planned), now):
            raise Refused(
                f"Nothing was upgraded: {OTHER_KEY}.",
                way_out="Plan again, and let somebody approve it under the new key.",
            )
        raise Refused(
            f"The {what} changed since the plan was approved; nothing was upgraded.",
            way_out="Plan again, and let somebody approve what it is now.",
        )


def _next(context: StepContext) -> str:
    back = context.plan.get("rollback_to")
    where = f"go back to revision {back['revision']} ({back['version']})" if back else "go back"
    return f"Retry when the cause is removed, or {where}."


def _upgraded(context: StepContext, release: Release, version: str, app: str, repaired: str) -> Outcome:
    before = context.plan.get("current_version")
    come = f"from {before} " if before else ""
    return Outcome(
        summary=f"Revision {release.revision} deployed: {come}to {version}.{repaired}",
        facts={"revision": release.revision, "version": version, "app_version": app},
        warning=bool(repaired),
    )


def _not_ours(newest: Revision, history: list[Revision], context: StepContext, before: int) -> str:
    ours = [one.revision for one in history if one.revision > before and revisions.is_ours(one, context.run)]
    whose = f"Revision {newest.revision} ({newest.chart.version}, {newest.status.value}) was made by somebody else"
    if ours:
        return f"This run made revision {ours[-1]}; then something else happened. {whose}: {newest.description}."
    return f"{whose} while this run was at it: {newest.description}. Whether ours took effect cannot be told."
