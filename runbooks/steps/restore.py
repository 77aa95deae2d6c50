"""Bringing back what was taken down, to exactly what it was: in the order of dependence, each stage ready before the next.

Each write is conditional on what is there, so it may be run again at any time and completes what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from pydantic import BaseModel

from bot.engine.contract import Done, Facts, NotStarted, Outcome, Reconciled, Repeat, StepContext
from bot.errors import Permanent
from bot.kube.objects import ObjectRef
from bot.kube.rollout import RolloutResult, watch_rollout
from bot.kube.scale import Result, Return, Scaler, each
from bot.settings import Duration
from runbooks import evidence
from runbooks.components import RESTORE, Release, held_for, held_of
from runbooks.steps.common import Params
from runbooks.steps.componentrows import Counter, demand_all, held_rows, in_order, in_stages, return_of
from runbooks.text import counted, lasted, listed

Json = dict[str, Any]


class RestoreParams(Params):
    """``deadline`` is for each stage to become ready; what is hopeless (no such image, a crash) is given up sooner."""

    deadline: Duration = timedelta(minutes=8)
    give_up_after: Duration = timedelta(seconds=60)


class ComponentsRestore:
    """Back to what the plan's ``returns`` name: what is needed by others first, and ready before those follow."""

    name: ClassVar[str] = RESTORE
    title: ClassVar[str] = "Bring back"
    repeat: ClassVar[Repeat] = Repeat.SAFE
    timeout: ClassVar[timedelta] = timedelta(minutes=30)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = True
    params: ClassVar[type[BaseModel]] = RestoreParams

    async def intend(self, context: StepContext, params: RestoreParams) -> Facts:
        """What is no longer there is forgotten with it."""
        return {
            "returns": _returns(context),
            "gone": context.plan.get("gone") or [],
        }

    async def run(self, context: StepContext, params: RestoreParams, intent: Facts) -> Outcome:
        """Raises ``Permanent`` with what did not come back; what needs that stays down, everything else comes back."""
        rows = list(intent["returns"])
        work = _Restoring(context, params, len(rows))
        for stage in in_stages(context, rows):
            await work.stage(stage)
        return work.outcome(intent.get("gone") or ())

    async def reconcile(self, context: StepContext, params: RestoreParams, intent: Facts) -> Reconciled:
        """A note that is still there is work that is still to do."""
        release = await Release.read(context)
        noted = {member.subject for member in release.members if member.workload.note}
        rows = intent["returns"]
        levels = {member.subject: member.workload.level for member in release.members}
        left = [row for row in rows if row["subject"] in noted or levels.get(row["subject"]) == int(row["to"])]
        if left:
            done = len(rows) - len(left)
            return NotStarted(f"Interrupted: {done} of {counted(len(rows), 'workload')} back." if done else "")
        return Done(_brought_back([Result(str(row["subject"]), "done", held_of(row)) for row in rows], (), timedelta()))


