"""What a rollback does not take back, with evidence: said before anybody approves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from bot.diff.migrations import MigrationNote
from bot.engine.contract import CheckResult, Level, PlanContext
from bot.errors import BotError
from bot.helm.charts import ChartVersion
from runbooks.checks.findings import not_done
from runbooks.reading import Reader, chart_version
from runbooks.staying.everything import everything
from runbooks.wayback import WayBack, chosen

PATIENCE = 3.0
"""Seconds for the chart repository: what the charts say of themselves is worth no more, with a release that is down."""


class RollbackStays:
    """Migrations, claims, Secrets and ConfigMaps outside, other services, definitions. ``notes`` are migration notes."""

    name: ClassVar[str] = "rollback.stays"

    def __init__(self, *, notes: Sequence[MigrationNote] = ()) -> None:
        self._notes = tuple(notes)

    async def check(self, context: PlanContext) -> CheckResult:
        """Nothing of it stops a rollback; a look that fails is a warning."""
        way = (await chosen(context)).way
        if way is None or way.target.revision == way.current.revision:
            return CheckResult()
        reader = Reader(context)
        try:
            found = await everything(
                context.clients.cluster,
                way,
                notes=self._notes,
                past=context.past,
                offered=await _offered(context, way),
                objects=(await reader.objects(way.current), await reader.objects(way.target)),
            )
        except BotError as error:
            return not_done(Level.WARNING, "Looking at what stays", error)
        return CheckResult(found.findings, files=found.evidence)


async def _offered(context: PlanContext, way: WayBack) -> Sequence[ChartVersion]:
    """The charts' own words, where their repository answers in time."""
    if chart_version(way.target) == chart_version(way.current):
        return ()
    try:
        async with asyncio.timeout(PATIENCE):
            return await Reader(context).offered()
    except (BotError, TimeoutError):
        return ()
