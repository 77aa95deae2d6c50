"""Custom resource definitions: the old chart's, the new chart's and the cluster's; what goes away and who uses it.

Helm installs what lies in a chart's ``crds/`` once and never changes or deletes it; definitions among the templates it treats
like any object, so that one which is left out is deleted, with every object of its kind.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bot.diff.objects import KEEP
from bot.diff.schema_changes import SchemaChange, compare_schemas
from bot.diff.values import Json
from bot.kube.objects import ObjectRef, annotations_of, ref_of

NOT_UPGRADED: Final = (
    "Helm does not upgrade what lies in a chart's crds/ folder; it must be applied by hand, before the upgrade."
)
_MOST_USERS = 5


class Place(enum.StrEnum):
    """Where the chart keeps the definition."""

    FOLDER = "crds"
    TEMPLATES = "templates"


@dataclass(frozen=True)
class VersionState:
    """One version of the kind, as each side has it: None where that side does not know it."""

    name: str
    served_old: bool | None
    served_new: bool | None
    served_live: bool | None
    stored: bool
    """Whether ``status.storedVersions`` of the cluster names it: objects may lie in etcd in this version."""


@dataclass(frozen=True)
class FieldUse:
    """One field that goes away or is checked harder, in one version, and the objects that set it."""

    version: str
    change: SchemaChange
    users: tuple[ObjectRef, ...] = ()


@dataclass(frozen=True)
class CrdChange:
    """What becomes of one kind. ``blocked`` are sentences on what the API server would refuse or the upgrade would lose;
    ``notes`` what one should know. ``immutable`` are fields that the new definition forbids to change.
    """

    name: str
    kind: str
    versions: tuple[VersionState, ...]
    fields: tuple[FieldUse, ...] = field(default=(), repr=False)
    users: tuple[ObjectRef, ...] = ()
    blocked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def compare_crd(
    old: Json | None,
    new: Json | None,
    live: Json | None,
    *,
    place: Place,
    in_use: Iterable[Json] = (),
) -> CrdChange:
    """Compare one definition three ways; at least one side must be given. ``in_use`` are the cluster's objects of the kind.

    What the upgrade changes is the cluster's definition (the old chart's, where the cluster has none or nobody could read
    it) against the new chart's.
    """
    some = new or live or old or {}
    spec = some.get("spec") or {}
    name, kind = str((some.get("metadata") or {}).get("name", "")), str((spec.get("names") or {}).get("kind", ""))
    objects = list(in_use)
    before = live or old
    states = tuple(_states(old, new, live))
    fields = tuple(_fields(before, new, objects)) if before and new else ()
    users = tuple(ref_of(obj) for obj in objects)
    change = CrdChange(name, kind, states, fields, users)
    blocked = [*_blocked(change, before, new, place), *(_lost(change, before, place) if new is None else [])]
    notes = list(_notes(change, old, new, live, place))
    return CrdChange(name, kind, states, fields, users, tuple(blocked), tuple(notes))


def is_crd(obj: Json) -> bool:
    """Whether ``obj`` defines a kind."""
    return bool(obj.get("kind") == "CustomResourceDefinition")


def by_name(objects: Iterable[Json]) -> dict[str, Json]:
    """The definitions among these objects by their name (``clusters.postgresql.cnpg.io``)."""
    return {str((obj.get("metadata") or {}).get("name", "")): obj for obj in objects if is_crd(obj)}


def immutable_fields(crd: Json | None, version: str) -> tuple[str, ...]:
    """Dotted paths whose rule says that they may not change (``self == oldSelf``), for ``compare_object``."""
    return tuple(_immutable("", _schema(crd, version))) if crd else ()


def _immutable(path: str, schema: Any) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    for rule in schema.get("x-kubernetes-validations") or []:
        if path and "".join(str(rule.get("rule", "")).split()) in ("self==oldSelf", "oldSelf==self"):
            yield path
    for key, below in (schema.get("properties") or {}).items():
        yield from _immutable(f"{path}.{key}" if path else str(key), below)


def uses(obj: Json, path: str) -> bool:
    """Whether ``obj`` sets the field at a schema's path, in which ``x[]`` means every item and ``*`` every key."""
    return _uses(obj, [part for part in _parts(path) if part])


def _parts(path: str) -> Iterator[str]:
    inside, part = False, ""
    for letter in path:
        if letter == '"':
            inside = not inside
        elif letter == "." and not inside:
            yield part
            part = ""
        else:
            part += letter
    yield part


def _uses(value: Json, parts: list[str]) -> bool:
    if not parts:
        return True
    key, rest = parts[0], parts[1:]
    depth = (len(key) - len(key.rstrip("[]"))) // 2
    key = key[: len(key) - 2 * depth]
    if key:
        if not isinstance(value, dict):
            return False
        below = list(value.values()) if key == "*" else [value[key]] if key in value else []
    else:
        below = [value]
    for _ in range(depth):
        below = [item for one in below if isinstance(one, list) for item in one]
    return any(_uses(one, rest) for one in below)


