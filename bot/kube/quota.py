"""A namespace's ResourceQuotas and LimitRanges against what a manifest asks for, object counts included.

Pure functions. Quotas count as the API server counts (scopes, ``requests.``/``limits.`` keys, ``count/…``); what the
release's present pods use is given back where they go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from bot.kube.demand import Demand
from bot.kube.findings import FindingLevel, KubeFinding
from bot.kube.objects import Json, name_of
from bot.kube.quantities import NOTHING, Amounts, amounts, limits_of, of_container, quantity, requests_of, shown

_COMPUTE = ("cpu", "memory")
_BARE = ("cpu", "memory", "ephemeral-storage", "pods")
_WAY_OUT = "Raise the quota, or ask for less in the values."


@dataclass(frozen=True)
class Counts:
    """How many objects the upgrade adds (less those that it removes), by quota key: ``count/deployments.apps`` and
    the short ones (``services``, ``requests.storage``).
    """

    added: Mapping[str, Decimal]


def quota_findings(
    quotas: Sequence[Json], demands: Sequence[Demand], present: Sequence[Json], counts: Counts | None = None
) -> list[KubeFinding]:
    """``present`` are the specs of the release's pods that are there now.

    Blockers: what is needed at rest, or for a rollout that may not be without a pod, is more than the quota has left;
    a container without a request or limit that the quota demands. Warnings: only the surge of a rollout is refused.
    """
    found = []
    for quota in quotas:
        status = quota.get("status") or {}
        hard = amounts(status.get("hard") or (quota.get("spec") or {}).get("hard"))
        used = amounts(status.get("used"))
        mine = [demand for demand in demands if _in_scope(quota, demand.spec)]
        there = [spec for spec in present if _in_scope(quota, spec)]
        for key, limit in hard.items():
            found += _of_key(name_of(quota), key, limit, used.get(key, NOTHING), mine, there, counts)
        found += _unsaid(name_of(quota), hard, mine)
    return found


def _of_key(
    name: str,
    key: str,
    limit: Decimal,
    used: Decimal,
    demands: Sequence[Demand],
    present: Sequence[Json],
    counts: Counts | None,
) -> list[KubeFinding]:
    subject = f"ResourceQuota/{name}"
    added = counts.added.get(key, NOTHING) if counts else NOTHING
    if not _counts_pods(key):
        if added <= 0 or used + added <= limit:
            return []
        text = f"Quota {name} allows {shown(key, limit)} of {key}; the release would bring it to {shown(key, used + added)}."
        return [KubeFinding("blocker", "quota.exceeded", subject, text, _WAY_OUT)]
    staying = [one for one in demands if one.purpose in ("workload", "daemon")]
    given = sum((charge(key, spec) for spec in present), NOTHING)
    asked = sum((charge(key, one.spec) * one.replicas for one in staying), NOTHING)
    rest = used - given + asked
    if rest > limit and asked > given:
        text = f"Quota {name} allows {shown(key, limit)} of {key}; the release would bring it to {shown(key, rest)}."
        return [KubeFinding("blocker", "quota.exceeded", subject, text, _WAY_OUT)]
    surging = _surging(name, key, limit, max(used, rest), [one for one in staying if one.surge])
    return [*surging, *_hooks(name, key, limit, used, rest, demands)]


def _surging(name: str, key: str, limit: Decimal, used: Decimal, demands: Sequence[Demand]) -> list[KubeFinding]:
    """Rollouts whose extra pods the quota refuses: the rollout waits, for ever if it may not be without a pod."""
    found = []
    for one in demands:
        each = charge(key, one.spec)
        if not each or used + each <= limit:
            continue
        left = f"quota {name} has {shown(key, max(limit - used, NOTHING))} of {key} left and one pod counts {shown(key, each)}"
        if one.unavailable:
            text = f"{one.ref} rolls out without extra pods, since {left}."
            found.append(KubeFinding("info", "quota.surge", str(one.ref), text))
        else:
            text = f"The rollout of {one.ref} cannot begin: it may not be without a pod, and {left}."
            way_out = "Raise the quota for the time of the upgrade, or allow `maxUnavailable: 1`."
            found.append(KubeFinding("blocker", "quota.surge", str(one.ref), text, way_out))
    return found


def _hooks(
    name: str, key: str, limit: Decimal, used: Decimal, rest: Decimal, demands: Sequence[Demand]
) -> list[KubeFinding]:
    found = []
    for one in demands:
        if one.purpose not in ("before", "after", "test", "now and then"):
            continue
        base = used if one.purpose == "before" else rest
        after = base + charge(key, one.spec) * one.replicas
        if after > limit and after > base:
            allowed = f"Quota {name} allows {shown(key, limit)} of {key}"
            text = f"{allowed}; the pod of {one.ref} would bring it to {shown(key, after)}."
            level: FindingLevel = "blocker" if one.purpose in ("before", "after") else "warning"
            found.append(KubeFinding(level, "quota.hook", str(one.ref), text, _WAY_OUT))
    return found


def charge(key: str, spec: Json) -> Decimal:
    """How much one pod counts against a quota's key."""
    if key in ("pods", "count/pods"):
        return Decimal(1)
    if key.startswith("limits."):
        return limits_of(spec).get(key.removeprefix("limits."), NOTHING)
    return requests_of(spec).get(key.removeprefix("requests."), NOTHING)


