"""The release as it is: whether it is there, and in what state."""

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
from runbooks.reading import Reader, app_version, chart_version, place_of
from runbooks.text import lasted


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
        facts, bindings = as_it_is(releases, context)
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


def as_it_is(releases: Sequence[StoredRelease], context: PlanContext) -> tuple[dict[str, Json], dict[str, str]]:
    """Facts and bindings of the release as it is now. The cluster is bound too: a configuration may come to name another one."""
    current, target = releases[-1], context.target
    facts = {
        **settings_facts(target),
        "current_version": chart_version(current),
        "current_app_version": app_version(current),
        "revision": current.revision,
        "status": current.status.value,
        "rollback_to": _way_back([release.as_revision() for release in releases]),
    }
    return facts, {
        "cluster": place_of(context.clients, target),
        "release revision": f"{current.revision} ({current.status.value})",
    }


def pending(current: StoredRelease, now: datetime) -> str:
    """One sentence about a release that is ``pending-*``."""
    since = f" since {lasted(now - current.last_deployed)}" if current.last_deployed else ""
    what = f"Revision {current.revision} is {current.status.value}{since}"
    return f"{what}: an operation goes on, or was cut off in the middle."


def _way_out_of_pending(releases: Sequence[StoredRelease]) -> str:
    current = releases[-1]
    if current.status is Status.PENDING_INSTALL:
        return "If nobody is at work, only `helm uninstall` ends a first installation that was cut off; `unlock` says more."
    if newest_good([release.as_revision() for release in releases]) is None:
        return "If nobody is at work, `helm uninstall` ends it: no revision was ever deployed."
    return "If somebody is at work, wait. `unlock` says who may be, and ends it."


def _way_back(history: Sequence[Revision]) -> Facts | None:
    """Where one goes back to after an upgrade from here: what runs now, if it is good, else the newest good one."""
    now = revisions.newest(history)
    if now is None:
        return None
    good = [now] if now.status is Status.DEPLOYED else revisions.good_revisions(history)
    return {"revision": good[0].revision, "version": good[0].chart.version} if good else None
