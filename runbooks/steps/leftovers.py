"""What a rollback has left behind, looked at once more when it is done. Read-only, and never a failure of the run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

from pydantic import BaseModel

from bot.diff.migrations import MigrationNote
from bot.engine.contract import Facts, Finding, Level, Outcome, StepContext
from bot.errors import BotError, Evidence
from bot.helm.models import StoredRelease
from runbooks.staying.everything import everything
from runbooks.staying.found import CLAIMS, CRDS, DATABASE, MIGRATIONS, ORPHANS, OUTSIDE, SERVICES
from runbooks.steps.common import Params, ReadingStep
from runbooks.text import listed
from runbooks.wayback import WayBack

_WORDS = {
    MIGRATIONS: "migrations",
    DATABASE: "the database's schema",
    CLAIMS: "volume claims",
    OUTSIDE: "Secrets and ConfigMaps outside",
    SERVICES: "other services",
    CRDS: "definitions",
    ORPHANS: "objects that Helm forgot",
}


class RollbackLeftovers(ReadingStep):
    """What stayed as the newer version made it. ``notes`` are migration notes."""

    name: ClassVar[str] = "rollback.leftovers"
    title: ClassVar[str] = "Look what was left behind"
    timeout: ClassVar[timedelta] = timedelta(minutes=1)
    params: ClassVar[type[BaseModel]] = Params

    def __init__(self, *, notes: Sequence[MigrationNote] = ()) -> None:
        self._notes = tuple(notes)

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """Compares with the revision that was there before the run, as its plan has it."""
        try:
            way = _way(await context.clients.releases.all(), context.plan)
            if way is None:
                return Outcome(
                    "What was left behind cannot be told: a revision is gone from Helm's history.", warning=True
                )
            found = await everything(context.clients.cluster, way, notes=self._notes, past=context.past)
        except BotError as error:
            return Outcome(f"What was left behind could not be looked at: {error.message}", warning=True)
        left = [one for one in found.findings if one.level is not Level.INFO]
        lines = "\n".join(f"{'!' if one in left else '·'} {one.text} {one.way_out}".rstrip() for one in found.findings)
        return Outcome(
            summary=_summary(left),
            facts={"left_behind": [{"code": one.code, "subject": one.subject, "text": one.text} for one in left]},
            evidence=(Evidence("What was left behind", lines), *found.evidence) if found.findings else (),
            warning=bool(left),
        )


def _way(releases: Sequence[StoredRelease], plan: Facts) -> WayBack | None:
    """From what ran before the run to where it went."""
    by_number = {one.revision: one for one in releases}
    before, target = by_number.get(int(plan.get("revision") or 0)), by_number.get(int(plan.get("target_revision") or 0))
    if before is None or target is None:
        return None
    return WayBack([one for one in releases if one.revision <= before.revision], before, target)


def _summary(left: Sequence[Finding]) -> str:
    if not left:
        return "Nothing that matters was left behind."
    kinds = list(dict.fromkeys(_WORDS.get(one.code, one.subject or "something unseen") for one in left))
    first = left[0].text if len(left) == 1 else f"{left[0].text} And {len(left) - 1} more."
    return f"Left as it was: {listed(kinds)}. {first}"
