"""Custom resource definitions: the old chart's, the new chart's and the cluster's; what goes away and who uses it.

Helm installs what lies in a chart's ``crds/`` once and never changes or deletes it; definitions among the templates it treats
like any object, so that one which is left out is deleted, with every object of its kind.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bot.diff.objects import KEEP
from bot.diff.schema_changes import SchemaChange, compare_schemas
from bot.diff.values import Json
from bot.kube.objects import ObjectRef, annotations_of, ref_of

_MOST_USERS = 5
_MOST_LACKING = 4
_UNCHANGED = re.compile(
    r"(?:!?has\([\w.]+\)(?:\|\||&&))?(?:self(?:\.(?P<below>[\w.]+))?==oldSelf(?:\.(?P=below))?"
    r"|oldSelf(?:\.(?P<above>[\w.]+))?==self(?:\.(?P=above))?)"
)


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


class About(enum.StrEnum):
    """What a sentence is about; also the code of the finding that it becomes."""

    STORED = "crds.stored"
    """A version goes in which objects may be stored: the API server refuses the new definition."""
    FIXED = "crds.fixed"
    """Something changes that cannot be changed in place: the API server refuses the new definition."""
    LEAVES = "crds.leaves"
    """Helm deletes the definition, and every object of its kind with it."""
    BEHIND = "crds.behind"
    """The cluster's is not the new chart's, and Helm does not change that."""
    UNSERVED = "crds.unserved"
    FIELD = "crds.field"
    """A field goes, or is checked harder, that objects set."""
    STAYS = "crds.stays"


@dataclass(frozen=True)
class Said:
    """One sentence."""

    about: About
    text: str


@dataclass(frozen=True)
class Sides:
    """One definition on each side. ``moves`` when it goes from the templates to the folder; ``unread`` when nobody could read
    the cluster's, so that ``live`` None does not mean that there is none.
    """

    name: str
    place: Place
    old: Json | None = field(repr=False)
    new: Json | None = field(repr=False)
    live: Json | None = field(default=None, repr=False)
    moves: bool = False
    unread: bool = False


@dataclass(frozen=True)
class CrdChange:
    """What becomes of one kind. ``fields`` are those that go, come, or are checked harder; ``others`` counts what else differs
    in the schemas; ``lacking`` is what the cluster's definition does not know yet.
    """

    name: str
    kind: str
    place: Place
    versions: tuple[VersionState, ...]
    fields: tuple[FieldUse, ...] = field(default=(), repr=False)
    others: int = 0
    users: tuple[ObjectRef, ...] = ()
    lacking: tuple[str, ...] = ()
    said: tuple[Said, ...] = ()


def sides(
    old_folder: Iterable[Json], old_templates: Iterable[Json], new_folder: Iterable[Json], new_templates: Iterable[Json]
) -> list[Sides]:
    """Every definition of the two charts, with where Helm finds it: what stands in both places counts as a template."""
    old_in, old_out = by_name(old_folder), by_name(old_templates)
    new_in, new_out = by_name(new_folder), by_name(new_templates)
    found = []
    for name in sorted({*old_in, *old_out, *new_in, *new_out}):
        if name in old_out or name in new_out:
            old, new = old_out.get(name) or old_in.get(name), new_out.get(name)
            found.append(Sides(name, Place.TEMPLATES, old, new, moves=new is None and name in new_in))
        else:
            found.append(Sides(name, Place.FOLDER, old_in.get(name), new_in.get(name)))
    return found


def served_as(crd: Json) -> tuple[str, str] | None:
    """API version and kind under which objects can be listed: by the version in which they are stored, if it is served."""
    spec = crd.get("spec") or {}
    served = [one for one in _versions(crd).values() if one.get("served")]
    first = next((one for one in served if one.get("storage")), served[0] if served else None)
    return (f"{spec.get('group')}/{first['name']}", str((spec.get("names") or {}).get("kind"))) if first else None


def differ(side: Sides) -> bool:
    """Whether the upgrade, or whoever applies the new chart's definitions, changes this one; cheap."""
    if side.place is Place.FOLDER and side.new is not None and side.live is None and not side.unread:
        return True
    before = side.live or side.old
    if before is None or side.new is None:
        return before is not side.new
    return bool(_fixed(side, before, side.new)) or any(
        _versions(before).get(name, {}).get(key) != _versions(side.new).get(name, {}).get(key)
        for name in _versions(before).keys() | _versions(side.new).keys()
        for key in ("served", "schema")
    )


