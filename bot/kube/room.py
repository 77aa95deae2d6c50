"""Which of a manifest's pods would find no node, said in sentences: at rest, while rolling out, hooks and tests.

Pure functions over what ``bot.kube.scheduling`` computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from bot.kube.demand import Demand
from bot.kube.findings import FindingLevel, KubeFinding
from bot.kube.objects import Json
from bot.kube.quantities import shown_list
from bot.kube.scheduling import Misfit, Room, pack, place, rooms_of
from bot.kube.standing import Standing

AUTOSCALED = "karpenter.sh/nodepool"
"""A node with this label was made by an autoscaler, which may make more."""


def room_findings(
    demands: Sequence[Demand],
    nodes: Sequence[Json],
    pods: Sequence[Standing],
    mine: Iterable[str],
    tops: Mapping[str, tuple[str, str]],
) -> list[KubeFinding]:
    """The pods that would find no node: at rest, while rolling out, and those of hooks and tests each by itself.

    ``mine`` are the uids of the release's present pods, which make room one by one.
    """
    own = frozenset(mine)
    growing = any((node.get("metadata") or {}).get("labels", {}).get(AUTOSCALED) for node in nodes)
    rest = rooms_of(nodes, pods, without=lambda pod: pod.uid in own)
    found = [
        _misfit(one, nodes, growing=growing)
        for one in pack([one for one in demands if one.purpose in ("workload", "daemon")], rest)
    ]
    blocked = {one.subject for one in found if one.level == "blocker"}
    staying = {(one.ref.kind, one.ref.name) for one in demands}
    now = rooms_of(nodes, pods, without=lambda pod: pod.uid in own and tops.get(pod.uid) not in staying)
    for demand in demands:
        if demand.surge and str(demand.ref) not in blocked:
            found += _surge(demand, now)
    for demand in demands:
        if demand.purpose in ("before", "after", "test", "now and then"):
            misfit = place(demand, _copy(now if demand.purpose == "before" else rest))
            if misfit is not None:
                found.append(_hook(misfit, nodes, growing=growing))
    return found


def _misfit(misfit: Misfit, nodes: Sequence[Json], *, growing: bool) -> KubeFinding:
    demand = misfit.demand
    minimum = f" (the minimum of its autoscaler {demand.scaler} is {demand.replicas})" if demand.scaler else ""
    if misfit.hopeless:
        asked = shown_list(demand.each) or "nothing in particular"
        why = misfit.reason
        only = all(reason.startswith("too little") for reason, _ in misfit.reasons)
        node = "any node" if only else "any node that it may use"
        text = f"One pod of {demand.ref} requests {asked}, more than {node} has in all: {why}."
        if not misfit.for_want_of_room:
            text = f"No node may run the pods of {demand.ref}: {why}."
        level: FindingLevel = "warning" if growing and misfit.for_want_of_room else "blocker"
        return KubeFinding(level, "capacity.unschedulable", str(demand.ref), text, _way_out(misfit))
    which = _named(misfit)
    text = f"{which} would not fit{minimum}: {misfit.reason}."
    certain = misfit.certain and demand.purpose != "daemon" and not growing
    return KubeFinding("blocker" if certain else "warning", "capacity.full", str(demand.ref), text, _way_out(misfit))


def _named(misfit: Misfit) -> str:
    """Which pods, in few words: all by name as long as there are few."""
    demand = misfit.demand
    if demand.purpose == "daemon" or demand.ref.kind == "StatefulSet":
        shown = ", ".join(misfit.pods[:4]) + (f" and {len(misfit.pods) - 4} more" if len(misfit.pods) > 4 else "")
        return shown if demand.purpose == "daemon" else f"{demand.ref}: {shown}"
    if demand.replicas == 1:
        return f"The pod of {demand.ref}"
    return f"{len(misfit.pods)} of {demand.replicas} pods of {demand.ref}"


def _way_out(misfit: Misfit) -> str:
    if misfit.for_want_of_room or not misfit.reasons:
        return "Add nodes, free some room, or ask for less in the values."
    return "Change the pods' tolerations, selectors or affinity in the values, or make a node fit."


def _surge(demand: Demand, now: Sequence[Room]) -> list[KubeFinding]:
    """The extra pods of a rollout, beside everything that runs now."""
    extra = replace(demand, replicas=demand.surge, surge=0)
    misfit = place(extra, _copy(now))
    if misfit is None:
        return []
    room = f"{misfit.placed} of {demand.surge} extra pods" if misfit.placed else "none of its extra pods"
    if misfit.placed or demand.unavailable:
        text = f"While {demand.ref} rolls out, {room} would fit, so it takes longer: {misfit.reason}."
        return [KubeFinding("info", "capacity.surge", str(demand.ref), text)]
    text = f"The rollout of {demand.ref} would not begin: it may not be without a pod, and an extra one finds no node"
    way_out = "Allow `maxUnavailable: 1` in its rollout strategy, or make room for one more pod."
    # Room may come when others leave; what keeps the pod from every node for another reason stays.
    level: FindingLevel = "warning" if misfit.for_want_of_room else "blocker"
    return [KubeFinding(level, "capacity.surge", str(demand.ref), f"{text}: {misfit.reason}.", way_out)]


def _hook(misfit: Misfit, nodes: Sequence[Json], *, growing: bool) -> KubeFinding:
    demand = misfit.demand
    what = {
        "before": "hook before the upgrade",
        "after": "hook after the upgrade",
        "test": "test",
        "now and then": "CronJob",
    }[demand.purpose]
    text = f"The pod of {demand.ref} ({what}) would find no node: {misfit.reason}."
    fatal = demand.purpose in ("before", "after") and misfit.hopeless and not growing and bool(nodes)
    return KubeFinding("blocker" if fatal else "warning", "capacity.hook", str(demand.ref), text, _way_out(misfit))


def _copy(rooms: Sequence[Room]) -> list[Room]:
    return [
        replace(room, free=dict(room.free), residents=list(room.residents), refusing=list(room.refusing))
        for room in rooms
    ]
