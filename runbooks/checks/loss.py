"""Loss of data: what the upgrade would delete that holds data, what goes with it, and what protects it.

The most important check of a plan. Only a runbook's ``overrides`` lets a person go on in spite of what it finds.
"""

from __future__ import annotations

from typing import Any, ClassVar

from bot.diff.values import digest
from bot.engine.contract import CheckResult, PlanContext
from bot.errors import BotError
from bot.kube.findings import KubeFinding
from bot.kube.holdings import Taken
from bot.kube.loss import LossFinding
from bot.kube.loss_reading import find_losses
from bot.settings import Target
from runbooks.checks.findings import info
from runbooks.checks.objects import objects_of, told, without_objects
from runbooks.steps.backup import saved_by

WHAT = "Loss of data"


class DataLoss:
    """Whether something that holds data would go, or become unreadable."""

    name: ClassVar[str] = "data.loss"

    async def check(self, context: PlanContext) -> CheckResult:
        """Binds the approval to what would be lost: whoever accepts that has accepted nothing else.

        ``loses`` lists each object that is deleted with its data, each claim with its size and volume, and which step kind's
        ``backup`` holds that data, or why none does (``unsaved``).
        """
        try:
            objects = await objects_of(context)
            found = await find_losses(
                context.clients.cluster, objects.before, objects.after, namespace=context.target.namespace
            )
        except BotError as error:
            return without_objects(WHAT, error)
        losses = [_loss(one, taken, context.target) for one in found for taken in _lost(one)]
        blocked = [one.subject for one in found if one.level == "blocker"]
        named = [[one["because_of"], one["kind"], one["namespace"], one["name"]] for one in losses]
        findings = told(found) or (info("No data would be lost."),)
        return CheckResult(
            findings,
            facts={"loses": losses},
            bindings={"data lost": digest([blocked, named]) if blocked or named else "none"},
        )


def _lost(finding: KubeFinding) -> list[Taken]:
    """What is taken for good, by a blocker or, such as a Secret that may have been generated, by a warning."""
    if not isinstance(finding, LossFinding):
        return []
    return [one for one in finding.takes if one.fate == "lost"]


def _loss(finding: KubeFinding, taken: Taken, target: Target) -> dict[str, Any]:
    lost = {
        "because_of": finding.subject,
        "kind": taken.ref.kind,
        "namespace": taken.ref.namespace,
        "name": taken.ref.name,
        "size": taken.size,
        "volume": taken.volume,
        "reclaim_policy": taken.reclaim,
    }
    backup, unsaved = saved_by(lost, target)
    return {**lost, "backup": backup, "unsaved": unsaved}
