"""The user's values against the next chart: what it no longer reads and where that went, what it needs, what has the wrong type.

A rename is a guess unless a migration note names it; how sure it is stands beside it. No value stands in any sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from rapidfuzz import fuzz

from bot.diff.schema_changes import kind_of
from bot.diff.schemaview import describes, node
from bot.diff.templates import Templates, holds
from bot.diff.values import ABSENT, Json, Path, computed, dotted, lookup, unknown_keys
from bot.redaction import redact

LIKELY: Final = 70.0
POSSIBLE: Final = 52.0
MOST_OTHERS: Final = 2


@dataclass(frozen=True)
class Unread:
    """One key that the user sets and the new chart does not read. ``likely`` is where it probably went, empty when nobody
    can tell; ``others`` come close. ``sure``: ``noted`` (a migration note says so), ``likely`` or ``possible``.
    """

    path: Path
    known_before: bool
    likely: str = ""
    others: tuple[str, ...] = ()
    sure: Literal["noted", "likely", "possible", ""] = ""

    @property
    def sentence(self) -> str:
        if not self.known_before:
            return f"{dotted(self.path)} is set, and neither the old chart nor the new one names it."
        text = f"{dotted(self.path)} is set, and the new chart no longer reads it"
        if not self.likely:
            return f"{text}; nothing in it looks like its successor."
        word = {"noted": "it is now", "likely": "it is probably now"}.get(self.sure, "it may now be")
        others = f" (or {' or '.join(self.others)})" if self.others else ""
        return f"{text}; {word} {self.likely}{others}."


@dataclass(frozen=True)
class Needed:
    """A value that the new chart demands and nobody gives. ``certain`` is False where a condition could not be worked out."""

    path: Path
    source: Literal["schema", "required", "fail"]
    message: str
    template: str
    certain: bool

    @property
    def sentence(self) -> str:
        where = f"{self.template}: {self.message}" if self.template else self.message
        name = dotted(self.path) or "A value"
        return f"{name} {'is needed' if self.certain else 'may be needed'} now ({redact(where)})."


@dataclass(frozen=True)
class WrongType:
    """A value of another type than the chart's default or its schema has."""

    path: Path
    given: str
    wanted: str
    source: Literal["schema", "default"]

    @property
    def sentence(self) -> str:
        says = "the chart's schema wants" if self.source == "schema" else "the chart's own default is"
        return f"{dotted(self.path)} is of type {self.given}; {says} {self.wanted}."


def unread(
    user: Mapping[str, Json],
    old_defaults: Mapping[str, Json],
    new_defaults: Mapping[str, Json],
    *,
    new_schema: Mapping[str, Json] | None = None,
    templates: Templates | None = None,
    noted: Mapping[str, str] | None = None,
    notes: str = "",
) -> list[Unread]:
    """Leaves that the user sets and that neither the new defaults, nor its schema, nor (where given) its templates know.

    ``noted`` are the renames of migration notes (dotted old to new), ``notes`` the text of changelogs and upgrade guides.
    A schema alone does not vouch for a key when the templates are at hand and none of them reads it.
    """
    missing = [path for top in unknown_keys(user, new_defaults) for path in _leaves(top, lookup(user, top))]
    lost = [path for path in missing if not _read(path, new_schema, templates)]
    before = set(unknown_keys(user, old_defaults))
    known = {path: not any(path[: len(top)] == top for top in before) for path in lost}
    guess = _Guess([path for path in lost if known[path]], old_defaults, new_defaults, notes)
    return [_told(path, known[path], noted or {}, guess) for path in lost]


def needed(
    final: Mapping[str, Json],
    new_defaults: Mapping[str, Json],
    *,
    new_schema: Mapping[str, Json] | None = None,
    templates: Templates | None = None,
    old_templates: Templates | None = None,
) -> list[Needed]:
    """Values that the new chart demands and the final values do not give, from its schema and its template sources.

    Uncertain demands that the old chart's templates made in the same way are left out: the release got past them.
    """
    given = computed(new_defaults, final)
    said = "required by the chart's schema"
    schema = [
        Needed(path, "schema", said, "", certain=True)
        for path in _required((), given, new_schema or {}, new_schema or {}, 0)
    ]
    asked = {(one.path, one.message): one for one in _demanded(given, templates, old_templates)}
    named = {one.path for one in asked.values()}
    found = [*asked.values(), *(one for one in schema if one.path not in named)]
    return sorted(found, key=lambda one: (not one.certain, one.path, one.message))


def wrong_types(
    user: Mapping[str, Json], new_defaults: Mapping[str, Json], *, new_schema: Mapping[str, Json] | None = None
) -> list[WrongType]:
    """Values that the user sets with another type than the schema wants or, where that says nothing, than the default has."""
    return list(_wrong((), user, new_defaults, new_schema))


def _leaves(path: Path, value: Json) -> Iterator[Path]:
    if isinstance(value, Mapping) and value:
        for key, below in value.items():
            yield from _leaves((*path, str(key)), below)
    else:
        yield path


def _read(path: Path, schema: Mapping[str, Json] | None, templates: Templates | None) -> bool:
    if templates:
        return templates.reads(path)
    return bool(schema) and describes(path, schema or {}) is not None


