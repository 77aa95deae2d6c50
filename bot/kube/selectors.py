"""Which labels a selector takes, which taints a pod tolerates, which nodes its affinity allows: Kubernetes' own rules.

Pure functions; what the API server would refuse is treated as matching nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bot.kube.objects import Json

Labels = Mapping[str, str]

EFFECTS = ("NoSchedule", "NoExecute")
_DAEMONS_TOLERATE = (
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/unschedulable",
)


def matches(selector: Json | None, labels: Labels) -> bool:
    """Whether a label selector takes ``labels``. None takes nothing, an empty one everything."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _expression(one, labels) for one in selector.get("matchExpressions") or []
    )


def tolerated(taint: Json, tolerations: Iterable[Json]) -> bool:
    """Whether one of ``tolerations`` bears ``taint``; a preference (PreferNoSchedule) keeps nobody away."""
    if taint.get("effect") not in EFFECTS:
        return True
    return any(_tolerates(one, taint) for one in tolerations)


def daemon_tolerations(tolerations: Iterable[Json]) -> list[Json]:
    """What the DaemonSet controller adds to its pods' own tolerations."""
    return [*tolerations, *({"key": key, "operator": "Exists"} for key in _DAEMONS_TOLERATE)]


def node_allowed(affinity: Json, name: str, labels: Labels) -> bool:
    """Whether a pod's *required* node affinity allows the node: one of its terms has to match as a whole."""
    required = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    for term in required.get("nodeSelectorTerms") or []:
        expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
        if not expressions and not fields:
            continue  # an empty term matches nothing
        if all(_expression(one, labels) for one in expressions) and all(
            _expression(one, {"metadata.name": name}) for one in fields
        ):
            return True
    return False


def _expression(said: Json, labels: Labels) -> bool:
    key, operator = str(said.get("key")), said.get("operator")
    values = [str(value) for value in said.get("values") or []]
    has = labels.get(key)
    if operator == "In":
        return has in values
    if operator == "NotIn":
        return has not in values
    if operator == "Exists":
        return has is not None
    if operator == "DoesNotExist":
        return has is None
    if operator in ("Gt", "Lt") and has is not None and len(values) == 1:
        try:
            return int(has) > int(values[0]) if operator == "Gt" else int(has) < int(values[0])
        except ValueError:
            return False
    return False


def _tolerates(toleration: Json, taint: Json) -> bool:
    effect = toleration.get("effect")
    if effect and effect != taint.get("effect"):
        return False
    key, operator = toleration.get("key"), toleration.get("operator") or "Equal"
    if not key:
        return bool(operator == "Exists")
    if key != taint.get("key"):
        return False
    return bool(operator == "Exists" or (toleration.get("value") or "") == (taint.get("value") or ""))
