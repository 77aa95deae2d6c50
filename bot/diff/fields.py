"""Fields of an object: a path to each, which items of two lists are the same one, and when two spellings mean the same.

Pure functions over JSON. A list whose items have names is compared item by item, whatever the order; any other list as a
whole or by position. The keys are those of Kubernetes' own types (``x-kubernetes-list-map-keys``), by name first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from bot.diff.values import ABSENT, Json
from bot.kube.quantities import quantity


@dataclass(frozen=True)
class Item:
    """One item of a list: by the values of its key fields (dotted names), or, without ``by``, by its number."""

    by: tuple[str, ...]
    at: tuple[Json, ...]

    def __str__(self) -> str:
        return "[" + "/".join(str(part) for part in self.at if part not in (None, "")) + "]"


Step: TypeAlias = "str | Item"
Steps: TypeAlias = "tuple[Step, ...]"

_KEYS: tuple[tuple[str, ...], ...] = (
    ("name",),
    ("metadata.name",),
    ("containerPort", "protocol"),
    ("port", "protocol"),
    ("mountPath",),
    ("devicePath",),
    ("topologyKey", "whenUnsatisfiable"),
    ("key", "operator", "value", "effect"),
    ("ip",),
    ("path", "pathType"),
    ("host",),
    ("secretName",),
    ("type", "resource.name", "pods.metric.name", "object.metric.name", "external.metric.name"),
    ("configMapRef.name", "secretRef.name"),
    ("id",),
)
_PROTOCOL = "TCP"  # what the API server fills in
SETS = frozenset({
    "accessModes", "apiGroups", "apiVersions", "finalizers", "hosts", "nonResourceURLs", "operations", "policyTypes",
    "resourceNames", "resources", "shortNames", "categories", "verbs",
})  # fmt: skip
"""Lists of plain values in which the order means nothing."""
ORDERED = frozenset({"initContainers"})
"""Lists of named items in which the order means something: they run one after the other."""
_AMOUNTS = frozenset({
    "requests", "limits", "capacity", "hard", "default", "defaultRequest", "min", "max", "maxLimitRequestRatio", "podFixed",
})  # fmt: skip
_AMOUNT = frozenset({"sizeLimit", "averageValue", "divisor", "size", "storage"})
_QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+|[KMGTPE]i|[numkMGTPE])?\Z")
_HARMLESS = frozenset({
    "annotations", "labels", "resources", "securityContext", "nodeSelector", "affinity", "tolerations", "imagePullSecrets",
    "env", "envFrom", "volumes", "volumeMounts", "args", "command", "data", "stringData", "requests", "limits", "initContainers",
    "topologySpreadConstraints", "hostAliases", "finalizers", "ports",
})  # fmt: skip


def written(steps: Steps) -> str:
    """The path as people write it: ``spec.template.spec.containers[server].image``; keys with a dot in quotes."""
    text = ""
    for step in steps:
        if isinstance(step, Item):
            text += str(step)
        else:
            text += ("." if text else "") + (json.dumps(step) if "." in step else step)
    return text


def items(*lists: Sequence[Json]) -> list[dict[Item, Json]] | None:
    """Each list by its items' key, the same key for all of them; None when these lists have none."""
    if not any(lists) or not all(isinstance(item, dict) for one in lists for item in one):
        return None
    for by in _KEYS:
        found = [_by(by, one) for one in lists]
        if all(len(one) == len(keyed) for one, keyed in zip(lists, found, strict=True)):
            return found
    return None


def _by(by: tuple[str, ...], items_of: Sequence[Json]) -> dict[Item, Json]:
    keyed: dict[Item, Json] = {}
    for item in items_of:
        at = tuple(_part(item, name) for name in by)
        if all(part is None or part == _PROTOCOL for part in at) or any(isinstance(part, dict | list) for part in at):
            return {}
        keyed[Item(by, at)] = item
    return keyed