class _Restoring:
    """One way back, stage by stage."""

    def __init__(self, context: StepContext, params: RestoreParams, total: int) -> None:
        self._context = context
        self._params = params
        self._scaler = Scaler(context.clients.cluster)
        self._told = Counter(context, total, "back")
        self._began = datetime.now(UTC)
        self._results: list[Result] = []
        self._stuck: list[RolloutResult] = []
        self._late: set[str] = set()  # components that did not come back
        self._waiting: list[str] = []  # components that need those
        self._paused: list[str] = []

    async def stage(self, rows: Sequence[Json]) -> None:
        """Brings one stage back, waits until it is ready, and takes the notes away."""
        held_up = {row["component"] for row in rows if self._late & self._needs(row["component"])}
        self._late |= held_up
        self._waiting += sorted(held_up)
        rows = [row for row in rows if row["component"] not in held_up]
        items = {row["subject"]: return_of(row, self._context.target.namespace) for row in rows}
        keep = [items[row["subject"]] for row in rows if row.get("keep")]
        back: list[Return] = []
        paused: list[ObjectRef] = []
        for part in reversed(in_order([row for row in rows if not row.get("keep")])):
            results = await each([items[row["subject"]] for row in part], self._scaler.bring_back, on_done=self._told)
            self._results += [result for result in results if result.state != "done"]
            back += [items[result.subject] for result in results if result.state == "done"]
            paused += [items[result.subject].ref for result in results if result.state == "done" and result.paused]
        ready = await self._ready(back, paused)
        self._results += await each([*ready, *keep], self._scaler.let_go, on_done=lambda _: None)
        late = {str(item.ref) for item in back} - {str(item.ref) for item in ready}
        failed = {result.subject for result in self._results if result.state == "failed"} | late
        self._late |= {row["component"] for row in rows if row["subject"] in failed}

    async def _ready(self, items: Sequence[Return], paused: Sequence[ObjectRef]) -> list[Return]:
        """Those whose pods have arrived. A paused rollout cannot be followed; its pods come all the same."""
        cluster = self._context.clients.cluster
        self._paused += sorted(map(str, paused))
        followed = [item.ref for item in items if item.ref not in paused and item.note.replicas > 0]
        result = await watch_rollout(
            cluster,
            followed,
            deadline=min(self._params.deadline.total_seconds(), self._context.timeout.total_seconds() * 0.9),
            give_up_after=self._params.give_up_after.total_seconds(),
            on_progress=lambda seen: self._context.progress(f"{self._told}; {seen}"),
        )
        if result.ready:
            return list(items)
        self._stuck.append(result)
        late = {state.ref for state in result.states if state.phase != "ready"}
        return [item for item in items if item.ref not in late]

    def _needs(self, name: str) -> set[str]:
        component = self._context.target.components.get(name)
        return set(component.needs) if component else set(self._context.target.components)

    def outcome(self, forgotten: Sequence[str]) -> Outcome:
        """Raises ``Permanent`` when not everything is back."""
        demand_all(self._results, "could not be brought back")
        if self._stuck:
            late = [state for result in self._stuck for state in result.states if state.phase != "ready"]
            why = "; ".join(f"{state.ref}: {state.message}" for state in late[:3])
            waits = f" Not brought back, for they need it: {listed(self._waiting)}." if self._waiting else ""
            raise Permanent(
                f"{counted(len(late), 'workload')} did not become ready: {why}.{waits}",
                way_out="Retry when the cause is removed: what is back already stays as it is.",
                evidence=evidence.of_stuck(one for result in self._stuck for one in result.stuck),
            )
        return _brought_back(self._results, self._paused, datetime.now(UTC) - self._began, forgotten=forgotten)


def _returns(context: StepContext) -> list[Json]:
    """What the plan names; without a plan for it, what an earlier step of this very run took down."""
    planned = context.plan.get("returns")
    if planned is not None:
        return [dict(row) for row in planned]
    uids = {row["subject"]: row["uid"] for row in context.plan.get("holds") or ()}
    return [{**row, "uid": uids[row["subject"]], "now": row["to"]} for row in held_rows(context)]


def _brought_back(
    results: Sequence[Result], paused: Sequence[str], took: timedelta, *, forgotten: Sequence[str] = ()
) -> Outcome:
    back = [result.subject for result in results if result.state == "done"]
    gone = [result.subject for result in results if result.state == "gone"]
    down = held_for(result.note for result in results if result.state == "done")
    said = [f"{counted(len(back), 'workload')} back as before" + (f" ({lasted(took)})" if took else "")]
    said[0] += f"; down for {lasted(down)}." if down else "."
    said += [f"No longer there: {listed(gone)}."] if gone else []
    said += [f"Not waited for, as the rollout is paused: {listed(paused)}."] if paused else []
    said += [result.remark for result in results if result.remark]
    return Outcome(
        summary=" ".join(said),
        facts={"restored": [*back, *gone, *forgotten]},
        warning=bool(gone or paused or any(result.remark for result in results)),
    )
