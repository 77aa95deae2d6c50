"""Taking components down at once and bringing them back to exactly what they were.

Both do what the plan named, workload by workload, in the order of dependence. Each write is conditional on what is there, so
both may be run again at any time and complete what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from pydantic import BaseModel

from bot.components import stages
from bot.engine.contract import Done, Facts, NotStarted, Outcome, Reconciled, Repeat, StepContext
from bot.errors import Evidence, Permanent, Temporary
from bot.kube.ending import pods_left
from bot.kube.holding import HPA, KINDS, Autoscaler, Way, Workload
from bot.kube.objects import ObjectRef
from bot.kube.rollout import RolloutResult, watch_rollout
from bot.kube.scale import Hold, Result, Return, Scaler, each
from bot.settings import Duration
from runbooks import evidence
from runbooks.components import HOLD, RESTORE, Release, held_for, held_of, row_of
from runbooks.steps.common import Params
from runbooks.text import counted, lasted, listed

Json = dict[str, Any]
_SUSPENDED_FIRST = ("Canary", "Rollout")
"""What would bring others back goes before them, and comes back after them."""


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
        scaler, told = Scaler(context.clients.cluster), _Counter(context, len(rows), "down")
        results: list[Result] = []
        for stage in reversed(_stages(context, rows)):
            for part in _ordered(stage):
                holds = [_hold(row, context.target.namespace) for row in part]
                results += await each(holds, scaler.hold, on_done=told)
        _demand(results, "could not be taken down")
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
        return {"held": _held(context)}

    async def run(self, context: StepContext, params: SettleParams, intent: Facts) -> Outcome:
        """Pods that stay are a warning with their names; what cannot be handed over too."""
        cluster, namespace = context.clients.cluster, context.target.namespace
        refs = [_ref(str(row["subject"]), namespace) for row in intent["held"]]
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
    scaled = [_ref(str(row["subject"]), namespace) for row in rows if int(row["to"]) > 0]
    pinned = [ObjectRef(*HPA, row["pinned"]["name"], namespace) for row in rows if row.get("pinned")]
    return [*scaled, *pinned]


def _returns(context: StepContext) -> list[Json]:
    """What the plan names; without a plan for it, what an earlier step of this very run took down."""
    planned = context.plan.get("returns")
    if planned is not None:
        return [dict(row) for row in planned]
    uids = {row["subject"]: row["uid"] for row in context.plan.get("holds") or ()}
    return [{**row, "uid": uids[row["subject"]], "now": row["to"]} for row in _held(context)]


def _held(context: StepContext) -> list[Json]:
    return [dict(row) for facts in context.outcomes.values() for row in facts.get("held") or ()]


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
        for stage in _stages(context, rows):
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
        self._told = _Counter(context, total, "back")
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
        items = {row["subject"]: _return(row, self._context.target.namespace) for row in rows}
        keep = [items[row["subject"]] for row in rows if row.get("keep")]
        back: list[Return] = []
        paused: list[ObjectRef] = []
        for part in reversed(_ordered([row for row in rows if not row.get("keep")])):
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
        _demand(self._results, "could not be brought back")
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


class _Counter:
    """Tells how many of all are done."""

    def __init__(self, context: StepContext, total: int, word: str) -> None:
        self._context, self._total, self._word = context, total, word
        self._done = 0

    def __call__(self, result: Result) -> None:
        self._done += 1
        self._context.progress(str(self))

    def __str__(self) -> str:
        return f"{self._done} of {self._total} {self._word}"


def _stages(context: StepContext, rows: Iterable[Json]) -> list[list[Json]]:
    """The rows in the order in which they come back, those of one stage together."""
    named: dict[str, list[Json]] = {}
    for row in rows:
        named.setdefault(str(row["component"]), []).append(row)
    return [[row for name in stage for row in named[name]] for stage in stages(context.target.components, named)]


def _ordered(rows: Sequence[Json]) -> list[list[Json]]:
    first = [row for row in rows if str(row["subject"]).partition("/")[0] in _SUSPENDED_FIRST]
    return [part for part in (first, [row for row in rows if row not in first]) if part]


def _ref(subject: str, namespace: str) -> ObjectRef:
    kind, _, name = subject.partition("/")
    return KINDS[kind].ref(name, namespace)


def _hold(row: Mapping[str, Any], namespace: str) -> Hold:
    seen = Workload(
        ref=_ref(str(row["subject"]), namespace),
        uid=str(row["uid"]),
        level=int(row["replicas"]),
        note=str(row.get("note", "")),
        version=str(row["version"]),
        annotated=bool(row.get("annotated", True)),
        counted=bool(row.get("counted", True)),
    )
    hpa = row.get("hpa")
    return Hold(seen, held_of({**row, "hpa": None}), Autoscaler(**hpa) if hpa else None)


def _return(row: Mapping[str, Any], namespace: str) -> Return:
    ref, written = _ref(str(row["subject"]), namespace), str(row.get("written", ""))
    return Return(ref, str(row["uid"]), held_of(row), int(row["now"]), written)


def _demand(results: Sequence[Result], what: str) -> None:
    """Raises when something failed: ``Temporary`` only when nothing at all was reached."""
    failed = [result for result in results if result.state == "failed"]
    if not failed:
        return
    errors = [result.error for result in failed if result.error is not None]
    lines = [f"{result.subject}: {result.error}" for result in failed]
    if len(failed) == len(results) and all(isinstance(error, Temporary) for error in errors):
        raise Temporary(errors[0].message, way_out=errors[0].way_out)
    names = listed([result.subject for result in failed], most=5)
    way_out = next((error.way_out for error in errors if error.way_out), "")
    raise Permanent(
        f"{len(failed)} of {counted(len(results), 'workload')} {what} ({names}): {errors[0].message}",
        way_out=f"{way_out} Retry does only what is missing.".strip(),
        evidence=(Evidence("What failed", "\n".join(lines)),),
    )


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
