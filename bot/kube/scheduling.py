"""Whether pods find a node: first-fit decreasing over what the nodes have left, by the scheduler's hard rules.

Known: readiness, cordons, taints, node selectors, required node affinity, required pod (anti-)affinity, hard topology
spread, requests. Not known: host ports, where existing volumes are, preemption, preferences. Packing is a
heuristic, so "it does not fit" is certain only where ``Misfit.certain`` says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from bot.kube.demand import Demand
from bot.kube.objects import Json, condition_of, name_of
from bot.kube.quantities import NOTHING, Amounts, amounts, fits, shown
from bot.kube.selectors import daemon_tolerations, matches, node_allowed, tolerated
from bot.kube.standing import Standing

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_CORDON = "node.kubernetes.io/unschedulable"


@dataclass(frozen=True)
class Resident:
    """A pod on a node, as far as other pods mind it."""

    namespace: str
    labels: Mapping[str, str]
    refuses: tuple[Json, ...] = ()
    """Its required anti-affinity terms."""


@dataclass
class Room:
    """One node while pods are being placed: what is ``free`` of what it has in ``all``."""

    name: str
    labels: dict[str, str]
    taints: tuple[Json, ...]
    ready: bool
    all: Amounts
    free: Amounts
    residents: list[Resident] = field(default_factory=list)
    refusing: list[Resident] = field(default_factory=list)
    """Those of the residents that have anti-affinity: few, and every other pod has to be compared with them."""


@dataclass(frozen=True)
class Misfit:
    """Pods of one workload that found no node, by name, and how many nodes said what.

    ``hopeless``: no node that it may use is large enough even when empty. ``certain``: no order of placing helps.
    ``placed`` of its pods did find a node.
    """

    demand: Demand
    pods: tuple[str, ...]
    reasons: tuple[tuple[str, int], ...]
    placed: int = 0
    hopeless: bool = False
    certain: bool = False

    @property
    def for_want_of_room(self) -> bool:
        """Whether at least one node lacks nothing but room."""
        return any(reason.startswith("too little") for reason, _ in self.reasons)

    @property
    def reason(self) -> str:
        """``2 nodes: too little cpu (64 asked, at most 7.9 free); 1 node: …``"""
        told = [f"{count} {'node' if count == 1 else 'nodes'}: {reason}" for reason, count in self.reasons]
        return "; ".join(told) or "the cluster has no nodes"


def rooms_of(nodes: Iterable[Json], pods: Iterable[Standing], *, without: Callable[[Standing], bool]) -> list[Room]:
    """The nodes with what their pods leave free; pods for which ``without`` holds are thought away."""
    rooms = {}
    for node in nodes:
        spec, meta = node.get("spec") or {}, node.get("metadata") or {}
        taints = list(spec.get("taints") or [])
        if spec.get("unschedulable") and not any(one.get("key") == _CORDON for one in taints):
            taints.append({"key": _CORDON, "effect": "NoSchedule"})
        ready = condition_of(node, "Ready")
        has = amounts((node.get("status") or {}).get("allocatable"))
        rooms[name_of(node)] = Room(
            name=name_of(node),
            labels=dict(meta.get("labels") or {}),
            taints=tuple(taints),
            ready=ready is None or ready.get("status") == "True",
            all=has,
            free=dict(has),
        )
    for pod in pods:
        room = rooms.get(pod.node)
        if room is not None and not without(pod):
            _settle(room, pod.asked, Resident(pod.namespace, pod.labels, pod.refuses))
    return [rooms[name] for name in sorted(rooms)]


def pack(demands: Iterable[Demand], rooms: Sequence[Room]) -> list[Misfit]:
    """Places every pod that fits, the largest first, and gives what found no node. Changes ``rooms``."""
    whole = {key: sum((room.all.get(key, NOTHING) for room in rooms), NOTHING) for key in ("cpu", "memory")}

    def size(demand: Demand) -> Decimal:
        return max((demand.each.get(key, NOTHING) / has for key, has in whole.items() if has), default=NOTHING)

    known = [demand for demand in demands if demand.replicas]
    misfits = [found for demand in known if demand.purpose == "daemon" for found in _everywhere(demand, rooms)]
    many = sorted((one for one in known if one.purpose != "daemon"), key=lambda one: (-size(one), one.ref))
    ceilings = {demand.ref: _most(demand, rooms) for demand in many}
    for demand in many:
        found = place(demand, rooms, most=ceilings[demand.ref])
        if found is not None:
            misfits.append(found)
    return misfits


def place(demand: Demand, rooms: Sequence[Room], *, most: int | None = None) -> Misfit | None:
    """Places the pods of one workload. ``most`` is how many of them the rooms could take with nothing else in them."""
    ceiling = _most(demand, rooms) if most is None else most
    allowed = [(room, _obstacle(demand, room)) for room in rooms]
    may = [room for room, obstacle in allowed if obstacle is None]
    resident = Resident(demand.ref.namespace, demand.labels, tuple(_anti_terms(demand.spec)))
    for number in range(demand.replicas):
        room = next((one for one in may if _lacking(demand, one) is None and _crowd(demand, one, rooms) is None), None)
        if room is None:
            names = tuple(demand.pod_name(index) for index in range(number, demand.replicas))
            return Misfit(
                demand,
                names,
                _reasons(demand, allowed, rooms),
                placed=number,
                hopeless=not any(fits(demand.each, one.all) for one in may),
                certain=ceiling < demand.replicas,
            )
        _settle(room, demand.each, resident)
    return None


def _everywhere(demand: Demand, rooms: Sequence[Room]) -> list[Misfit]:
    """A DaemonSet's pods, one on each node that it may use, ready or not."""
    resident = Resident(demand.ref.namespace, demand.labels, tuple(_anti_terms(demand.spec)))
    tight, reasons = [], Counter[str]()
    for room in rooms:
        if _obstacle(demand, room, daemon=True) is not None:
            continue
        lacking = _lacking(demand, room)
        if lacking is None:
            _settle(room, demand.each, resident)
        else:
            tight.append(f"{demand.ref} on {room.name}")
            reasons[_too_little(demand, lacking, room.free.get(lacking, NOTHING))] += 1
    return [Misfit(demand, tuple(tight), tuple(reasons.most_common()), certain=True)] if tight else []


