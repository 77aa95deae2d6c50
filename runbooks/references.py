"""Where a chart takes a Secret's name instead of a secret, by the names that charts use; pure.

``db.password`` may be given by ``db.existingSecret`` and ``db.passwordKey``, by ``db.passwordSecretRef: {name, key}``, or as an
object with ``name`` and ``key`` itself. What is set already is not offered again: it did not help.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bot.diff.schemaview import Node
from bot.diff.values import ABSENT, Json, Path, computed, dotted, lookup

Described = Callable[[Path], Node | None]
_OBJECTS = ("secretref", "secretkeyref", "secret", "from", "fromsecret")
_NAMES = (
    "{0}existingsecret",
    "existing{0}secret",
    "existingsecretname",
    "existingsecret",
    "{0}secretname",
    "secretname",
)
_KEYS = (
    "{0}secretkey",
    "existingsecret{0}key",
    "{0}existingsecretkey",
    "{0}key",
    "existingsecretkey",
    "secretkey",
)


@dataclass(frozen=True)
class Reference:
    """Dotted paths: where the Secret's name goes, and the key inside it (empty where the chart has a fixed one)."""

    name: str
    key: str = ""

    def as_fact(self) -> dict[str, str]:
        return {"name": self.name, "key": self.key}


def reference(
    path: Path, *, values: Mapping[str, Json], defaults: Mapping[str, Json], described: Described
) -> Reference | None:
    """Where the chart takes a Secret's name in place of the secret at ``path``, or None. ``described`` reads the schema."""
    effective = computed(defaults, values)
    for name, key in _candidates(path, defaults, described):
        if lookup(effective, name) in (ABSENT, None, ""):
            return Reference(dotted(name), dotted(key) if key else "")
    return None


def _candidates(path: Path, defaults: Mapping[str, Json], described: Described) -> Iterator[tuple[Path, Path]]:
    parent, base = path[:-1], _bare(path[-1])
    yield from _inside(path, defaults, described)
    beside = {_bare(key): (*parent, key) for key in _keys(parent, defaults, described)}
    for ending in _OBJECTS:
        if (found := beside.get(base + ending)) is not None:
            yield from _inside(found, defaults, described)
    names = [beside[bare] for shape in _NAMES if (bare := shape.format(base)) in beside]
    keys = [beside[bare] for shape in _KEYS if (bare := shape.format(base)) in beside and beside[bare] != path]
    for name in names:
        if not _keys(name, defaults, described):  # an object of that name takes something else
            yield name, keys[0] if keys else ()


def _inside(path: Path, defaults: Mapping[str, Json], described: Described) -> Iterator[tuple[Path, Path]]:
    """The object at ``path``, where it takes a name and a key."""
    for below in ((), ("secretKeyRef",), ("valueFrom", "secretKeyRef")):
        at = (*path, *below)
        if {"name", "key"} <= set(_keys(at, defaults, described)):
            yield (*at, "name"), (*at, "key")


def _keys(path: Path, defaults: Mapping[str, Json], described: Described) -> list[str]:
    """The keys that the chart knows at ``path``, by its defaults and its schema."""
    there: Any = lookup(defaults, path) if path else defaults
    node = described(path)
    return [*(there if isinstance(there, Mapping) else ()), *(node.properties if node else ())]


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
