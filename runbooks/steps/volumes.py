"""Recovering a claim: its volume is retained, its pods go, another volume takes the claim's name, and the old one is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import BaseModel

from bot.engine.contract import Done, Facts, NotStarted, Outcome, Reconciled, Repeat, StepContext, Unknown
from bot.errors import BotError, Evidence, Permanent
from bot.kube.events import events_of
from bot.kube.objects import Json, ObjectRef, name_of, uid_of
from bot.kube.rebinding import Rebinder, Swap, until
from bot.kube.snapshots import API, mounted
from bot.settings import Duration
from runbooks.steps.backup import RUN_LABEL
from runbooks.steps.common import Params, ReadingStep
from runbooks.text import listed

CLAIM = ("v1", "PersistentVolumeClaim")


class VolumesRetain:
    """Before anything stops: the volume that will be replaced outlives its claim."""

    name: ClassVar[str] = "volumes.retain"
    title: ClassVar[str] = "Retain the volume"
    repeat: ClassVar[Repeat] = Repeat.SAFE
    timeout: ClassVar[timedelta] = timedelta(minutes=2)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = True
    params: ClassVar[type[BaseModel]] = Params

    async def intend(self, context: StepContext, params: Params) -> Facts:
        """Which volume."""
        return {"volume": _planned(context)["volume"]}

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """Raises ``Permanent`` when the volume is gone."""
        volume = str(intent["volume"])
        await Rebinder(context.clients.cluster).retain(volume)
        return Outcome(f"Volume {volume} is set to Retain.", {"volume": volume})

    async def reconcile(self, context: StepContext, params: Params, intent: Facts) -> Reconciled:
        """Setting it twice changes nothing."""
        return NotStarted()


class WaitParams(Params):
    """``patience`` is how long pods may take to go."""

    patience: Duration = timedelta(minutes=5)


class VolumesWait(ReadingStep):
    """Nothing may write while volumes are swapped: waits until no pod mounts the claim."""

    name: ClassVar[str] = "volumes.wait"
    title: ClassVar[str] = "See the pods go"
    timeout: ClassVar[timedelta] = timedelta(minutes=10)
    params: ClassVar[type[BaseModel]] = WaitParams

    async def run(self, context: StepContext, params: WaitParams, intent: Facts) -> Outcome:
        """Raises ``Permanent`` with what holds the pods that stay."""
        claim = str(_planned(context)["claim"])
        seconds = min(params.patience.total_seconds(), context.timeout.total_seconds() * 0.9)
        left = await _left(context, claim, seconds)
        if left:
            raise Permanent(
                f"{listed([_ending(pod) for pod in left], most=3)}: claim {claim} was left as it is.",
                way_out=(
                    "Nothing but the scale was changed. Find out what holds the pod (its node, its finalizers) and retry; "
                    "or stop here, and `emergency restore` starts everything again."
                ),
            )
        return Outcome(f"No pod mounts {claim} any more.")


class VolumesSwap:
    """Does what the plan's ``recovery`` says. The order of its writes and what each leaves: ``bot.kube.rebinding``."""

    name: ClassVar[str] = "volumes.swap"
    title: ClassVar[str] = "Swap the volumes"
    repeat: ClassVar[Repeat] = Repeat.SAFE
    timeout: ClassVar[timedelta] = timedelta(minutes=15)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = False
    params: ClassVar[type[BaseModel]] = Params

    async def intend(self, context: StepContext, params: Params) -> Facts:
        """Names, and the claim as it will be made: enough to finish it, and to put it back by hand."""
        planned = _planned(context)
        names = ("kind", "claim", "source", "volume", "kept", "source_volume", "source_claim", "body")
        return {name: planned[name] for name in names}

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """Raises ``Permanent`` that says where each volume is."""
        swap = _swap(context, intent)
        rebinder = Rebinder(context.clients.cluster, say=context.progress)
        seen = await rebinder.standing(swap)
        if not seen.new and not seen.blocked and intent["kind"] == "snapshot":
            await self._still_there(context, swap, intent, old=seen.old)
        await rebinder.swap(swap)
        return _swapped(context, intent)

    async def reconcile(self, context: StepContext, params: Params, intent: Facts) -> Reconciled:
        """By what is behind the two names."""
        swap = _swap(context, intent)
        try:
            seen = await Rebinder(context.clients.cluster).standing(swap)
        except Permanent as error:
            return Unknown(error.message)
        if seen.blocked:
            return Unknown(seen.blocked)
        if seen.new and seen.kept:
            return Done(_swapped(context, intent))
        if seen.old or not swap.volume:
            return NotStarted()
        return NotStarted(f"Interrupted: {swap.claim} is swapped in part, and its volume {swap.volume} is retained.")

    async def _still_there(self, context: StepContext, swap: Swap, intent: Facts, *, old: bool) -> None:
        found = await context.clients.cluster.get(API, "VolumeSnapshot", str(intent["source"]), swap.namespace)
        if found is not None and (found.get("status") or {}).get("readyToUse"):
            return
        state = "is not there any more" if found is None else "is not ready to use any more"
        where = (
            f"claim {swap.claim} was left as it is"
            if old
            else f"the data of before is on {swap.volume}, which is retained"
        )
        raise Permanent(
            f"VolumeSnapshot {intent['source']} {state}; {where}.",
            way_out="Stop here, `emergency restore` starts everything again; then ask with another snapshot.",
        )


class BoundParams(Params):
    """``deadline`` is for the storage to fill the new volume."""

    deadline: Duration = timedelta(hours=2)