def _counts_pods(key: str) -> bool:
    if key in _BARE or key == "count/pods":
        return True
    return key.startswith(("limits.", "requests.")) and key != "requests.storage"


def _unsaid(name: str, hard: Mapping[str, Decimal], demands: Sequence[Demand]) -> list[KubeFinding]:
    """Where a quota limits cpu or memory, the API server refuses pods whose containers do not say theirs."""
    found = []
    for one in demands:
        containers = [*(one.spec.get("containers") or []), *(one.spec.get("initContainers") or [])]
        silent = sorted(
            key
            for key in hard
            if key.rpartition(".")[2] in _COMPUTE
            for part in ["limits" if key.startswith("limits.") else "requests"]
            if any(key.rpartition(".")[2] not in of_container(container, part) for container in containers)
        )
        if silent and one.replicas and containers:
            text = f"Quota {name} demands that every container says its {' and '.join(silent)}; {one.ref} does not."
            way_out = "Set them in the values, or give the namespace a LimitRange with defaults."
            found.append(KubeFinding("blocker", "quota.unsaid", str(one.ref), text, way_out))
    return found


def _in_scope(quota: Json, spec: Json) -> bool:
    """Whether a quota counts a pod: all of its scopes have to hold."""
    said = quota.get("spec") or {}
    wanted = [{"scopeName": scope, "operator": "Exists"} for scope in said.get("scopes") or []]
    wanted += (said.get("scopeSelector") or {}).get("matchExpressions") or []
    return all(_scope(one, spec) for one in wanted)


def _scope(one: Json, spec: Json) -> bool:
    scope, operator, values = one.get("scopeName"), one.get("operator"), one.get("values") or []
    if scope in ("Terminating", "NotTerminating"):
        return bool((spec.get("activeDeadlineSeconds") is not None) == (scope == "Terminating"))
    if scope in ("BestEffort", "NotBestEffort"):
        effort = requests_of(spec) | limits_of(spec)
        return bool((not any(effort.get(key) for key in ("cpu", "memory"))) == (scope == "BestEffort"))
    if scope == "PriorityClass":
        has = spec.get("priorityClassName")
        return {
            "Exists": bool(has),
            "DoesNotExist": not has,
            "In": has in values,
            "NotIn": has not in values,
        }.get(str(operator), True)
    return False  # CrossNamespacePodAffinity and what is newer: rare, and a blocker on a guess would be worse


def with_defaults(demand: Demand, limit_ranges: Sequence[Json]) -> Demand:
    """The demand as the API server would create its pods: with the defaults of the namespace's LimitRanges."""
    items = [one for limits in limit_ranges for one in _items(limits, "Container")]
    if not items:
        return demand
    spec = dict(demand.spec)
    for part in ("containers", "initContainers"):
        if spec.get(part):
            spec[part] = [_defaulted(container, items) for container in spec[part]]
    return replace(demand, pod={**demand.pod, "spec": spec}, each=requests_of(spec))


