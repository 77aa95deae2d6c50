"""Taking components down at once, and seeing their pods go.

What the plan named, workload by workload: what others need goes last. Each write is conditional on what is there, so it may be
run again at any time and completes what is missing. The way back is ``runbooks.steps.restore``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from pydantic import BaseModel

from bot.engine.contract import Done, Facts, NotStarted, Outcome, Reconciled, Repeat, StepContext
from bot.errors import Evidence
from bot.kube.ending import pods_left
from bot.kube.holding import HPA, KINDS, Way
from bot.kube.objects import ObjectRef
from bot.kube.scale import Result, Scaler, each
from bot.settings import Duration
from runbooks.components import HOLD, Release, row_of
from runbooks.steps.common import Params
from runbooks.steps.componentrows import Counter, demand_all, held_rows, hold_of, in_order, in_stages, ref_of
from runbooks.text import counted, listed

Json = dict[str, Any]


class ComponentsHold:
    """To zero, or to the minimum, what the plan's ``holds`` name, except for the components that the confirmation left out."""

    name: ClassVar[str] = HOLD
    title: ClassVar[str] = "Scale down"
    repeat: ClassVar[Repeat] = Repeat.SAFE
    timeout: ClassVar[timedelta] = timedelta(minutes=5)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = True
    params: ClassVar[type[BaseModel]] = Params

    async def intend(self, context: StepContext, params: Params) -> Facts:
        """The plan's own numbers: whoever lost the notes on the workloads finds them here."""
        excepted = set(context.run.excepted)
        now = datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00")
        about = {"run": context.run.id, "by": context.run.requested_by, "at": now}
        rows = [about | dict(row) for row in context.plan.get("holds") or () if row["component"] not in excepted]
        return {"holds": rows, "excepted": sorted(excepted)}

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """Raises ``Permanent`` with what could not be done, after everything else was."""
        rows = list(intent["holds"])
        scaler, told = Scaler(context.clients.cluster), Counter(context, len(rows), "down")
        results: list[Result] = []
        for stage in reversed(in_stages(context, rows)):
            for part in in_order(stage):
                holds = [hold_of(row, context.target.namespace) for row in part]
                results += await each(holds, scaler.hold, on_done=told)
        demand_all(results, "could not be taken down")
        return _taken_down(results, intent)

    async def reconcile(self, context: StepContext, params: Params, intent: Facts) -> Reconciled:
        """By the notes on the workloads. What is not down yet is taken down by running it again."""
        release = await Release.read(context)
        there = {member.subject: member.workload for member in release.members}
        results = []
        for row in intent["holds"]:
            seen = there.get(str(row["subject"]))
            if seen is None:
                results.append(Result(str(row["subject"]), "gone"))
            elif seen.level <= int(row["to"]):
                results.append(Result(str(row["subject"]), "done" if seen.held else "already", seen.held))
        if len(results) < len(intent["holds"]):
            done = sum(result.state == "done" for result in results)
            return NotStarted(
                f"Interrupted: {done} of {counted(len(intent['holds']), 'workload')} down." if done else ""
            )
        return Done(_taken_down(results, intent))


class SettleParams(Params):
    """``patience`` is how long pods may take to go; then they are named, and the run goes on."""

    patience: Duration = timedelta(seconds=30)


class ComponentsSettle:
    """After a scale-down: sees the pods go, and gives the numbers that were set back to Helm.

    Who set a field last owns it, and a server-side apply that wants it otherwise ends with a conflict: without this a rollback
    would fail while something is held above zero. (Zero is left out of a Scale, so that number belongs to nobody.)
    """

    name: ClassVar[str] = "components.settle"
    title: ClassVar[str] = "See the pods go"
    repeat: ClassVar[Repeat] = Repeat.SAFE
    timeout: ClassVar[timedelta] = timedelta(minutes=5)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = True
    params: ClassVar[type[BaseModel]] = SettleParams

    async def intend(self, context: StepContext, params: SettleParams) -> Facts:
        """What the step before took down."""
        return {"held": held_rows(context)}

    async def run(self, context: StepContext, params: SettleParams, intent: Facts) -> Outcome:
        """Pods that stay are a warning with their names; what cannot be handed over too."""
        cluster, namespace = context.clients.cluster, context.target.namespace
        refs = [ref_of(str(row["subject"]), namespace) for row in intent["held"]]
        scaler = Scaler(cluster)
        results = await each(_ours(intent["held"], namespace), scaler.hand_over, on_done=lambda _: None)
        failed = [f"{result.subject}: {result.error}" for result in results if result.state == "failed"]
        emptied = [ref for ref, row in zip(refs, intent["held"], strict=True) if int(row["to"]) == 0]
        owners = [ref for ref in emptied if KINDS[ref.kind].way is Way.SCALE]
        left = await pods_left(
            cluster,
            namespace,
            owners,
            within=params.patience.total_seconds(),
            on_progress=lambda number: context.progress(f"{counted(number, 'pod')} left"),
        )
        said = [
            f"{counted(len(left), 'pod')} still there: {listed([pod.name for pod in left])}."
            if left
            else "All pods that had to go are gone."
        ]
        said += [f"{len(failed)} could not be handed back to Helm: a server-side apply may conflict."] if failed else []
        pieces = [Evidence("Pods that are still there", "\n".join(map(str, left)))] if left else []
        pieces += [Evidence("Not handed back", "\n".join(failed))] if failed else []
        return Outcome(
            " ".join(said), {"left": [pod.name for pod in left]}, tuple(pieces), warning=bool(left or failed)
        )

    async def reconcile(self, context: StepContext, params: SettleParams, intent: Facts) -> Reconciled:
        """It may always be done again."""
        return NotStarted()


def _ours(rows: Iterable[Json], namespace: str) -> list[ObjectRef]:
    """The objects with numbers that belong to this bot since the scale-down."""
    scaled = [ref_of(str(row["subject"]), namespace) for row in rows if int(row["to"]) > 0]
    pinned = [ObjectRef(*HPA, row["pinned"]["name"], namespace) for row in rows if row.get("pinned")]
    return [*scaled, *pinned]


def _taken_down(results: Sequence[Result], intent: Facts) -> Outcome:
    down = [result for result in results if result.state == "done"]
    gone = [result.subject for result in results if result.state == "gone"]
    others = [result.subject for result in results if result.state == "already"]
    said = [f"{counted(len(down), 'workload')} down."]
    said += [f"No longer there: {listed(gone)}."] if gone else []
    said += [f"Down already: {listed(others)}."] if others else []
    said += [f"Left out: {listed(intent['excepted'])}."] if intent.get("excepted") else []
    return Outcome(
        summary=" ".join(said),
        facts={"held": [row_of(one.subject, one.note) for one in down if one.note is not None], "gone": gone},
        warning=bool(gone),
    )
