"""A JSON schema (draft 4 to 2020-12) as something that can be walked: local references followed, ``allOf`` laid together.

Nothing is fetched: a reference that leaves the schema is reported by its text and read as "anything".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

Json = Any
MOST_REFERENCES: Final = 50
_MERGED = ("properties", "patternProperties")


@dataclass(frozen=True)
class Node:
    """One schema without references. ``outside`` are references that were not followed, ``through`` those that were."""

    schema: Mapping[str, Json] = field(default_factory=dict)
    outside: tuple[str, ...] = ()
    through: frozenset[str] = frozenset()

    @property
    def types(self) -> frozenset[str] | None:
        """The JSON types that it takes; None when it does not say."""
        said = self.schema.get("type")
        return (
            frozenset([said])
            if isinstance(said, str)
            else frozenset(map(str, said))
            if isinstance(said, list)
            else None
        )

    @property
    def properties(self) -> Mapping[str, Json]:
        found = self.schema.get("properties")
        return found if isinstance(found, dict) else {}

    @property
    def required(self) -> frozenset[str]:
        said = self.schema.get("required")
        return frozenset(map(str, said)) if isinstance(said, list) else frozenset()

    @property
    def closed(self) -> bool:
        """Whether it takes no keys but those that it names."""
        return self.schema.get("additionalProperties") is False or self.schema.get("unevaluatedProperties") is False


def node(schema: Json, root: Mapping[str, Json]) -> Node:
    """``schema``, a part of ``root``, with its references followed and its ``allOf`` laid over it."""
    through: set[str] = set()
    outside: list[str] = []
    return Node(_laid(schema, root, through, outside, 0), tuple(outside), frozenset(through))


def _laid(schema: Json, root: Mapping[str, Json], through: set[str], outside: list[str], depth: int) -> dict[str, Json]:
    """Each reference is laid in once, so that no chain or fan of references takes longer than there are references."""
    if schema is True or not isinstance(schema, dict) or depth > MOST_REFERENCES:
        return {"not": {}} if schema is False else {}
    merged: dict[str, Json] = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
    parts: list[Json] = list(schema["allOf"]) if isinstance(schema.get("allOf"), list) else []
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in through:
        found = resolve(reference, root)
        if found is None:
            outside.append(reference)
        else:
            through.add(reference)
            parts.append(found)
    for part in parts:
        _lay(merged, _laid(part, root, through, outside, depth + 1))
    return merged


def resolve(reference: str, root: Mapping[str, Json]) -> Json:
    """What a reference within ``root`` leads to (a JSON pointer, an ``$anchor`` or an ``$id`` of ``$defs``), or None."""
    if reference == "#":
        return root
    if reference.startswith("#/"):
        found: Json = root
        for part in reference[2:].split("/"):
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdigit() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, dict) and name in found:
                found = found[name]
            else:
                return None
        return found
    for named in (*_definitions(root, "$defs"), *_definitions(root, "definitions")):
        if reference in (f"#{named.get('$anchor')}", named.get("$id"), named.get("id")):
            return named
    return None


def _definitions(root: Mapping[str, Json], key: str) -> Iterator[Mapping[str, Json]]:
    found = root.get(key)
    if isinstance(found, dict):
        yield from (one for one in found.values() if isinstance(one, dict))


def _lay(merged: dict[str, Json], part: Mapping[str, Json]) -> None:
    for key, value in part.items():
        if key in _MERGED and isinstance(value, dict):
            mine = merged.get(key)
            merged[key] = {**value, **(mine if isinstance(mine, dict) else {})}
        elif key == "required" and isinstance(value, list):
            mine = merged.get(key)
            merged[key] = [*(mine if isinstance(mine, list) else []), *value]
        else:
            merged.setdefault(key, value)


def describes(path: tuple[str, ...], root: Mapping[str, Json]) -> Node | None:
    """The schema of the values at ``path``; None when no part of the schema names that key."""
    found = node(root, root)
    for key in path:
        below = _described(found, key)
        if below is None:
            return None
        found = node(below, root)
    return found


def _described(at: Node, key: str) -> Json | None:
    if key in at.properties:
        return at.properties[key]
    for name in ("anyOf", "oneOf"):
        for one in at.schema.get(name) or []:
            below = one.get("properties") if isinstance(one, dict) else None
            if isinstance(below, dict) and key in below:
                return below[key]
    rest = at.schema.get("additionalProperties")
    return rest if isinstance(rest, dict) and rest else None
