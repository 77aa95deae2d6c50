"""Which version runs, for what may follow from an emergency. Looking for it stops nothing."""

from __future__ import annotations

from typing import ClassVar

from bot.engine.contract import CheckResult, PlanContext
from bot.errors import BotError
from bot.helm.models import Status
from runbooks.reading import Reader, chart_version


class RunningVersion:
    """The version of the deployed revision, which *Make it permanent* asks an upgrade to."""

    name: ClassVar[str] = "release.version"

    async def check(self, context: PlanContext) -> CheckResult:
        """No finding and no binding: an emergency is right whatever Helm's records say."""
        try:
            releases = await Reader(context).releases()
        except BotError:
            return CheckResult()
        deployed = [release for release in releases if release.status is Status.DEPLOYED]
        return CheckResult(facts={"current_version": chart_version(deployed[-1])} if deployed else {})
