"""Helm values: laying one set over another, comparing two, and finding keys that a chart does not know.

Values may hold secrets, so nothing here prints one; whoever shows a ``Change`` redacts it first.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Json = Any
Path = tuple[str, ...]


class _Absent:
    def __repr__(self) -> str:
        return "(not set)"


ABSENT: Final = _Absent()
"""Stands for a key that is not there, which is not the same as one that is null."""


@dataclass(frozen=True)
class Change:
    """One leaf that differs; ``old`` or ``new`` is ``ABSENT`` where there was or is none."""

    path: Path
    old: Json = field(repr=False)
    new: Json = field(repr=False)

    @property
    def dotted(self) -> str:
        return dotted(self.path)


def dotted(path: Path) -> str:
    """The path as people write it: ``aeterna.image.tag``; a key with a dot in it stands in quotes."""
    return ".".join(json.dumps(key) if "." in key else key for key in path)


def split(text: str) -> Path:
    """The path behind a dotted name, as ``dotted`` writes it. Raises ``ValueError`` for one that names nothing."""
    path = tuple(
        str(json.loads(part)) if part.startswith('"') else part for part in re.findall(r'"(?:[^"\\]|\\.)*"|[^.]+', text)
    )
    if not path or dotted(path) != text:
        raise ValueError(f"{text!r} is not a path of keys such as aeterna.image.tag")
    return path


def place(values: Mapping[str, Json], supplied: Mapping[str, Json]) -> dict[str, Json]:
    """``values`` with single ones laid over them, by dotted path. Raises ``ValueError`` for a path that is none."""
    laid = dict(values)
    for name, value in sorted(supplied.items()):
        for key in reversed(split(name)):
            value = {key: value}
        laid = overlay(laid, value)
    return laid


def overlay(base: Mapping[str, Json], over: Mapping[str, Json]) -> dict[str, Json]:
    """``over`` laid over ``base`` as Helm does with several ``-f``: mappings merge, everything else replaces.

    A null stays: it is what removes a chart's default later on.
    """
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = overlay(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def computed(defaults: Mapping[str, Json], user: Mapping[str, Json]) -> dict[str, Json]:
    """What a template sees: the chart's defaults with the user's values over them, nulls removed (Helm's coalescing)."""
    return _without_nulls(overlay(defaults, user))


def _without_nulls(values: Mapping[str, Json]) -> dict[str, Json]:
    return {
        key: _without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }


def compare(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[Change]:
    """Every leaf that differs, in the order of the paths. A list is one leaf, as it is to Helm."""
    return sorted(_changes((), old, new), key=lambda change: change.path)


def _changes(path: Path, old: Json, new: Json) -> Iterator[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in old.keys() | new.keys():
            yield from _changes((*path, str(key)), old.get(key, ABSENT), new.get(key, ABSENT))
    elif isinstance(old, Mapping) and old and new is ABSENT:
        for key, value in old.items():
            yield from _changes((*path, str(key)), value, ABSENT)
    elif isinstance(new, Mapping) and new and old is ABSENT:
        for key, value in new.items():
            yield from _changes((*path, str(key)), ABSENT, value)
    elif type(old) is not type(new) or old != new:
        yield Change(path, old, new)


def unknown_keys(user: Mapping[str, Json], defaults: Mapping[str, Json]) -> list[Path]:
    """Keys that the user sets and the chart's defaults do not have.

    A mapping that is empty in the chart (``annotations: {}``) takes any key, and so does one that is not a mapping there.
    """
    return list(_unknown((), user, defaults))


def _unknown(path: Path, user: Mapping[str, Json], defaults: Mapping[str, Json]) -> Iterator[Path]:
    for key, value in user.items():
        if key not in defaults:
            if not (path == () and key == "global"):
                yield (*path, str(key))
            continue
        below = defaults[key]
        if isinstance(value, Mapping) and isinstance(below, Mapping) and below:
            yield from _unknown((*path, str(key)), value, below)


def lookup(values: Mapping[str, Json], path: Sequence[str]) -> Json:
    """What stands at ``path``, or ``ABSENT``."""
    found: Json = values
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return ABSENT
        found = found[key]
    return found


def digest(value: Json) -> str:
    """SHA-256 of the canonical JSON: equal for equal values however they were written."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
