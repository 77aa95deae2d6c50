"""The chart's version that was asked for: whether it is there, and how far away it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bot.diff.changelog import as_version, versions_between
from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.errors import Permanent, Refused, Temporary, UserMistake
from bot.helm.charts import ChartVersion, PulledChart
from bot.helm.failures import ChartVersionNotFound
from bot.helm.models import Status, StoredRelease
from runbooks.checks.findings import blocker, info, not_done, warning
from runbooks.reading import Reader, chart_version, same_version
from runbooks.text import listed, when


class ChartVersionCheck:
    """Whether the version exists and is an upgrade; fixes the chart on disk by its digest."""

    name: ClassVar[str] = "chart.version"

    async def check(self, context: PlanContext) -> CheckResult:
        """Binds the approval to the chart's digest."""
        reader = Reader(context)
        try:
            chart = await reader.chart()
        except ChartVersionNotFound as error:
            return CheckResult((blocker(error.message, f"{error.way_out} `versions` lists them all."),))
        except (Temporary, Refused, Permanent, UserMistake) as error:
            return not_done(Level.BLOCKER, "Fetching the chart", error)
        release = await reader.release()
        offered = await self._offered(reader)
        return CheckResult(
            findings=tuple(_findings(chart, release, offered, supplied=bool(context.run.supplied))),
            facts={
                "new_version": chart.version,
                "new_app_version": chart.app_version,
                "chart_digest": chart.digest,
            },
            bindings={"chart digest": chart.digest},
        )

    async def _offered(self, reader: Reader) -> Sequence[ChartVersion]:
        try:
            return await reader.offered()
        except (Temporary, Permanent):  # a registry cannot list its versions; the chart itself is here
            return ()


def _findings(
    chart: PulledChart, release: StoredRelease, offered: Sequence[ChartVersion], *, supplied: bool
) -> list[Finding]:
    new, current = chart.version, chart_version(release)
    first, last = as_version(current), as_version(new)
    if same_version(new, current):
        if release.status is Status.FAILED:
            return [warning(f"{new} was tried before and failed; this tries it again.")]
        if supplied:
            return [info(f"{new} is what runs now; only values change.")]
        return [blocker(f"{new} is what runs now.", "`versions` lists the others; `verify` proves that it is healthy.")]
    if first and last and last < first:
        return [
            blocker(
                f"{new} is older than {current}: this is a downgrade.",
                "Use `rollback` to go back to an earlier revision.",
            )
        ]
    said = []
    between = [
        text for text in versions_between([one.version for one in offered], current, new) if not same_version(text, new)
    ]
    if between:
        said.append(info(f"Between {current} and {new} lie {listed(between)}."))
    if last and last.prerelease:
        said.append(warning(f"{new} is a pre-release."))
    offer = next((one for one in offered if same_version(one.version, new)), None)
    if chart.metadata.get("deprecated") or (offer and offer.deprecated):
        said.append(warning(f"The chart marks {new} as deprecated."))
    if offer and offer.created:
        said.append(info(f"{new} was published on {when(offer.created)}."))
    if release.chart and chart.name != release.chart.name:
        said.append(
            blocker(
                f"The chart is called {chart.name}, the release was made from {release.chart.name}.",
                "Correct the target's chart.",
            )
        )
    return said