def _part(item: Mapping[str, Json], dotted: str) -> Json:
    found: Json = item
    for name in dotted.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return _PROTOCOL if found is None and dotted == "protocol" else found


def find(obj: Json, steps: Steps) -> Json:
    """What stands at ``steps``, or ``ABSENT``."""
    for _, value in trail(obj, steps):
        obj = value
    return obj


def trail(obj: Json, steps: Steps) -> Iterator[tuple[Step, Json]]:
    """Each step with what stands there; ``ABSENT`` from where the object does not go on."""
    for step in steps:
        obj = _item(obj, step) if isinstance(step, Item) else _value(obj, step)
        yield step, obj


def _value(obj: Json, key: str) -> Json:
    return obj.get(key, ABSENT) if isinstance(obj, dict) else ABSENT


def _item(obj: Json, step: Item) -> Json:
    if not isinstance(obj, list):
        return ABSENT
    if not step.by:
        return obj[step.at[0]] if step.at[0] < len(obj) else ABSENT
    for item in obj:
        if isinstance(item, dict) and tuple(_part(item, name) for name in step.by) == step.at:
            return item
    return ABSENT


def without(obj: Json, paths: Iterable[Steps]) -> Json:
    """A copy of ``obj`` without what stands at these paths; a map that is left empty goes too, a numbered item becomes null."""
    for steps in paths:
        obj = _removed(obj, steps)
    return obj


def _removed(obj: Json, steps: Steps) -> Json:
    step, rest = steps[0], steps[1:]
    if isinstance(step, Item):
        return _removed_item(obj, step, rest) if isinstance(obj, list) else obj
    if not isinstance(obj, dict) or step not in obj:
        return obj
    below: Json = _removed(obj[step], rest) if rest else {}
    left = {key: value for key, value in obj.items() if key != step}
    return left if not rest or below == {} else {**left, step: below}


def _removed_item(obj: list[Json], step: Item, rest: Steps) -> list[Json]:
    if not step.by:
        at = step.at[0]
        return [
            (_removed(value, rest) if rest else None) if at == number else value for number, value in enumerate(obj)
        ]
    keyed = items(obj)
    if not keyed or step not in keyed[0]:
        return obj
    if not rest:
        return [value for item, value in keyed[0].items() if item != step]
    return [_removed(value, rest) if item == step else value for item, value in keyed[0].items()]


def same(one: Json, other: Json) -> bool:
    """Whether two plain values are the same. ``1`` is not ``true``, as Python has it."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def equivalent(steps: Steps, one: Json, other: Json) -> bool:
    """Whether two spellings mean the same there: quantities (``1000m`` and ``1``), and nothing said in two ways."""
    names = [step for step in steps if isinstance(step, str)]
    last = names[-1] if names else ""
    if _nothing(one) and _nothing(other):
        return last in _HARMLESS or (one in (None, ABSENT) and other in (None, ABSENT))
    if not names or names[0] in ("data", "stringData", "binaryData", "metadata") or ABSENT in (one, other):
        return False
    if last in _AMOUNT or (len(names) > 1 and names[-2] in _AMOUNTS):
        return _amount(one) is not None and _amount(one) == _amount(other)
    return False


def _nothing(value: Json) -> bool:
    return value is ABSENT or value is None or value == {} or value == []


def _amount(value: Json) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not _QUANTITY.match(str(value)):
        return None
    return quantity(value)


def canonical(value: Json) -> str:
    """One text for equal values, whatever the order of keys and of named items."""
    return json.dumps(_settled(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def _settled(value: Json) -> Json:
    if isinstance(value, dict):
        return {str(key): _settled(below) for key, below in value.items()}
    if not isinstance(value, list):
        return value
    keyed = items(value)
    if keyed is None:
        return [_settled(below) for below in value]
    return [_settled(keyed[0][item]) for item in sorted(keyed[0], key=lambda item: repr(item.at))]