def compare_crd(side: Sides, *, in_use: Iterable[Json] = ()) -> CrdChange:
    """Compare one definition three ways. ``in_use`` are the cluster's objects of the kind.

    What is changed is the cluster's definition (the old chart's, where the cluster has none or nobody could read it).
    """
    old, new, live = side.old, side.new, side.live
    some = new or live or old or {}
    names = (some.get("spec") or {}).get("names") or {}
    objects = list(in_use)
    before = live or old
    fields, others = _fields(before, new, objects) if before and new else ([], 0)
    states = tuple(_states(old, new, live))
    unknown = [f"version {one.name}" for one in states if one.served_new and not _before(one, side)]
    added = [
        f"{one.version} {one.change.path}" for one in fields if one.change.what == "added" and "→" not in one.version
    ]
    change = CrdChange(
        name=side.name,
        kind=str(names.get("kind", "")),
        place=side.place,
        versions=states,
        fields=tuple(fields),
        others=others,
        users=tuple(ref_of(obj) for obj in objects),
        lacking=(*unknown, *added),
    )
    return replace(change, said=tuple(_said(change, side, before)))


def is_crd(obj: Json) -> bool:
    """Whether ``obj`` defines a kind."""
    return bool(obj.get("kind") == "CustomResourceDefinition")


def by_name(objects: Iterable[Json]) -> dict[str, Json]:
    """The definitions among these objects by their name (``clusters.postgresql.cnpg.io``)."""
    return {str((obj.get("metadata") or {}).get("name", "")): obj for obj in objects if is_crd(obj)}


def immutable_fields(crd: Json | None, version: str) -> tuple[str, ...]:
    """Dotted paths whose rule says that they may not change (``self == oldSelf``), for ``compare_object``."""
    return tuple(dict.fromkeys(_immutable("", _schema(crd, version)))) if crd else ()


def _immutable(path: str, schema: Any) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    for rule in schema.get("x-kubernetes-validations") or []:
        match = _UNCHANGED.fullmatch("".join(str(rule.get("rule", "")).split())) if isinstance(rule, dict) else None
        if match and (found := ".".join(part for part in (path, match["below"] or match["above"] or "") if part)):
            yield found
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


def _before(one: VersionState, side: Sides) -> bool | None:
    return one.served_live if side.live else one.served_old


def _fields(before: Json, new: Json, objects: list[Json]) -> tuple[list[FieldUse], int]:
    found: list[FieldUse] = []
    others = 0
    for version in sorted(_versions(before)):
        after = version if version in _versions(new) else _successor(before, new)
        was, now = _schema(before, version), _schema(new, after)
        for change in compare_schemas(was, now) if after and was != now else ():
            if change.breaking or change.what == "added":
                users = tuple(ref_of(obj) for obj in objects if uses(obj, change.path)) if change.breaking else ()
                found.append(FieldUse(version if after == version else f"{version} → {after}", change, users))
            else:
                others += 1
    return found, others


def _successor(before: Json, new: Json) -> str:
    """The version that takes the place of one that goes: the one to be stored, if it is new; else no one is like another."""
    stored = next((name for name, one in _versions(new).items() if one.get("storage")), "")
    return "" if stored in _versions(before) else stored