def _versions(crd: Json | None) -> dict[str, Mapping[str, Any]]:
    found = ((crd or {}).get("spec") or {}).get("versions") or []
    return {str(one.get("name")): one for one in found if isinstance(one, dict)}


def _schema(crd: Json | None, version: str) -> Mapping[str, Any]:
    found = ((_versions(crd).get(version) or {}).get("schema") or {}).get("openAPIV3Schema")
    return found if isinstance(found, dict) else {}


def _served(crd: Json | None, version: str) -> bool | None:
    found = _versions(crd).get(version)
    return None if found is None else bool(found.get("served"))


def _states(old: Json | None, new: Json | None, live: Json | None) -> Iterator[VersionState]:
    stored = ((live or {}).get("status") or {}).get("storedVersions") or []
    for version in sorted({*_versions(old), *_versions(new), *_versions(live), *map(str, stored)}):
        yield VersionState(
            version, _served(old, version), _served(new, version), _served(live, version), version in stored
        )


def _fields(before: Json, new: Json, objects: list[Json]) -> Iterator[FieldUse]:
    for version in sorted(_versions(before).keys() & _versions(new).keys()):
        was, now = _schema(before, version), _schema(new, version)
        for change in compare_schemas(was, now):
            if change.breaking or change.what == "added":
                users = tuple(ref_of(obj) for obj in objects if uses(obj, change.path)) if change.breaking else ()
                yield FieldUse(version, change, users)


def _blocked(change: CrdChange, before: Json | None, new: Json | None, place: Place) -> Iterator[str]:
    if new is None or before is None:
        return
    for one in change.versions:
        if one.stored and one.served_new is None and place is Place.TEMPLATES:
            yield (
                f"{change.name}: version {one.name} is gone from the new definition while status.storedVersions names it; "
                "the API server refuses that until the objects are stored in another version."
            )
    for path in (("scope",), ("names", "kind"), ("names", "plural"), ("group",)):
        was, now = (_at(crd, path) for crd in (before, new))
        if was != now and place is Place.TEMPLATES:
            yield f"{change.name}: spec.{'.'.join(path)} changes from {was} to {now}, which cannot be changed in place."


def _at(crd: Json, path: tuple[str, ...]) -> str:
    found: Any = crd.get("spec") or {}
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return str(found)


def _lost(change: CrdChange, before: Json | None, place: Place) -> Iterator[str]:
    if place is Place.TEMPLATES and before and annotations_of(before).get(KEEP) != "keep":
        yield (
            f"{change.name} is not in the new chart: the upgrade would delete it and with it every {change.kind}"
            f"{_listed(change.users)}."
        )


def _notes(change: CrdChange, old: Json | None, new: Json | None, live: Json | None, place: Place) -> Iterator[str]:
    gaps = [one.change.path for one in change.fields if one.change.what in ("added", "required")]
    missing = [one.name for one in change.versions if one.served_new and not one.served_live]
    if new is not None and place is Place.FOLDER and live is not None and (change.fields or missing or _other(change)):
        yield f"{change.name} in the cluster is not the new chart's. {NOT_UPGRADED}"
        if gaps or missing:
            what = [*(f"version {name}" for name in missing), *gaps]
            yield f"The cluster's {change.name} does not know yet: {', '.join(what[:8])}{_more(what[8:])}."
    if new is None and live is not None and (place is Place.FOLDER or annotations_of(live).get(KEEP) == "keep"):
        yield f"{change.name} is not in the new chart any more; it stays in the cluster{_listed(change.users)}."
    if old is not None and live is None:
        yield f"{change.name} is not in the cluster, or could not be read."
    for one in change.versions:
        if one.served_new is not True and (one.served_live or (one.served_live is None and one.served_old)) and new:
            yield f"{change.kind} is no longer served as {one.name}{', in which objects are stored' if one.stored else ''}."
    for found in change.fields:
        if found.users:
            yield f"{found.version}: {found.change.sentence.rstrip('.')}; set by {_names(found.users)}."


def _other(change: CrdChange) -> bool:
    return any(one.served_new != one.served_live for one in change.versions)


def _listed(users: tuple[ObjectRef, ...]) -> str:
    return f" ({_names(users)})" if users else ""


def _names(users: tuple[ObjectRef, ...]) -> str:
    shown = [f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name for ref in users]
    return ", ".join(shown[:_MOST_USERS]) + _more(shown[_MOST_USERS:])


def _more(rest: list[str]) -> str:
    return f" and {len(rest)} more" if rest else ""
