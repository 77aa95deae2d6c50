"""Two JSON schemas key by key (``values.schema.json``, or a custom resource's), and the charts' defaults beside them.

A change is breaking when something that was taken before may now be refused, or is no longer read. Where that cannot be told
(conditions such as ``oneOf``), it counts as breaking and says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bot.diff import values as diff_values
from bot.diff.fields import canonical
from bot.diff.schemaview import Node, node
from bot.diff.values import ABSENT, Json, Path, dotted
from bot.redaction import MASK, redact_values, secret_name

MOST: Final = 2000
"""Changes told of one pair of schemas, and a bound for schemas that grow without end by their references."""
DEEPEST: Final = 60
_AT_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_AT_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_OTHER_LIMITS = ("pattern", "format", "multipleOf", "uniqueItems")
_CONDITIONS = (
    "anyOf", "oneOf", "not", "if", "then", "else", "dependencies", "dependentRequired", "dependentSchemas", "propertyNames",
    "contains", "patternProperties", "x-kubernetes-validations",
)  # fmt: skip


@dataclass(frozen=True)
class SchemaChange:
    """One difference. ``what``: added, removed, required, optional, type, default, enum, limit, additional, condition,
    deprecated, reference or cut; ``source``: ``schema`` or ``values`` (the chart's defaults). The sentence is redacted.
    """

    path: str
    what: str
    old: Json = field(repr=False)
    new: Json = field(repr=False)
    breaking: bool
    sentence: str
    source: str = "schema"


def compare_schemas(
    old: Mapping[str, Json] | None,
    new: Mapping[str, Json] | None,
    *,
    old_defaults: Mapping[str, Json] | None = None,
    new_defaults: Mapping[str, Json] | None = None,
) -> list[SchemaChange]:
    """Every change, breaking ones first, else by path. A chart without a schema is None: then its defaults alone tell."""
    found = _Schemas(old or {}, new or {}, new_defaults or {}).all() if old is not None and new is not None else []
    if old is None and new is not None:
        found = [
            SchemaChange("", "added", ABSENT, ABSENT, True, "The new chart brings a schema: values are now checked.")
        ]
    if new is None and old is not None:
        found = [
            SchemaChange("", "removed", ABSENT, ABSENT, False, "The new chart has no schema: values are not checked.")
        ]
    told = {(one.path, one.what) for one in found}
    gone = [one.path for one in found if one.what in ("added", "removed") and one.path]
    for one in compare_defaults(old_defaults or {}, new_defaults or {}):
        within = any(one.path == path or one.path.startswith(f"{path}.") for path in gone)
        if (one.path, one.what) not in told and not (within and one.what in ("added", "removed")):
            found.append(one)
    return sorted(found, key=lambda one: (not one.breaking, one.path, one.what))


def compare_defaults(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[SchemaChange]:
    """What the two charts' ``values.yaml`` say: keys that came and went, defaults of another value or another kind."""
    said = []
    for one in diff_values.compare(old, new):
        path = one.dotted
        if one.old is ABSENT:
            text = f"{path} is new, {_shown(one.new, one.path)} by default."
            said.append(SchemaChange(path, "added", ABSENT, one.new, False, text, "values"))
        elif one.new is ABSENT:
            text = f"{path} is no longer among the chart's values."
            said.append(SchemaChange(path, "removed", one.old, ABSENT, True, text, "values"))
        elif kind_of(one.old) != kind_of(one.new) and None not in (one.old, one.new):
            text = f"{path} was {_a(kind_of(one.old))} by default and is {_a(kind_of(one.new))}."
            said.append(SchemaChange(path, "type", one.old, one.new, True, text, "values"))
        else:
            text = f"{path} is {_shown(one.new, one.path)} by default; it was {_shown(one.old, one.path)}."
            said.append(SchemaChange(path, "default", one.old, one.new, False, text, "values"))
    return said


def kind_of(value: Json) -> str:
    """The JSON type of a value; an integer is a number here, as YAML writers mix them."""
    if value is None:
        return "null"
    for kind, name in (
        (bool, "boolean"),
        (str, "string"),
        (int | float, "number"),
        (list, "array"),
        (Mapping, "object"),
    ):
        if isinstance(value, kind):
            return name
    return type(value).__name__


class _Schemas:
    def __init__(self, old: Mapping[str, Json], new: Mapping[str, Json], defaults: Mapping[str, Json]) -> None:
        self._old, self._new, self._defaults = old, new, defaults
        self._open: set[tuple[str, str]] = set()
        self._outside: set[str] = set()
        self._left = 20 * MOST

    def all(self) -> list[SchemaChange]:
        found: list[SchemaChange] = []
        try:
            for one in self._schemas((), self._old, self._new):
                found.append(one)
                if len(found) >= MOST:
                    return [*found, _cut(f"Only the first {MOST} changes of the schema are told.")]
        except (RecursionError, _Endless):
            found.append(_cut("The schema is nested too deeply to be compared to its end."))
        return found

    def _schemas(self, path: Path, old: Json, new: Json) -> Iterator[SchemaChange]:
        self._left -= 1
        if self._left < 0 or len(path) > DEEPEST:
            raise _Endless
        was, now = node(old, self._old), node(new, self._new)
        for reference in sorted({*was.outside, *now.outside} - self._outside):
            self._outside.add(reference)
            text = f"{_at(path)} refers to {reference[:120]}, outside of the schema; that is not fetched and was not compared."
            yield SchemaChange(dotted(path), "reference", ABSENT, reference, False, text)
        entered = {(one, other) for one in was.through | {""} for other in now.through | {""}} - {("", "")}
        if entered and entered <= self._open:
            return
        fresh = entered - self._open
        self._open |= fresh
        yield from self._here(path, was, now)
        yield from self._properties(path, was, now)
        yield from self._items(path, was, now)
        self._open -= fresh

    def _here(self, path: Path, was: Node, now: Node) -> Iterator[SchemaChange]:
        at = dotted(path)
        yield from _types(path, was, now)
        old, new = (one.schema.get("default", ABSENT) for one in (was, now))
        if _differ(old, new):
            text = f"The schema's default of {_at(path)} is {_shown(new, path)}; it was {_shown(old, path)}."
            yield SchemaChange(at, "default", old, new, False, text)
        yield from _enum(path, was, now)
        for name in (*_AT_LEAST, *_AT_MOST, *_OTHER_LIMITS):
            yield from _limit(path, name, was.schema.get(name, ABSENT), now.schema.get(name, ABSENT))
        for name in _CONDITIONS:
            old, new = was.schema.get(name, ABSENT), now.schema.get(name, ABSENT)
            if _differ(old, new):
                gone = new is ABSENT
                text = (
                    f"The condition {name} on {_at(path)} {'is gone' if gone else 'is another one: judge it by hand'}."
                )
                yield SchemaChange(at, "condition", old, new, not gone, text)
        if now.schema.get("deprecated") is True and was.schema.get("deprecated") is not True:
            yield SchemaChange(at, "deprecated", ABSENT, True, False, f"{_at(path)} is deprecated.")
        if was.closed != now.closed:
            text = "takes no keys any more but those that it names" if now.closed else "takes any further key"
            yield SchemaChange(at, "additional", not was.closed, not now.closed, now.closed, f"{_at(path)} {text}.")

    def _properties(self, path: Path, was: Node, now: Node) -> Iterator[SchemaChange]:
        for key in sorted(was.properties.keys() | now.properties.keys()):
            below = (*path, key)
            needs = key in now.required
            if key not in was.properties:
                yield self._added(below, node(now.properties[key], self._new), needs=needs)
            elif key not in now.properties:
                end = "and would be refused" if now.closed else "and would no longer be read"
                text = f"{dotted(below)} is gone from the schema {end}."
                yield SchemaChange(dotted(below), "removed", was.properties[key], ABSENT, True, text)
            else:
                yield from self._schemas(below, was.properties[key], now.properties[key])
        for key in sorted(was.required ^ now.required):
            if key in was.properties or key not in now.properties:
                yield self._required((*path, key), needs=key in now.required)
        old, new = was.schema.get("additionalProperties"), now.schema.get("additionalProperties")
        if isinstance(old, dict) and isinstance(new, dict):
            yield from self._schemas((*path, "*"), old, new)
        elif isinstance(new, dict) and new and not was.closed:
            text = f"Further keys of {_at(path)} must fit a schema now."
            yield SchemaChange(dotted(path), "additional", old, new, True, text)

    def _added(self, path: Path, now: Node, *, needs: bool) -> SchemaChange:
        filled = self._filled(path)
        default = now.schema.get("default", ABSENT)
        text = f"{dotted(path)} is new" + (f" ({' or '.join(sorted(now.types))})" if now.types else "")
        text += " and required" if needs else ""
        text += f"; {_shown(default, path)} by default" if default is not ABSENT else ""
        text += "; the chart's values give it" if needs and filled else ""
        return SchemaChange(
            dotted(path), "required" if needs else "added", ABSENT, now.schema, needs and not filled, f"{text}."
        )

    def _required(self, path: Path, *, needs: bool) -> SchemaChange:
        if not needs:
            return SchemaChange(dotted(path), "optional", True, False, False, f"{dotted(path)} is no longer required.")
        filled = self._filled(path)
        text = f"{dotted(path)} is required now{'; the chart gives it by default' if filled else ''}."
        return SchemaChange(dotted(path), "required", False, True, not filled, text)

    def _filled(self, path: Path) -> bool:
        """Whether the new chart's own values give it: Helm checks the schema after laying ours over them."""
        return diff_values.lookup(self._defaults, path) not in (ABSENT, None)

    def _items(self, path: Path, was: Node, now: Node) -> Iterator[SchemaChange]:
        old, new = was.schema.get("items", ABSENT), now.schema.get("items", ABSENT)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from self._schemas((*path[:-1], f"{path[-1] if path else ''}[]"), old, new)
        elif _differ(old, new):
            gone = new is ABSENT
            text = f"The items of {_at(path)} {'may be anything now' if gone else 'must fit another schema'}."
            yield SchemaChange(dotted(path), "condition", old, new, not gone, text)
        if _differ(was.schema.get("prefixItems", ABSENT), now.schema.get("prefixItems", ABSENT)):
            text = f"The first items of {_at(path)} must fit another schema: judge it by hand."
            yield SchemaChange(dotted(path), "condition", ABSENT, ABSENT, True, text)


class _Endless(Exception):
    pass


def _cut(text: str) -> SchemaChange:
    return SchemaChange("", "cut", ABSENT, ABSENT, True, text)


def _types(path: Path, was: Node, now: Node) -> Iterator[SchemaChange]:
    old, new = was.types, now.types
    if old == new:
        return
    wide = {"number", "integer"} if new and "number" in new else set()
    narrower = new is not None and (old is None or not old <= new | wide)
    shown = [" or ".join(sorted(one)) if one else "anything" for one in (old, new)]
    text = f"{_at(path)} must be {shown[1]}; it was {shown[0]}."
    yield SchemaChange(dotted(path), "type", sorted(old or ()), sorted(new or ()), narrower, text)


def _enum(path: Path, was: Node, now: Node) -> Iterator[SchemaChange]:
    old, new = (_choices(one.schema) for one in (was, now))
    if _differ(
        old if old is None else sorted(map(canonical, old)), new if new is None else sorted(map(canonical, new))
    ):
        before, after = ({canonical(one) for one in found or ()} for found in (old, new))
        narrower = new is not None and (old is None or bool(before - after))
        parts = []
        if old is not None and new is not None:
            parts = [
                f"{word} {', '.join(sorted(some))}"
                for word, some in (("no longer", before - after), ("also", after - before))
                if some
            ]
        elif new is not None:
            parts = [f"only {', '.join(sorted(after))}"]
        text = f"{_at(path)} takes {'; '.join(parts) if parts else 'any value now'}."
        yield SchemaChange(dotted(path), "enum", old, new, narrower, text)


def _choices(schema: Mapping[str, Json]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    found = schema.get("enum")
    return list(found) if isinstance(found, list) else None


def _limit(path: Path, name: str, old: Json, new: Json) -> Iterator[SchemaChange]:
    if not _differ(old, new):
        return
    stricter = new not in (ABSENT, False)
    if stricter and name in (*_AT_LEAST, *_AT_MOST) and _number(old) and _number(new):
        stricter = new > old if name in _AT_LEAST else new < old
    before = "" if old is ABSENT else f"; it was {_shown(old, ())}"
    text = f"{_at(path)}: {name} is {'gone' if new is ABSENT else _shown(new, ())}{before}."
    yield SchemaChange(dotted(path), "limit", old, new, stricter, text)


def _number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _differ(old: Json, new: Json) -> bool:
    if old is ABSENT or new is ABSENT:
        return old is not new
    return canonical(old) != canonical(new)


def _at(path: Path) -> str:
    return dotted(path) or "The whole"


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _shown(value: Json, path: Path) -> str:
    """A value in a sentence, short, and hidden where its name or its look says secret."""
    if value is ABSENT:
        return "not set"
    if value not in (None, "", True, False) and any(secret_name(key) for key in path):
        return MASK
    text = json.dumps(redact_values(value, name=path[-1] if path else ""), ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:79]}…"