def _reasons(
    demand: Demand, allowed: Sequence[tuple[Room, str | None]], rooms: Sequence[Room]
) -> tuple[tuple[str, int], ...]:
    told: Counter[str] = Counter()
    most: dict[str, Decimal] = {}
    for room, obstacle in allowed:
        reason = obstacle or _crowd(demand, room, rooms)
        lacking = _lacking(demand, room) if reason is None else None
        if lacking is not None:
            most[lacking] = max(most.get(lacking, NOTHING), room.free.get(lacking, NOTHING))
        told[reason or lacking or "no reason is known"] += 1
    named = [(_too_little(demand, key, most[key]) if key in most else key, count) for key, count in told.items()]
    # The likeliest way out first: nodes that lack nothing but room.
    return tuple(sorted(named, key=lambda one: (not one[0].startswith("too little"), -one[1], one[0])))


def _obstacle(demand: Demand, room: Room, *, daemon: bool = False) -> str | None:
    """Why the pods may not use this node at all."""
    spec = demand.spec
    if not room.ready and not daemon:
        return "not Ready"
    named = spec.get("nodeName")
    if named and named != room.name:
        return f"the pod asks for node {named}"
    tolerations = spec.get("tolerations") or []
    for taint in room.taints:
        if not tolerated(taint, daemon_tolerations(tolerations) if daemon else tolerations):
            if taint.get("key") == _CORDON:
                return "cordoned (unschedulable)"
            value = f"={taint['value']}" if taint.get("value") else ""
            return f"taint {taint.get('key')}{value}:{taint.get('effect')} is not tolerated"
    wanted = spec.get("nodeSelector") or {}
    missing = [f"{key}={value}" for key, value in sorted(wanted.items()) if room.labels.get(key) != value]
    if missing:
        return f"no label {missing[0]} (nodeSelector)"
    if not node_allowed(spec.get("affinity") or {}, room.name, room.labels):
        return "the required node affinity does not match"
    return None


def _lacking(demand: Demand, room: Room) -> str | None:
    """Which resource the node has too little of."""
    for key, asked in sorted((demand.each | {"pods": Decimal(1)}).items()):
        free = room.free.get(key, NOTHING)
        if asked > free and (key != "pods" or key in room.all):
            return key
    return None


def _too_little(demand: Demand, key: str, free: Decimal) -> str:
    asked = demand.each.get(key, Decimal(1))
    return f"too little {key} ({shown(key, asked)} asked, {shown(key, max(free, NOTHING))} free at most)"


