"""Where a release goes back to, decided once for all checks of a plan: from the newest revision to an earlier one.

A runbook with an input ``revision`` goes where it says, or to the newest good revision. One without (``unlock``) goes to the last
deployed revision: Helm deletes only what the newest revision's manifest has and the target's lacks (Helm 4.3.1,
pkg/action/rollback.go), so from a cut-off revision only the last deployed one is reached without leaving anything behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.engine.contract import PlanContext
from bot.helm.models import Revision, StoredRelease
from bot.helm.releases import newest_good
from runbooks import proofs
from runbooks.proofs import Known
from runbooks.reading import Reader, chart_version


@dataclass(frozen=True)
class WayBack:
    """``current`` is the newest revision, ``target`` the one to go back to; ``releases`` are all that are kept, oldest first."""

    releases: Sequence[StoredRelease]
    current: StoredRelease
    target: StoredRelease

    @property
    def since(self) -> datetime | None:
        """When the target was deployed: what happened later is what a rollback may not undo."""
        return self.target.last_deployed

    @property
    def later(self) -> list[StoredRelease]:
        """The revisions after the target, oldest first."""
        return [one for one in self.releases if one.revision > self.target.revision]

    @property
    def named(self) -> str:
        """``revision 1 (0.2.0)``."""
        return f"revision {self.target.revision} ({chart_version(self.target)})"


@dataclass(frozen=True)
class Choice:
    """``asked`` is the number that a person gave; ``wanted`` where it goes, None when there is nowhere to go."""

    releases: Sequence[StoredRelease]
    known: Known
    ways: Sequence[Revision]
    asked: int | None
    wanted: int | None

    @property
    def by_number(self) -> Mapping[int, StoredRelease]:
        """Every revision that is kept."""
        return {release.revision: release for release in self.releases}

    @property
    def way(self) -> WayBack | None:
        """The way, where both of its ends are there."""
        target = self.by_number.get(self.wanted or 0)
        return WayBack(self.releases, self.releases[-1], target) if target else None


async def chosen(context: PlanContext) -> Choice:
    """The choice of this plan. Raises ``ReleaseNotFound``."""
    found: Choice = await context.shared.once("way back", lambda: _choose(context))
    return found


async def _choose(context: PlanContext) -> Choice:
    reader, inputs = Reader(context), context.run.inputs
    await reader.release()  # says so when there is none
    releases = await reader.releases()
    history = [release.as_revision() for release in releases]
    known = await proofs.known(context.past, history)
    ways = proofs.best(history, known)
    if "revision" not in inputs:
        last = newest_good(history)
        return Choice(releases, known, ways, None, last.revision if last else None)
    if inputs["revision"] is not None:
        asked = int(inputs["revision"])
        return Choice(releases, known, ways, asked, asked)
    return Choice(releases, known, ways, None, ways[0].revision if ways else None)
