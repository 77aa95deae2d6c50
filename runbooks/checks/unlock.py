"""A release that is stuck in ``pending-*``: since when, by whom, whether somebody is still at work, and the safest way out.

A cut-off upgrade or rollback is ended by going back to the last deployed revision (see ``runbooks.wayback``). A first
installation is never taken away: only a person can decide that.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import ClassVar

from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.helm.models import Status, StoredRelease
from runbooks import orphans, revisions
from runbooks.checks.release import as_it_is
from runbooks.reading import app_version, chart_version
from runbooks.unlocking import YOUNG, AtWork, Signs, signs, spoken
from runbooks.wayback import Choice, chosen

NOT_STUCK, AT_WORK, STUCK, NO_WAY = "unlock.not_stuck", "unlock.at_work", "unlock.stuck", "unlock.no_way"


class UnlockTarget:
    """Whether the release is stuck, and where the way out leads."""

    name: ClassVar[str] = "unlock.target"

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        at_work: AtWork = orphans.helm_at_work,
    ) -> None:
        self._now = now
        self._at_work = at_work

    async def check(self, context: PlanContext) -> CheckResult:
        """Binds the approval to the newest revision and its state: a helm that comes to its end meanwhile voids it."""
        choice = await chosen(context)
        facts, bindings = as_it_is(choice.releases, context)
        facts = {**facts, "rollback_to": None}  # what was there before was stuck: nothing to take an unlock back to
        current = choice.releases[-1]
        if not current.status.pending:
            text = f"Revision {current.revision} is {current.status.value}: the release is not stuck, there is nothing to unlock."
            return CheckResult((Finding(Level.BLOCKER, text, "", NOT_STUCK),), facts, bindings)
        found = await signs(context.clients.cluster, current, choice.known, now=self._now(), at_work=self._at_work)
        way = choice.way
        findings = [_stuck(current, way.target if way else None, found), *_life(found)]
        if current.status is Status.PENDING_INSTALL or way is None:
            return CheckResult((*findings, _no_way(current, context)), facts, bindings)
        target = way.target
        return CheckResult(
            findings=(*findings, *_other_way(current, target, choice)),
            facts={
                **facts,
                "target_revision": target.revision,
                "new_version": chart_version(target),
                "new_app_version": app_version(target),
                "server_side": context.target.server_side_apply,
            },
            bindings={**bindings, "target revision": str(target.revision)},
        )


def _stuck(current: StoredRelease, target: StoredRelease | None, found: Signs) -> Finding:
    """What is stuck, since when, by whom, and what ends it."""
    named = f"Revision {current.revision} ({chart_version(current)})"
    text = f"{named} has been {current.status.value} {spoken(found.age)}. {found.maker}"
    way_out = ""
    if target is not None and current.status is not Status.PENDING_INSTALL:
        way_out = (
            f"`helm rollback` to {target.revision} ({chart_version(target)}), the last that was deployed, ends it."
        )
    return Finding(Level.WARNING, text, way_out, STUCK, f"revision {current.revision}")


def _life(found: Signs) -> list[Finding]:
    """Every sign that somebody is at work; that nothing was seen proves little, and is said too."""
    said = []
    if found.helm:
        text = f"A helm on this host ({orphans.here()}) is still at work on it."
        said.append(Finding(Level.BLOCKER, text, "Wait until it has ended, and ask again.", AT_WORK))
    for hook in found.hooks:
        text = f"Its hook {hook} has not ended; it goes on whether helm is alive or not."
        said.append(
            Finding(Level.WARNING, text, "Better wait for its end: it may be a migration.", AT_WORK, hook.split()[0])
        )
    if found.young and not found.helm:
        text = f"It is younger than the {YOUNG.seconds // 60} minutes that Helm itself waits: somebody may well be at work."
        said.append(Finding(Level.WARNING, text, "Ask who, before you approve.", AT_WORK))
    if not found.helm:
        text = f"No helm is at work on it on this host ({orphans.here()}); one on another machine cannot be seen from here."
        said.append(Finding(Level.INFO, text, "", AT_WORK))
    return said


def _other_way(current: StoredRelease, target: StoredRelease, choice: Choice) -> list[Finding]:
    """What was cut off may have been a rollback that somebody still wants."""
    number, said = target.revision, []
    aim = revisions.rolled_back_to(current.as_revision())
    if current.status is Status.PENDING_ROLLBACK and aim is not None and aim != number and aim in choice.by_number:
        text = f"Somebody was going back from {number} to {aim} ({chart_version(choice.by_number[aim])}) when it was cut off."
        said.append(Finding(Level.WARNING, text, f"`rollback {aim}` ends this state too, and finishes that.", STUCK))
    return said


def _no_way(current: StoredRelease, context: PlanContext) -> Finding:
    release, namespace = context.target.release, context.target.namespace
    uninstall = f"`helm uninstall {release} --namespace {namespace}`"
    if current.status is Status.PENDING_INSTALL:
        text = "It is a first installation: there is nothing to go back to, and I never uninstall."
    else:
        text = "No revision was ever deployed whole: there is nothing to go back to, and I never uninstall."
    way_out = f"Look what is there, then {uninstall} and install again; claims that StatefulSets made stay."
    return Finding(Level.BLOCKER, text, way_out, NO_WAY)
