"""Budgets, autoscalers and priorities that get in an upgrade's way, or would be in the way of the next node drain.

Pure functions over JSON. A budget does not hold up a rollout, only evictions: hence warnings, and what was so before
is only told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bot.kube.demand import Demand
from bot.kube.findings import FindingLevel, KubeFinding
from bot.kube.holdings import key_of
from bot.kube.objects import Json, ObjectRef, name_of, ref_of
from bot.kube.quantities import of_container, share
from bot.kube.selectors import matches


def budget_findings(
    budgets: Sequence[Json], demands: Iterable[Demand], *, before: Sequence[Json] = (), namespace: str
) -> list[KubeFinding]:
    """PodDisruptionBudgets that would allow no eviction at all, and pods that two budgets claim.

    ``budgets`` are those that will be there after the upgrade. One that is in ``before`` with the same words is
    ``info``: it is no news.
    """
    old = {key_of(ref_of(one, namespace)): one.get("spec") for one in before}
    staying = [one for one in demands if one.purpose == "workload" and one.replicas and one.labels]
    found = []
    for budget in budgets:
        ref = ref_of(budget, namespace)
        spec = budget.get("spec") or {}
        chosen = [one for one in staying if _chooses(spec, one, ref.namespace)]
        count = sum(one.replicas for one in chosen)
        if not count or _allowed(spec, count) > 0:
            continue
        level: FindingLevel = "info" if old.get(key_of(ref)) == spec else "warning"
        said = next((f"{key} {spec[key]}" for key in ("minAvailable", "maxUnavailable") if key in spec), "its rule")
        pods = f"{count} {'pod' if count == 1 else 'pods'}"
        whose = ", ".join(str(one.ref) for one in chosen)
        text = f"{ref} ({said}) would let none of the {pods} of {whose} be evicted, so their nodes cannot be drained."
        way_out = "Run more replicas, or ask the budget for less."
        found.append(KubeFinding(level, "budget.blocks", str(ref), text, way_out))
    for one in staying:
        mine = [str(ref_of(b, namespace)) for b in budgets if _chooses(b.get("spec") or {}, one, namespace)]
        if len(mine) > 1:
            text = f"The pods of {one.ref} are chosen by {' and '.join(mine)}; the API server evicts no pod with two budgets."
            found.append(KubeFinding("warning", "budget.twice", str(one.ref), text, "Let only one budget choose them."))
    return found


def _chooses(spec: Json, demand: Demand, namespace: str) -> bool:
    return demand.ref.namespace == namespace and matches(spec.get("selector"), demand.labels)


def _allowed(spec: Json, count: int) -> int:
    """How many of ``count`` pods may be evicted at once; Kubernetes rounds both percentages up."""
    if spec.get("maxUnavailable") is not None:
        return share(spec["maxUnavailable"], count, up=True)
    if spec.get("minAvailable") is not None:
        return count - share(spec["minAvailable"], count, up=True)
    return count - 1


def scaler_findings(
    objects: Sequence[Json], *, before: Sequence[Json] = (), others: Sequence[Json] = (), namespace: str
) -> list[KubeFinding]:
    """HorizontalPodAutoscalers against what they scale. ``others`` are those that exist beside the manifest's and
    will go on to exist.
    """
    new = {ref_of(obj, namespace): obj for obj in objects}
    old = {ref_of(obj, namespace): obj for obj in before}
    news = _scaled_objects(new)
    olds = _scaled_objects(old)
    had = {name_of(one) for one in before if one.get("kind") == "HorizontalPodAutoscaler"}
    found = []
    for scaler in [*(one for one in objects if one.get("kind") == "HorizontalPodAutoscaler"), *others]:
        ref, spec = ref_of(scaler, namespace), scaler.get("spec") or {}
        said = spec.get("scaleTargetRef") or {}
        key = (str(said.get("kind")), str(said.get("name")))
        target = news.get(key)
        if target is None:
            if key in olds or scaler in objects:
                gone = "goes away with this upgrade" if key in olds else "does not come with the chart"
                text = f"{ref} scales {key[0]}/{key[1]}, which {gone}."
                found.append(
                    KubeFinding("warning", "scaler.target", str(ref), text, "Remove it, or correct its target.")
                )
            continue
        found += _against(ref, spec, target, news=had, olds=olds.get(key), namespace=namespace)
    return found


def _scaled_objects(objects: Mapping[ObjectRef, Json]) -> dict[tuple[str, str], Json]:
    return {(ref.kind, ref.name): obj for ref, obj in objects.items() if ref.kind != "HorizontalPodAutoscaler"}


def _against(
    ref: ObjectRef, spec: Json, target: Json, *, news: set[str], olds: Json | None, namespace: str
) -> list[KubeFinding]:
    found = []
    owner = ref_of(target, namespace)
    replicas = (target.get("spec") or {}).get("replicas")
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas")
    if replicas is not None:
        same = olds is not None and (olds.get("spec") or {}).get("replicas") == replicas and ref.name in news
        level: FindingLevel = "info" if same else "warning"
        text = f"The manifest sets {owner} to {replicas} replicas, while {ref} decides that number: each upgrade sets it back."
        found.append(KubeFinding(level, "scaler.replicas", str(ref), text, "Leave `replicas` out of the manifest."))
    if most is not None and int(least) > int(most):
        text = f"{ref} has minReplicas {least} above maxReplicas {most}."
        found.append(KubeFinding("blocker", "scaler.limits", str(ref), text, "Correct its limits in the values."))
    containers = ((((target.get("spec") or {}).get("template") or {}).get("spec")) or {}).get("containers") or []
    for metric in spec.get("metrics") or []:
        source = metric.get("resource") or {}
        name = str(source.get("name"))
        if metric.get("type") != "Resource" or (source.get("target") or {}).get("type") != "Utilization":
            continue
        silent = [str(one.get("name")) for one in containers if name not in of_container(one, "requests")]
        if silent:
            where = ", ".join(silent)
            text = f"{ref} scales by per cent of the requested {name}, and {owner} requests none in {where}: it never scales."
            found.append(KubeFinding("warning", "scaler.requests", str(ref), text, f"Set a request for {name}."))
    return found


def priority_findings(
    demands: Iterable[Demand], classes: Sequence[Json], objects: Iterable[Json] = ()
) -> list[KubeFinding]:
    """Pods of a PriorityClass that does not exist: the API server refuses them at creation."""
    known = {name_of(one) for one in classes} | {name_of(one) for one in objects if one.get("kind") == "PriorityClass"}
    found = []
    for demand in demands:
        wanted = demand.spec.get("priorityClassName")
        if wanted and wanted not in known:
            text = f"{demand.ref} asks for the priority class {wanted}, which does not exist; none of its pods would be created."
            way_out = f"Create the PriorityClass, or name one of: {', '.join(sorted(known))}."
            found.append(KubeFinding("blocker", "priority.missing", str(demand.ref), text, way_out))
    return found