def _defaulted(container: Json, items: Sequence[Json]) -> Json:
    resources = container.get("resources") or {}
    limits = dict(resources.get("limits") or {})
    requests = {**limits, **(resources.get("requests") or {})}
    for item in items:
        limits = {**(item.get("default") or {}), **limits}
        requests = {**(item.get("defaultRequest") or {}), **requests}
    return {**container, "resources": {"limits": limits, "requests": requests}}


def limit_findings(demands: Iterable[Demand], limit_ranges: Sequence[Json]) -> list[KubeFinding]:
    """Pods that a LimitRange refuses: blockers. ``demands`` have the defaults already."""
    found = []
    for demand in demands:
        if not demand.replicas:
            continue
        for limits in limit_ranges:
            told = [text for item in _items(limits, "Container") for text in _containers(demand.spec, item)]
            told += [
                text
                for item in _items(limits, "Pod")
                for text in broken("the pod", requests_of(demand.spec), limits_of(demand.spec), item)
            ]
            way_out = "Change the requests and limits in the values, or the LimitRange."
            found += [
                KubeFinding(
                    "blocker",
                    "limits.broken",
                    str(demand.ref),
                    f"{demand.ref}: {text} (LimitRange {name_of(limits)}).",
                    way_out,
                )
                for text in dict.fromkeys(told)
            ]
    return found


def claim_limit_findings(sizes: Mapping[str, str], limit_ranges: Sequence[Json]) -> list[KubeFinding]:
    """New claims, by name, whose size a LimitRange refuses."""
    return [
        KubeFinding(
            "blocker",
            "limits.broken",
            f"PersistentVolumeClaim/{name}",
            f"PersistentVolumeClaim/{name}: {text} (LimitRange {name_of(limits)}).",
            "Change the size in the values, or the LimitRange.",
        )
        for limits in limit_ranges
        for item in _items(limits, "PersistentVolumeClaim")
        for name, size in sizes.items()
        for text in broken("the claim", {"storage": quantity(size)}, {}, {**item, "max": {}})
        + broken("the claim", {}, {"storage": quantity(size)}, {**item, "min": {}})
    ]


def _containers(spec: Json, item: Json) -> list[str]:
    return [
        text
        for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
        for text in broken(
            f"container {container.get('name')}",
            of_container(container, "requests"),
            of_container(container, "limits"),
            item,
        )
    ]


def broken(what: str, requests: Amounts, limits: Amounts, item: Json) -> list[str]:
    """Which of a LimitRange's ``min``, ``max`` and ``maxLimitRequestRatio`` do not hold, and requests above limits."""
    told = [
        # A default limit beside a larger request of the chart's own: the API server refuses such a pod.
        f"{what} requests {shown(key, requests[key])} of {key} and may use {shown(key, limit)} only"
        for key, limit in limits.items()
        if requests.get(key, NOTHING) > limit
    ]
    for key, least in amounts(item.get("min")).items():
        if requests.get(key, NOTHING) < least:
            told.append(
                f"{what} requests {shown(key, requests.get(key, NOTHING))} of {key}, the least is {shown(key, least)}"
            )
    for key, most in amounts(item.get("max")).items():
        if key not in limits:
            told.append(f"{what} has no limit for {key}, the most is {shown(key, most)}")
        elif limits[key] > most:
            told.append(f"{what} may use {shown(key, limits[key])} of {key}, the most is {shown(key, most)}")
    for key, ratio in amounts(item.get("maxLimitRequestRatio")).items():
        asked = requests.get(key, NOTHING)
        if asked and limits.get(key, NOTHING) / asked > ratio:
            told.append(f"{what}'s limit of {key} is more than {shown('', ratio)} times its request")
    return told


def _items(limits: Json, kind: str) -> list[Json]:
    return [one for one in (limits.get("spec") or {}).get("limits") or [] if one.get("type") == kind]
