"""Where a rollback goes, and whether that revision is one to go back to. It is always named, never left to Helm's own choice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import ClassVar

from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.helm.models import Revision, Status, StoredRelease
from bot.helm.releases import went_well
from runbooks import revisions
from runbooks.checks.findings import blocker, info, warning
from runbooks.checks.release import as_it_is, pending
from runbooks.reading import app_version, chart_version
from runbooks.text import listed, when
from runbooks.wayback import Choice, chosen

FAILED = "rollback.failed"
"""The code of a blocker: the revision was never deployed whole. A runbook may let a person go there all the same."""
UNHEALTHY, UNPROVEN, PROVEN = "rollback.unhealthy", "rollback.unproven", "rollback.proven"


class RollbackTarget:
    """Where a rollback goes: the revision that was named, or the newest good one before what runs now."""

    name: ClassVar[str] = "rollback.target"

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now

    async def check(self, context: PlanContext) -> CheckResult:
        """Binds the approval to the target revision. Raises what Helm's absence or age means, before anybody approves."""
        await context.clients.helm.version()
        choice = await chosen(context)
        facts, bindings = as_it_is(choice.releases, context)
        if choice.wanted is None or choice.way is None:
            return CheckResult((_nowhere(choice),), facts, bindings)
        target = choice.way.target
        return CheckResult(
            findings=(*self._state(choice.way.current), *_judged(choice, target)),
            facts={
                **facts,
                "rollback_to": None,  # a rollback is not taken back: one goes to the revision that one wants
                "target_revision": target.revision,
                "new_version": chart_version(target),
                "new_app_version": app_version(target),
                "server_side": context.target.server_side_apply,
            },
            bindings={**bindings, "target revision": str(target.revision)},
        )

    def _state(self, current: StoredRelease) -> list[Finding]:
        if current.status is Status.PENDING_INSTALL:
            return [blocker(pending(current, self._now()), "`unlock` tells the way out of a first installation.")]
        if current.status.pending:
            way_out = "`unlock` says who may be at work; the rollback ends it."
            return [warning(pending(current, self._now()), way_out)]
        return []


def offered(ways: Iterable[Revision], newest: int) -> str:
    """Which revisions can be gone back to, newest first."""
    good = sorted(ways, key=lambda one: one.revision, reverse=True)
    if not good:
        return f"Revision {newest} is the newest; look at `history`."
    return f"Good ones are {listed([f'{one.revision} ({one.chart.version})' for one in good])}."


def _nowhere(choice: Choice) -> Finding:
    newest, oldest = choice.releases[-1].revision, choice.releases[0].revision
    way_out = offered(choice.ways, newest)
    if choice.wanted is None:
        return blocker("There is no good revision to go back to: nothing older was ever deployed whole.", way_out)
    if choice.wanted < oldest:
        text = f"Revision {choice.wanted} is gone: Helm keeps only the newest, and the oldest that is left is {oldest}."
        return blocker(text, way_out)
    return blocker(f"There is no revision {choice.wanted}.", way_out)


def _judged(choice: Choice, target: StoredRelease) -> list[Finding]:
    number, version, current = target.revision, chart_version(target), choice.releases[-1]
    way_out = offered(choice.ways, current.revision)
    if number == current.revision and current.status is Status.DEPLOYED:
        return [blocker(f"Revision {number} is what runs now.", way_out)]
    one = target.as_revision()
    if not went_well(one):
        text = (
            f"Revision {number} ({version}) was never deployed whole: it is {one.status.value}. {_ended(one)}".strip()
        )
        return [Finding(Level.BLOCKER, text, way_out, FAILED, str(number))]
    said = _proof(choice, one)
    abandoned = number not in {other.revision for other in revisions.good_revisions(_history(choice))}
    if abandoned and number != current.revision:
        said.append(warning(f"Revision {number} ({version}) was rolled back from, or is what runs now.", way_out))
    return said


def _proof(choice: Choice, one: Revision) -> list[Finding]:
    """What we know of its health, and which newer revision was passed over for that."""
    named = f"Revision {one.revision} ({one.chart.version})"
    proof = choice.known.proofs.get(one.revision)
    if proof is not None and not proof.healthy:
        text = f"{named} was not healthy when I looked last ({when(proof.at)}, run `{proof.run}`)."
        return [Finding(Level.WARNING, text, offered(choice.ways, choice.releases[-1].revision), UNHEALTHY)]
    if proof is None:
        better = [other for other in choice.ways if choice.known.good(other.revision)]
        level = Level.WARNING if better else Level.INFO
        way_out = (
            f"Seen healthy: {listed([f'{other.revision} ({other.chart.version})' for other in better])}."
            if better
            else ""
        )
        return [
            Finding(level, f"{named} was never verified by me; Helm calls it {one.status.value}.", way_out, UNPROVEN)
        ]
    said = [Finding(Level.INFO, f"{named} was healthy on {when(proof.at)} (run `{proof.run}`).", code=PROVEN)]
    passed = [other for other in choice.ways if other.revision > one.revision]
    if choice.asked is None and passed:
        numbers = listed([f"{other.revision} ({other.chart.version})" for other in passed])
        said.append(info(f"Newer, but never verified by me: {numbers}; `rollback {passed[0].revision}` goes there."))
    return said


def _ended(one: Revision) -> str:
    return f"Helm says: {one.description.rstrip('.')}." if one.description else ""


def _history(choice: Choice) -> list[Revision]:
    return [release.as_revision() for release in choice.releases]