def _crowd(demand: Demand, room: Room, rooms: Sequence[Room]) -> str | None:
    """Why pods that are there already keep this one from the node."""
    mine, labels = demand.ref.namespace, demand.labels
    for term in _anti_terms(demand.spec):
        key = str(term.get("topologyKey"))
        if any(_meant(term, one, mine, labels) for one in _domain(room, rooms, key)):
            return f"its anti-affinity keeps it from pods in the same {key}"
    for other in rooms:
        for one in other.refusing:
            for term in one.refuses:
                key = str(term.get("topologyKey"))
                same = room.labels.get(key) is not None and room.labels.get(key) == other.labels.get(key)
                if same and _meant(term, Resident(mine, labels), one.namespace, one.labels):
                    return f"the anti-affinity of a pod in the same {key} keeps it away"
    for term in ((demand.spec.get("affinity") or {}).get("podAffinity") or {}).get(_REQUIRED) or []:
        if any(_meant(term, one, mine, labels) for one in _domain(room, rooms, str(term.get("topologyKey")))):
            continue
        # The first of a group that wants its own company may start anywhere.
        anybody = any(_meant(term, one, mine, labels) for other in rooms for one in other.residents)
        if anybody or not _meant(term, Resident(mine, labels), mine, labels):
            return "no pod that its required affinity asks for is near"
    return _skewed(demand, room, rooms)


def _skewed(demand: Demand, room: Room, rooms: Sequence[Room]) -> str | None:
    for one in demand.spec.get("topologySpreadConstraints") or []:
        if one.get("whenUnsatisfiable") != "DoNotSchedule":
            continue
        key, selector = str(one.get("topologyKey")), one.get("labelSelector")
        counts: Counter[str] = Counter()
        for other in rooms:
            domain = other.labels.get(key)
            if domain is None or _obstacle(demand, other) is not None:
                continue
            counts[domain] += sum(
                resident.namespace == demand.ref.namespace and matches(selector, resident.labels)
                for resident in other.residents
            )
        here = room.labels.get(key)
        own = int(matches(selector, demand.labels))
        if here is None or counts[here] + own - min(counts.values()) > int(one.get("maxSkew") or 1):
            return f"its topology spread over {key} allows no more here"
    return None


def _domain(room: Room, rooms: Sequence[Room], key: str) -> list[Resident]:
    """Everybody in the same domain as ``room``; a node without the label is in none."""
    here = room.labels.get(key)
    if here is None:
        return []
    return [one for other in rooms if other.labels.get(key) == here for one in other.residents]


def _meant(term: Json, other: Resident, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether an affinity term of a pod in ``namespace`` with ``labels`` is about ``other``."""
    spaces = term.get("namespaces") or ([] if term.get("namespaceSelector") is not None else [namespace])
    # A selector of namespaces by labels would need their objects; only the empty one (all of them) is understood.
    if other.namespace not in spaces and term.get("namespaceSelector") != {}:
        return False
    # Old and new pods of one Deployment differ by such a key (pod-template-hash), which the new ones do not have yet.
    same = all(other.labels.get(key) == labels.get(key) for key in term.get("matchLabelKeys") or [])
    return same and matches(term.get("labelSelector"), other.labels)


def _anti_terms(spec: Json) -> list[Json]:
    return list(((spec.get("affinity") or {}).get("podAntiAffinity") or {}).get(_REQUIRED) or [])


def _most(demand: Demand, rooms: Sequence[Room]) -> int:
    """At most how many of these pods fit, whatever else is placed: by requests, and one a node where they refuse
    each other there.
    """
    apart = any(
        term.get("topologyKey") == "kubernetes.io/hostname"
        and _meant(term, Resident(demand.ref.namespace, demand.labels), demand.ref.namespace, demand.labels)
        for term in _anti_terms(demand.spec)
    )
    return sum(_copies(demand, room, 1 if apart else demand.replicas) for room in rooms)


def _copies(demand: Demand, room: Room, most: int) -> int:
    if _obstacle(demand, room) is not None:
        return 0
    asked = {key: value for key, value in demand.each.items() if value} | (
        {"pods": Decimal(1)} if "pods" in room.all else {}
    )
    return min([most, *(max(0, int(room.free.get(key, NOTHING) / value)) for key, value in asked.items())])


def _settle(room: Room, asked: Mapping[str, Decimal], resident: Resident) -> None:
    for key, value in asked.items():
        room.free[key] = room.free.get(key, NOTHING) - value
    if "pods" in room.free:
        room.free["pods"] -= 1
    room.residents.append(resident)
    if resident.refuses:
        room.refusing.append(resident)