def _told(path: Path, known: bool, noted: Mapping[str, str], guess: _Guess) -> Unread:
    for end in range(len(path), 0, -1):
        if new := noted.get(dotted(path[:end])):
            rest = path[end:]
            return Unread(path, known, f"{new}.{dotted(rest)}" if rest else new, (), "noted")
    ranked = guess.ranked(path) if known else []
    if not ranked or ranked[0][0] < POSSIBLE:
        return Unread(path, known)
    best, likely = ranked[0]
    others = [dotted(other) for score, other in ranked[1 : 1 + MOST_OTHERS] if score >= max(POSSIBLE, best - 6)]
    return Unread(path, known, dotted(likely), tuple(others), "likely" if best >= LIKELY and not others else "possible")


class _Guess:
    """Where the keys that are gone may have gone: by their names, their defaults, their neighbours, and the notes."""

    def __init__(self, gone: list[Path], old: Mapping[str, Json], new: Mapping[str, Json], notes: str) -> None:
        self._old, self._new = old, new
        fresh = [path for path in _leaves((), new) if lookup(old, path) is ABSENT]
        self._fresh = [path for path in fresh if path]
        self._lines = [line.casefold() for line in notes.splitlines()]
        self._votes = self._voted([*gone, *(path for path in _leaves((), old) if path and lookup(new, path) is ABSENT)])

    def ranked(self, path: Path) -> list[tuple[float, Path]]:
        """Each key that is new in the chart with a score, best first. 0 to about 100."""
        scored = [(self._score(path, candidate), candidate) for candidate in self._fresh]
        return sorted(scored, key=lambda one: (-one[0], one[1]))

    def _score(self, path: Path, candidate: Path) -> float:
        score = 0.45 * fuzz.ratio(_bare(path[-1]), _bare(candidate[-1]))
        score += 0.2 * fuzz.token_sort_ratio(" ".join(map(_bare, path)), " ".join(map(_bare, candidate)))
        was, now = lookup(self._old, path), self._at(candidate)
        if _telling(was) and was == now:
            score += 20
        elif kind_of(was) == kind_of(now):
            score += 10
        elif was not in (None, ABSENT) and now not in (None, ABSENT):
            score -= 25
        parents = self._votes.get(path[:-1], {})
        if parents:
            score += 15 * parents.get(candidate[:-1], 0) / max(parents.values())
        return score + (30 if self._mentioned(path, candidate) else 0)

    def _voted(self, gone: Iterable[Path]) -> dict[Path, dict[Path, float]]:
        """For each map that lost keys, how much the maps that gained keys of the same names speak for having taken it over."""
        votes: dict[Path, dict[Path, float]] = {}
        for path in set(gone):
            was = lookup(self._old, path)
            for candidate in self._fresh:
                if _bare(candidate[-1]) == _bare(path[-1]):
                    weight = 3.0 if _telling(was) and was == self._at(candidate) else 1.0
                    counted = votes.setdefault(path[:-1], {})
                    counted[candidate[:-1]] = counted.get(candidate[:-1], 0.0) + weight
        return votes

    def _at(self, path: Path) -> Json:
        return lookup(self._new, path)

    def _mentioned(self, path: Path, candidate: Path) -> bool:
        old, new = dotted(path).casefold(), dotted(candidate).casefold()
        return any(_names(line, old) and _names(line, new) for line in self._lines)


def _names(line: str, path: str) -> bool:
    return path in line and bool(re.search(rf"(?<![\w.]){re.escape(path)}(?![\w])", line))


def _bare(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", key.casefold())


def _telling(value: Json) -> bool:
    """Whether a default says something: ``5432`` does, an empty text or ``true`` does not."""
    return value is not ABSENT and value not in (None, "", True, False, 0, 1) and value != [] and value != {}


def _demanded(given: Mapping[str, Json], new: Templates | None, old: Templates | None) -> Iterator[Needed]:
    before = {(one.path, one.message) for one in old.demands} if old else set()
    for one in new.demands if new else ():
        missing = bool(one.path) and lookup(given, one.path) in (ABSENT, None, "")
        if one.path and not missing:
            continue
        verdicts = [holds(condition, given, one.prefix) for condition in one.when]
        if False in verdicts:
            continue
        certain = None not in verdicts and (bool(one.path) or bool(verdicts))
        if certain or (one.path and (one.path, one.message) not in before):
            yield Needed(one.path, one.by, one.message, one.template, certain)


def _required(path: Path, given: Json, schema: Json, root: Mapping[str, Json], depth: int) -> Iterator[Path]:
    at = node(schema, root)
    if not isinstance(given, Mapping) or depth > 40:
        return
    for key in sorted(at.required):
        if key not in given:
            yield (*path, key)
    for key, below in at.properties.items():
        if key in given:
            yield from _required((*path, key), given[key], below, root, depth + 1)


def _wrong(
    path: Path, user: Mapping[str, Json], defaults: Json, schema: Mapping[str, Json] | None
) -> Iterator[WrongType]:
    for key, value in user.items():
        at = (*path, str(key))
        default = defaults.get(key, ABSENT) if isinstance(defaults, Mapping) else ABSENT
        given, own = kind_of(value), kind_of(default)
        if value is None:  # a null takes the default away; it has no type of its own
            continue
        described = describes(at, schema) if schema else None
        if described is not None and described.types is not None:
            if not _taken(value, given, described.types):
                yield WrongType(at, given, " or ".join(sorted(described.types)), "schema")
                continue
        elif default not in (None, ABSENT) and given != own:
            yield WrongType(at, given, own, "default")
            continue
        if isinstance(value, Mapping):
            yield from _wrong(at, value, default, schema)


def _taken(value: Json, given: str, types: frozenset[str]) -> bool:
    if given == "number" and "integer" in types:
        return float(value).is_integer() or "number" in types
    return given in types