def _said(change: CrdChange, side: Sides, before: Json | None) -> Iterator[Said]:
    if side.new is None:
        yield from _leaving(change, side, before)
        return
    for one in change.versions:
        if one.stored and one.served_new is None:
            then = "it" if side.place is Place.TEMPLATES else "the new chart's, when somebody applies it,"
            yield Said(
                About.STORED,
                f"{change.name}: version {one.name} goes, and objects may be stored in it (status.storedVersions); the API "
                f"server refuses {then} until they are stored in another{_existing(change)}.",
            )
    if before is not None:
        for what in _fixed(side, before, side.new):
            yield Said(About.FIXED, f"{change.name}: {what}, which cannot be changed in place.")
    if side.place is Place.FOLDER:
        yield from _behind(change, side)
    for one in change.versions:
        if _before(one, side) and one.served_new is not True:
            yield Said(
                About.UNSERVED,
                f"{change.kind} ({change.name}) would no longer be served as {one.name}{_existing(change)}.",
            )
    for found in change.fields:
        if found.users:
            sentence = found.change.sentence.rstrip(".")
            yield Said(About.FIELD, f"{change.kind} {found.version}: {sentence}; set by {_names(found.users)}.")


def _leaving(change: CrdChange, side: Sides, before: Json | None) -> Iterator[Said]:
    if before is None:
        return
    if side.place is Place.TEMPLATES and annotations_of(before).get(KEEP) != "keep":
        what = "moves to crds/, where Helm does not look at an upgrade" if side.moves else "is not in the new chart"
        yield Said(
            About.LEAVES,
            f"{change.name} {what}: Helm deletes the definition, and with it every {change.kind}{_existing(change)}.",
        )
    elif side.live is not None or side.unread:
        yield Said(
            About.STAYS, f"{change.name} is not in the new chart any more; the cluster keeps it{_existing(change)}."
        )


def _behind(change: CrdChange, side: Sides) -> Iterator[Said]:
    """Helm does not upgrade a folder of definitions, nor does it add to it."""
    if side.live is None and not side.unread:
        yield Said(About.BEHIND, f"{change.name} is not in the cluster")
        return
    others = change.others + sum(1 for one in change.fields if one.change.what != "added")
    moved = any(one.served_new != _before(one, side) for one in change.versions)
    if not (change.lacking or others or moved) or (side.live is None and side.old is None):
        return
    what = list(change.lacking[:_MOST_LACKING])
    if more := len(change.lacking) - len(what):
        what.append(f"{more} more")
    parts = [f"lacks {_and(what)}"] if what else []
    if others:
        parts.append(f"has {others} other difference{'' if others == 1 else 's'}")
    unread = " (if it is still the old chart's: it could not be read)" if side.live is None else ""
    yield Said(About.BEHIND, f"{change.name} in the cluster {_and(parts) or 'serves other versions'}{unread}")


def _fixed(side: Sides, before: Json, new: Json) -> list[str]:
    """What the API server would refuse; in a folder it is never asked."""
    if side.place is not Place.TEMPLATES:
        return []
    found = []
    for path in (("scope",), ("names", "kind"), ("names", "plural"), ("group",)):
        was, now = (_at(crd, path) for crd in (before, new))
        if was != now:
            found.append(f"spec.{'.'.join(path)} changes from {was} to {now}")
    return found


def _at(crd: Json, path: tuple[str, ...]) -> str:
    found: Any = crd.get("spec") or {}
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return str(found)


def _existing(change: CrdChange) -> str:
    """How many there are and where, the first of them by name."""
    return f" ({len(change.users)} known: {_names(change.users)})" if change.users else ""


def _names(users: tuple[ObjectRef, ...]) -> str:
    shown = [f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name for ref in users]
    rest = len(shown) - _MOST_USERS
    return ", ".join(shown[:_MOST_USERS]) + (f" and {rest} more" if rest > 0 else "")


def _and(parts: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else ""