class VolumesBound(ReadingStep):
    """Waits until the claim has its volume; one whose class waits for a pod gets it when that starts."""

    name: ClassVar[str] = "volumes.bound"
    title: ClassVar[str] = "Wait for the volume"
    timeout: ClassVar[timedelta] = timedelta(hours=2, minutes=15)
    params: ClassVar[type[BaseModel]] = BoundParams

    async def run(self, context: StepContext, params: BoundParams, intent: Facts) -> Outcome:
        """Raises ``Permanent`` with the claim's events."""
        planned = _planned(context)
        claim, ref = str(planned["claim"]), ObjectRef(*CLAIM, str(planned["claim"]), context.target.namespace)
        if planned["waits"]:
            return Outcome(f"{claim} gets its volume when its pod starts, as its class says.")
        context.progress(f"Claim {claim}: waiting for its volume")
        seconds = min(params.deadline.total_seconds(), context.timeout.total_seconds() * 0.9)
        if not await until(context.clients.cluster, ref, _is_bound, seconds=seconds):
            events = await _events(context, ref)
            said = f": {events[-1].text.splitlines()[-1]}" if events else ", and there are no events that say why"
            raise Permanent(
                f"Claim {claim} does not get its volume{said}.",
                way_out=f"Retry waits on. {_back(planned)}",
                evidence=events,
            )
        found = await context.clients.cluster.get_ref(ref)
        volume = str(((found or {}).get("spec") or {}).get("volumeName"))
        return Outcome(f"Claim {claim} is bound to {volume}.", {"claim": claim, "volume": volume})


# -- small things -----------------------------------------------------------------------------------------------


def _planned(context: StepContext) -> Mapping[str, Any]:
    planned: Mapping[str, Any] = context.plan["recovery"]
    return planned


def _swap(context: StepContext, intent: Facts) -> Swap:
    return Swap(
        namespace=context.target.namespace,
        body=dict(intent["body"]),
        mark=(RUN_LABEL, context.run.id),
        volume=str(intent["volume"]),
        kept=str(intent["kept"]),
        source=str(intent["source_volume"]),
        source_claim=str(intent["source_claim"]),
    )


def _swapped(context: StepContext, intent: Facts) -> Outcome:
    said = f"{intent['claim']} has the data of {intent['source']}"
    facts: Json = {"claim": intent["claim"], "kept": intent["kept"], "volume": intent["volume"]}
    if not intent["kept"]:
        return Outcome(f"{said}.", facts)
    namespace = context.target.namespace
    text = "\n".join(
        [
            f"What was behind {intent['claim']} is the volume {intent['volume']}, set to Retain, as the claim {intent['kept']}.",
            _back(intent),
            "",
            "When nobody needs it any more:",
            "",
            f"kubectl delete pvc {intent['kept']} -n {namespace}",
            f"kubectl delete pv {intent['volume']}",
            "",
            "The second removes the object; the data on the storage itself is removed there.",
        ]
    )
    facts["undo"] = [
        {
            "runbook": "recover-volumes",
            "inputs": {"claim": intent["claim"], "from": intent["kept"]},
            "label": "Go back to what it was",
        }
    ]
    return Outcome(
        f"{said}; what it had is kept as {intent['kept']}.", facts, evidence=(Evidence("The way back", text),)
    )


def _back(planned: Mapping[str, Any]) -> str:
    if not planned["kept"]:
        return "Nothing was replaced, so there is nothing to go back to."
    return f"The way back, planned and approved as this was: `/aeterna recover volumes {planned['claim']} {planned['kept']}`."


def _is_bound(claim: Json | None) -> bool:
    return ((claim or {}).get("status") or {}).get("phase") == "Bound"


async def _left(context: StepContext, claim: str, seconds: float) -> list[Json]:
    """The pods that still mount the claim when none does any more, or when the time is over."""
    cluster, namespace = context.clients.cluster, context.target.namespace
    there: dict[str, Json] = {}
    synced = False
    try:
        async with asyncio.timeout(seconds), aclosing(cluster.watch("v1", "Pod", namespace)) as events:
            async for event in events:
                if event.type == "SYNCED":
                    synced = True
                else:
                    there.pop(uid_of(event.object), None)
                    if event.type != "DELETED" and claim in mounted(event.object):
                        there[uid_of(event.object)] = event.object
                if synced and not there:
                    return []
                if synced:
                    context.progress(f"Waiting for {listed([name_of(pod) for pod in there.values()], most=3)}")
    except TimeoutError:
        pass
    return [pod for pod in await cluster.list("v1", "Pod", namespace) if claim in mounted(pod)]


def _ending(pod: Json) -> str:
    meta = pod["metadata"]
    node = str((pod.get("spec") or {}).get("nodeName") or "no node")
    if not meta.get("deletionTimestamp"):
        return f"Pod {name_of(pod)} mounts it and is not being deleted"
    waits = f", waiting for {', '.join(meta['finalizers'])}" if meta.get("finalizers") else ""
    return f"Pod {name_of(pod)} has been ending on {node} since {meta['deletionTimestamp']}{waits}"


async def _events(context: StepContext, ref: ObjectRef) -> tuple[Evidence, ...]:
    try:
        found = await events_of(context.clients.cluster, [ref])
    except BotError as error:
        return (Evidence("The claim's events could not be read", str(error)),)
    return (Evidence(f"Events of {ref}", "\n".join(map(str, found))),) if found else ()
