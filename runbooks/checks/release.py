"""The release as it is: whether it is there, in what state, and where a rollback would lead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import ClassVar

from bot.engine.contract import CheckResult, Facts, Finding, Json, PlanContext
from bot.helm.models import Revision, Status, StoredRelease
from bot.helm.releases import newest_good
from bot.settings import Target
from runbooks import revisions
from runbooks.checks.findings import blocker, warning
from runbooks.reading import Reader, app_version, chart_version
from runbooks.text import lasted, listed


class HelmRelease:
    """Whether there is a release, and whether Helm would take an operation on it now."""

    name: ClassVar[str] = "helm.release"

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now

    async def check(self, context: PlanContext) -> CheckResult:
        """Binds the approval to the newest revision and its state."""
        target = context.target
        releases = await Reader(context).releases()
        if not releases:
            text = f"There is no release `{target.release}` in namespace `{target.namespace}`."
            way_out = "Install it first, or correct release and namespace of the target."
            return CheckResult((blocker(text, way_out),), settings_facts(target))
        facts, bindings = as_it_is(releases, target)
        return CheckResult(tuple(self._findings(releases)), facts, bindings)

    def _findings(self, releases: Sequence[StoredRelease]) -> list[Finding]:
        current = releases[-1]
        if current.status.pending:
            return [blocker(pending(current, self._now()), _way_out_of_pending(releases))]
        if current.status is Status.FAILED:
            text = f"The newest revision {current.revision} failed: {current.description.rstrip('.')}."
            return [warning(text, "An upgrade from here goes on from what the failed one left.")]
        if current.status is not Status.DEPLOYED:
            return [blocker(f"Revision {current.revision} is {current.status.value}.", "Install the release anew.")]
        return []


def settings_facts(target: Target) -> dict[str, Json]:
    """What the target's configuration says it does not have."""
    return {
        "no_database": target.database.kind == "none",
        "no_vector_store": target.vector_store.kind == "none",
    }


def as_it_is(releases: Sequence[StoredRelease], target: Target) -> tuple[dict[str, Json], dict[str, str]]:
    """Facts and bindings of the release as it is now."""
    current = releases[-1]
    facts = {
        **settings_facts(target),
        "current_version": chart_version(current),
        "current_app_version": app_version(current),
        "revision": current.revision,
        "status": current.status.value,
        "rollback_to": _way_back([release.as_revision() for release in releases]),
    }
    return facts, {"release revision": f"{current.revision} ({current.status.value})"}


def pending(current: StoredRelease, now: datetime) -> str:
    """One sentence about a release that is ``pending-*``."""
    since = f" since {lasted(now - current.last_deployed)}" if current.last_deployed else ""
    what = f"Revision {current.revision} is {current.status.value}{since}"
    return f"{what}: an operation goes on, or was cut off in the middle."


def _way_out_of_pending(releases: Sequence[StoredRelease]) -> str:
    current = releases[-1]
    if current.status is Status.PENDING_INSTALL:
        return "If nobody is at work, only `helm uninstall` ends a first installation that was cut off."
    good = newest_good([release.as_revision() for release in releases])
    if good is None:
        return "If nobody is at work, `helm uninstall` ends it: no revision was ever deployed."
    return f"If somebody is at work, wait. If nobody is, `rollback {good.revision}` ends it."


class RollbackTarget:
    """Where a rollback goes: the revision that was named, or the newest good one before what runs now."""

    name: ClassVar[str] = "rollback.target"

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now

    async def check(self, context: PlanContext) -> CheckResult:
        """Binds the approval to the target revision; a rollback is never left to Helm's own choice."""
        reader = Reader(context)
        current = await reader.release()
        releases = await reader.releases()
        facts, bindings = as_it_is(releases, context.target)
        asked = context.run.inputs.get("revision")
        by_number = {release.revision: release for release in releases}
        good = revisions.good_revisions([release.as_revision() for release in releases])
        wanted = int(asked) if asked is not None else next(iter([one.revision for one in good]), None)
        if wanted is None:
            text = "There is no good revision to go back to: nothing older was ever deployed whole."
            return CheckResult((blocker(text, _offered(good, current)),), facts, bindings)
        if wanted not in by_number:
            return CheckResult((blocker(f"There is no revision {wanted}.", _offered(good, current)),), facts, bindings)
        found = by_number[wanted]
        return CheckResult(
            findings=(*self._state(current), *_judged(found, current, good)),
            facts={
                **facts,
                "target_revision": wanted,
                "new_version": chart_version(found),
                "new_app_version": app_version(found),
                "server_side": context.target.server_side_apply,
            },
            bindings={**bindings, "target revision": str(wanted)},
        )

    def _state(self, current: StoredRelease) -> list[Finding]:
        if current.status is Status.PENDING_INSTALL:
            return [blocker(pending(current, self._now()), "Only `helm uninstall` ends a first installation.")]
        if current.status.pending:
            return [warning(pending(current, self._now()), "Make sure that nobody is at work: the rollback ends it.")]
        return []


def _judged(found: StoredRelease, current: StoredRelease, good: Sequence[Revision]) -> list[Finding]:
    number, version = found.revision, chart_version(found)
    if number == current.revision and current.status is Status.DEPLOYED:
        return [blocker(f"Revision {number} is what runs now.", _offered(good, current))]
    said = [
        warning(
            "A rollback runs no upgrade hooks: the database's schema stays as it is.",
            f"If {version or 'the old version'} cannot work with it, the backup must be restored instead.",
        )
    ]
    if number not in {one.revision for one in good} and number != current.revision:
        why = (
            found.status.value
            if found.status not in (Status.DEPLOYED, Status.SUPERSEDED)
            else "was rolled back from, or is what runs now"
        )
        said.append(warning(f"Revision {number} ({version}) {_verb(why)}.", _offered(good, current)))
    return said


def _verb(why: str) -> str:
    return why if " " in why else f"is {why}"


def _offered(good: Sequence[Revision], current: StoredRelease) -> str:
    if not good:
        return f"Revision {current.revision} is the newest; look at `history`."
    return f"Good ones are {listed([f'{one.revision} ({one.chart.version})' for one in good])}."


def _way_back(history: Sequence[Revision]) -> Facts | None:
    """Where one goes back to after an upgrade from here: what runs now, if it is good, else the newest good one."""
    now = revisions.newest(history)
    if now is None:
        return None
    good = [now] if now.status is Status.DEPLOYED else revisions.good_revisions(history)
    return {"revision": good[0].revision, "version": good[0].chart.version} if good else None
