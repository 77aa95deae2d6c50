"""Restarting workloads one after the other; the first that does not come back ends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from pydantic import BaseModel

from bot.engine.contract import Done, Facts, NotStarted, Outcome, Reconciled, Repeat, StepContext
from bot.errors import Permanent
from bot.kube.holding import KINDS
from bot.kube.objects import ObjectRef, name_of, uid_of
from bot.kube.readiness import state_of
from bot.kube.restart import Budget, evict, mark, marked, old_pods, replaced
from bot.kube.rollout import RolloutProgress, watch_rollout
from bot.settings import Duration
from runbooks import evidence
from runbooks.steps.common import Params
from runbooks.text import counted, lasted, listed


class RestartParams(Params):
    """``deadline`` is for each workload to come back; what is hopeless (no such image, a crash) is given up sooner."""

    deadline: Duration = timedelta(minutes=10)
    give_up_after: Duration = timedelta(seconds=60)


class ComponentsRestart:
    """Restarts what the plan's ``restarts`` name, in that order.

    Every pod that it brings about carries the run's mark, so it may be run again at any time and does only what is left.
    """

    name: ClassVar[str] = "components.restart"
    title: ClassVar[str] = "Restart"
    repeat: ClassVar[Repeat] = Repeat.SAFE
    timeout: ClassVar[timedelta] = timedelta(hours=1)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = True
    params: ClassVar[type[BaseModel]] = RestartParams

    async def intend(self, context: StepContext, params: RestartParams) -> Facts:
        """What will be restarted, and the time that kubectl's annotation gets."""
        at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return {"restarts": [dict(row) for row in context.plan.get("restarts") or ()], "at": at}

    async def run(self, context: StepContext, params: RestartParams, intent: Facts) -> Outcome:
        """Raises ``Permanent`` with the reasons when one does not come back; those after it are left as they are."""
        rows, began = list(intent["restarts"]), datetime.now(UTC)
        for number, row in enumerate(rows):
            left = [str(one["subject"]) for one in rows[number + 1 :]]
            await _Restarting(context, params, row, f"{number + 1} of {len(rows)}", left).go(str(intent["at"]))
        return _restarted(rows, datetime.now(UTC) - began)

    async def reconcile(self, context: StepContext, params: RestartParams, intent: Facts) -> Reconciled:
        """By the marks on templates and pods; what has none yet, or is not back, is left to do by running it again."""
        seen = [await _seen(context, row) for row in intent["restarts"]]
        back, begun, left = ([one for one, state in seen if state == wanted] for wanted in ("back", "begun", "left"))
        if not begun and not left:
            return Done(_restarted(intent["restarts"], timedelta()))
        if not back and not begun:
            return NotStarted()
        told = [f"Interrupted: {len(back)} of {counted(len(seen), 'workload')} restarted."]
        told += [f"Begun and not back yet: {listed(begun)}."] if begun else []
        told += [f"Not restarted: {listed(left)}."] if left else []
        return NotStarted(" ".join(told))


async def _seen(context: StepContext, row: Mapping[str, Any]) -> tuple[str, str]:
    """The workload, and how far it is: ``back``, ``begun`` or ``left`` as it was."""
    cluster, run, ref = context.clients.cluster, context.run.id, _ref(row, context.target.namespace)
    obj = await cluster.get_ref(ref)
    if obj is None or not marked(obj, run):
        return str(ref), "left"
    ready = state_of(ref, obj).phase == "ready"
    return str(ref), "back" if ready and not await old_pods(cluster, ref, run=run) else "begun"


class _Restarting:
    """The restart of one workload."""

    def __init__(
        self, context: StepContext, params: RestartParams, row: Mapping[str, Any], place: str, left: Sequence[str]
    ) -> None:
        self._context = context
        self._params = params
        self._row = row
        self._place = place
        self._left = left
        self._cluster = context.clients.cluster
        self._ref = _ref(row, context.target.namespace)

    async def go(self, at: str) -> None:
        """Marks it, replaces its pods where it does not do so itself, and waits until it is back."""
        self._say("restarting")
        await mark(self._cluster, self._ref, run=self._context.run.id, at=at)
        if self._row["way"] == "evict":
            await self._one_by_one()
        result = await watch_rollout(
            self._cluster,
            [self._ref],
            deadline=self._seconds(),
            give_up_after=self._params.give_up_after.total_seconds(),
            on_progress=lambda seen: self._say(_where(seen)),
        )
        if not result.ready:
            reasons = [problem.message for one in result.stuck for problem in one.problems[:1]]
            raise self._stopped(" ".join(reasons) or f"{result.states[0].message}.", evidence.of_stuck(result.stuck))

    async def _one_by_one(self) -> None:
        for pod in await old_pods(self._cluster, self._ref, run=self._context.run.id):
            self._say(f"evicting {name_of(pod)}")
            await evict(self._cluster, pod, budget=Budget(self._seconds(), self._say))
            self._say(f"waiting for the pod after {name_of(pod)}")
            pods, gone = int(self._row["pods"]), uid_of(pod)
            if not await replaced(self._cluster, self._ref, gone=gone, pods=pods, seconds=self._seconds()):
                found = await evidence.of_workloads(self._cluster, [self._ref])
                raise self._stopped(f"after {name_of(pod)} was evicted not all its pods became ready.", found)

    def _stopped(self, why: str, found: tuple[Any, ...]) -> Permanent:
        left = f" Not restarted: {listed(self._left)}." if self._left else ""
        return Permanent(
            f"{self._ref} did not come back: {why}{left}",
            way_out="Retry when the cause is removed: what is restarted already is left alone.",
            evidence=found,
        )

    def _seconds(self) -> float:
        return min(self._params.deadline.total_seconds(), self._context.timeout.total_seconds() * 0.9)

    def _say(self, text: str) -> None:
        self._context.progress(f"{self._place}: {self._ref}: {text}")


def _where(seen: RolloutProgress) -> str:
    return seen.states[0].message


def _ref(row: Mapping[str, Any], namespace: str) -> ObjectRef:
    kind, _, name = str(row["subject"]).partition("/")
    return KINDS[kind].ref(name, namespace)


def _restarted(rows: Sequence[Mapping[str, Any]], took: timedelta) -> Outcome:
    pods = counted(sum(int(row["pods"]) for row in rows), "pod")
    lasting = f" in {lasted(took)}" if took else ""
    return Outcome(
        f"{counted(len(rows), 'workload')} restarted and back, {pods}{lasting}.",
        facts={"restarted": [row["subject"] for row in rows]},
    )
