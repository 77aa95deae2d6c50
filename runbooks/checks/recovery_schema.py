"""Whose schema the restored data has, and what the migrations since then mean for the version that runs.

Aeterna's migrations only go forward (``aeterna admin migrate down`` refuses), so an older schema is brought forward again, or
the release goes back first. What ran since is told with Helm's own record of its hooks, and the log where a pod is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.diff.migrations import MigrationNote, crossed
from bot.engine.contract import Finding, Level, PlanContext
from bot.helm.models import StoredRelease
from runbooks.checks.findings import info
from runbooks.checks.recovery_choice import CODE
from runbooks.reading import chart_version
from runbooks.staying.found import Stays
from runbooks.staying.migrations import MOST, evidence_of, hooks_since
from runbooks.text import counted, when
from runbooks.wayback import WayBack


async def schema_of(
    context: PlanContext, releases: Sequence[StoredRelease], point: datetime, *, notes: Sequence[MigrationNote]
) -> Stays:
    """``point`` is the moment whose data comes back; ``releases`` are the kept revisions, oldest first."""
    current = releases[-1]
    runs = chart_version(current)
    then = [one for one in releases if one.last_deployed and one.last_deployed <= point]
    if not then:
        text = f"No kept revision tells which version had written the schema of that moment; {runs} runs now."
        return Stays((_warning(text),))
    way = WayBack(releases, current, then[-1])
    ran, had = hooks_since(way), chart_version(way.target)
    evidence = await evidence_of(context.clients.cluster, ran)
    since = [info(f"{one}; the restored data is from before it.") for one in ran[:MOST]]
    since += [info(f"And {counted(len(ran) - MOST, 'more hook')} ran since.")] if len(ran) > MOST else []
    if had == runs:
        text = f"The schema of {when(point)} is that of {had}, which runs now"
        if not ran:
            return Stays((info(f"{text}; no migration has run since."),))
        return Stays((info(f"{text}; the release's migration Job looks at it once more."), *since), evidence)
    text = (
        f"The schema of {when(point)} is that of {had}. Migrations only go forward: with {runs}, the release's migration "
        "Job does them again on the restored data."
    )
    way_out = f"To stay on {had}, `rollback` to revision {way.target.revision} first, and ask for this again then."
    words = list(_words(notes, current, low=had, high=runs))
    silent = [info(f"No migration note says what the versions from {had} to {runs} do to the schema.")]
    return Stays((_warning(text, way_out), *since, *(words or silent)), evidence)


def _words(notes: Sequence[MigrationNote], current: StoredRelease, *, low: str, high: str) -> list[Finding]:
    """What the migration notes of the versions between say about the database."""
    chart = current.chart.name if current.chart else ""
    found = []
    for note in crossed(notes, chart=chart, low=low, high=high):
        if note.database is not None:
            can = "can" if note.database.reversible else "cannot"
            found.append(info(f"{note.to}: the database {can} go back, says its note: {note.database.why}"))
    return found


def _warning(text: str, way_out: str = "") -> Finding:
    return Finding(Level.WARNING, text, way_out, f"{CODE}.migrations")
