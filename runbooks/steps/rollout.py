"""Following the rollout of everything that the newest revision holds."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from pydantic import BaseModel

from bot.engine.contract import Facts, Outcome, StepContext
from bot.errors import Permanent
from bot.kube.rollout import RolloutResult, watch_rollout
from bot.settings import Duration
from runbooks import evidence
from runbooks.reading import workloads
from runbooks.steps.common import Params, ReadingStep
from runbooks.text import counted, lasted


class RolloutParams(Params):
    """``deadline`` is for all workloads together; what is hopeless (no such image, a crash) is given up sooner."""

    deadline: Duration = timedelta(minutes=14)
    give_up_after: Duration = timedelta(seconds=60)


class RolloutWatch(ReadingStep):
    """Waits until every workload of the release has arrived, and says why one does not."""

    name: ClassVar[str] = "rollout.watch"
    title: ClassVar[str] = "Watch the rollout"
    timeout: ClassVar[timedelta] = timedelta(minutes=15)
    params: ClassVar[type[BaseModel]] = RolloutParams

    async def run(self, context: StepContext, params: RolloutParams, intent: Facts) -> Outcome:
        """Raises ``Permanent`` with the stuck workloads, their events and last log lines."""
        release = await context.clients.releases.current()
        result = await watch_rollout(
            context.clients.cluster,
            await workloads(release, context.target.namespace),
            # before the engine's own limit, which would end it without a reason
            deadline=min(params.deadline.total_seconds(), context.timeout.total_seconds() * 0.9),
            give_up_after=params.give_up_after.total_seconds(),
            on_progress=lambda seen: context.progress(str(seen)),
        )
        if not result.ready:
            raise _stuck(result, context)
        pods = counted(sum(state.ready for state in result.states), "pod")
        took = lasted(timedelta(seconds=result.seconds))
        return Outcome(
            summary=f"{counted(len(result.states), 'workload')} rolled out, {pods} ready ({took}).",
            facts={"workloads": [str(state.ref) for state in result.states], "revision": release.revision},
        )


def _stuck(result: RolloutResult, context: StepContext) -> Permanent:
    late = [state for state in result.states if state.phase != "ready"]
    reasons = [problem.message for one in result.stuck for problem in one.problems[:1]]
    why = " ".join(reasons[:3]) or "; ".join(f"{state.ref}: {state.message}" for state in late[:3]) + "."
    ended = {
        "failed": "failed",
        "hopeless": "is stuck and will not mend itself",
        "deadline": f"did not end in {lasted(timedelta(seconds=result.seconds))}",
    }[result.ended]
    back = context.plan.get("rollback_to") if context.run.runbook != "rollback" else None
    way_out = "Retry when the cause is removed"
    way_out += f", or roll back to revision {back['revision']} ({back['version']})." if back else "."
    return Permanent(
        f"The rollout {ended} ({len(late)} of {len(result.states)} workloads): {why}",
        way_out=way_out,
        evidence=evidence.of_stuck(result.stuck),
    )
