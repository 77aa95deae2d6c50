"""What a chart's template sources say about values without being rendered: which are read, and which are demanded.

A forecast: Helm stops at the first ``required`` or ``fail``, this finds all of them. Conditions are worked out where they are
simple; where not, the demand is told as uncertain. Rendering remains the judge.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bot.diff.values import ABSENT, Json, Path, lookup

_COMMENT = re.compile(r"\{\{-?\s*/\*.*?\*/\s*-?\}\}", re.DOTALL)
_ACTION = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_VALUES = re.compile(r"\.Values((?:\.\w+)*)")
_INDEXED = re.compile(r"\b(?:index|get|hasKey)\s+[\w$.]*\.Values((?:\.\w+)*)((?:\s+\"[^\"]*\")+)")
_DUG = re.compile(r"\bdig((?:\s+\"[^\"]*\")+)\s.*?\.Values((?:\.\w+)*)")
_WHOLE = re.compile(r"\b(?:toYaml|toJson|toPrettyJson|toToml|range|tpl|keys|values)\b")
_SUBCHART = re.compile(r"(?:^|/)charts/([^/]+)(?=/)")
_WORD = re.compile(r"\.(\w+)|\"([^\"]+)\"")
_QUOTED = r"(?:\"((?:[^\"\\]|\\.)*)\"|`([^`]*)`)"
_REQUIRED = re.compile(rf"\brequired\s+\(?(?:printf\s+)?{_QUOTED}[^|{{}}]*?\s[\w$.]*\.Values((?:\.\w+)+)")
_PIPED = re.compile(rf"\.Values((?:\.\w+)+)\s*\|\s*required\s+\(?(?:printf\s+)?{_QUOTED}")
_FAIL = re.compile(rf"\bfail\s+\(?(?:printf\s+)?{_QUOTED}")
_EMPTY = re.compile(r"\b(?:not|empty)\s+\(?\s*[\w$.]*\.Values((?:\.\w+)+)|\beq\s+[\w$.]*\.Values((?:\.\w+)+)\s+\"\"")
_NAMED = re.compile(r"(\$\w+)\s*:?=\s*\$?\.Values((?:\.\w+)+)\s*\Z")
_VARIABLE = re.compile(r"(\$\w+)((?:\.\w+)*)")
_DOT = re.compile(r"(?<![\w)\]\"$.])\.(?![\w.])")
_ONE = re.compile(r"\$?\.Values((?:\.\w+)+)")
_TRUTHS = {"true": True, "false": False}
_DRAWS = re.compile(
    r"(?<![.\w$])(rand(?:AlphaNum|Alpha|Numeric|Ascii|Bytes|Int)|gen(?:CA|SelfSignedCert|SignedCert)(?:WithKey)?|genPrivateKey"
    r"|uuidv4|htpasswd|bcrypt|encryptAES|shuffle|now)\b"
)
"""Functions of Helm's templates that give something else each time (Sprig 3, Helm 4.3.1); ``htpasswd`` by its salt."""
_TEXT = re.compile(r"\"(?:[^\"\\]|\\.)*\"")
_TOKEN = re.compile(r"\(|\)|\|\||\||\"(?:[^\"\\]|\\.)*\"|[^\s()|]+")


@dataclass(frozen=True)
class Demand:
    """A place where a chart refuses to render. ``path`` is the value that it wants, empty when it does not name one;
    ``when`` the conditions around it, as they are written.
    """

    path: Path
    message: str
    template: str
    by: Literal["required", "fail"]
    when: tuple[str, ...] = ()
    prefix: Path = ()
    """Where ``.Values`` of the template stands in the values."""


class Templates:
    """The sources of a chart, by their path in it (``templates/x.yaml``, ``charts/qdrant/templates/y.yaml``).

    ``idle`` are those that are not rendered (their subchart is off): they demand nothing and draw nothing. ``libraries`` are
    the paths of subcharts whose templates read the values of the chart around them.
    """

    def __init__(
        self, texts: Mapping[str, str], *, idle: Collection[str] = (), libraries: Collection[Path] = ()
    ) -> None:
        self._read: set[Path] = set()
        self._whole: set[Path] = set()
        self._words: set[str] = set()
        self._idle = frozenset(idle)
        self._libraries = frozenset(libraries)
        self.demands: list[Demand] = []
        self.draws: dict[str, set[str]] = {}
        """By template, the functions that give something else at each rendering (``randAlphaNum``, ``now``)."""
        self.shared: set[str] = set()
        """Templates that define what others include."""
        for name in sorted(texts):
            self._scan(name, _COMMENT.sub("", texts[name]))

    def __bool__(self) -> bool:
        return bool(self._read)

    @property
    def drawing(self) -> frozenset[str] | None:
        """The templates whose objects may have values that are drawn anew; None when it may be any, since what draws them
        can be included.
        """
        return None if self.shared & self.draws.keys() else frozenset(self.draws)

    def reads(self, path: Path) -> bool:
        """Whether a template reads the value at ``path``: itself, a part of it, or a map around it as a whole.

        Where a map is only handed on (``with``, a variable, ``include``), each further key must at least be named somewhere.
        """
        if any(found[: len(path)] == path for found in self._read):
            return True
        for end in range(len(path) - 1, 0, -1):
            if path[:end] in self._whole:
                return True
            if path[:end] in self._read and all(key in self._words for key in path[end:]):
                return True
        return False

    def _scan(self, name: str, text: str) -> None:
        prefix = tuple(_SUBCHART.findall(name))
        prefix = prefix[:-1] if prefix in self._libraries else prefix
        blocks: list[list[str]] = []
        named: dict[str, Path] = {}
        for match in _ACTION.finditer(text):
            action = match[1].strip()
            self._references(prefix, action)
            self._handed_on(prefix, action, named, blocks)
            if name not in self._idle:
                self.demands.extend(_demands(prefix, name, action, tuple(one for block in blocks for one in block)))
                if found := _DRAWS.findall(_TEXT.sub("", action)):
                    self.draws.setdefault(name, set()).update(found)
                if action.startswith("define"):
                    self.shared.add(name)
            _enter(blocks, action)

    def _references(self, prefix: Path, action: str) -> None:
        self._words.update(word for pair in _WORD.findall(action) for word in pair if word)
        whole = bool(_WHOLE.search(action))
        for match in _VALUES.finditer(action):
            self._add(prefix, _keys(match[1]), whole=whole)
        for match in _INDEXED.finditer(action):
            self._add(prefix, (*_keys(match[1]), *re.findall(r'"([^"]*)"', match[2])), whole=whole)
        for match in _DUG.finditer(action):
            self._add(prefix, (*_keys(match[2]), *re.findall(r'"([^"]*)"', match[1])), whole=whole)

    def _handed_on(self, prefix: Path, action: str, named: dict[str, Path], blocks: list[list[str]]) -> None:
        """What is read through a variable, or through the dot of the innermost ``with``."""
        if match := _NAMED.match(action):
            named[match[1]] = _keys(match[2])
        whole = bool(_WHOLE.search(action))
        for match in _VARIABLE.finditer(action):
            if match[1] in named:
                self._add(prefix, (*named[match[1]], *_keys(match[2])), whole=whole)
        if whole and _DOT.search(action):
            around = next((one for block in reversed(blocks) for one in block if _ONE.fullmatch(one)), "")
            if match := _ONE.fullmatch(around):
                self._add(prefix, _keys(match[1]), whole=True)

    def _add(self, prefix: Path, keys: Path, *, whole: bool) -> None:
        if keys:  # all of .Values at once, as for a checksum, tells nothing
            path = keys if keys[0] == "global" else (*prefix, *keys)
            self._read.add(path)
            if whole:
                self._whole.add(path)


def _keys(dots: str) -> Path:
    return tuple(dots.split(".")[1:]) if dots else ()


def _enter(blocks: list[list[str]], action: str) -> None:
    """Keep the conditions around: each block is a list of conditions that all hold in it."""
    word, _, rest = action.partition(" ")
    if word in ("if", "with"):
        blocks.append([rest.strip()])
    elif word in ("range", "define", "block"):
        blocks.append([])
    elif word == "else" and blocks:
        kind, _, condition = rest.strip().partition(" ")
        before = blocks[-1]
        blocks[-1] = [*before[:-1], *(f"not ({one})" for one in before[-1:])]
        if kind in ("if", "with"):
            blocks[-1].append(condition.strip())
    elif word == "end" and blocks:
        blocks.pop()


def _demands(prefix: Path, template: str, action: str, when: tuple[str, ...]) -> Iterator[Demand]:
    for match in _REQUIRED.finditer(action):
        yield Demand((*prefix, *_keys(match[3])), match[1] or match[2] or "", template, "required", when, prefix)
    for match in _PIPED.finditer(action):
        yield Demand((*prefix, *_keys(match[1])), match[2] or match[3] or "", template, "required", when, prefix)
    for match in _FAIL.finditer(action):
        message = match[1] or match[2] or ""
        wanted = [_keys(found[0] or found[1]) for found in _EMPTY.findall(when[-1])] if when else []
        for keys in wanted or [()]:
            yield Demand((*prefix, *keys) if keys else (), message, template, "fail", when, prefix)


def holds(condition: str, values: Mapping[str, Json], prefix: Path = ()) -> bool | None:
    """Whether a template's condition holds for these values; None when it is more than ``and or not eq ne empty default``."""
    tokens = _TOKEN.findall(condition)
    try:
        found, rest = _expression(tokens, values, prefix)
    except (_Unknown, IndexError, TypeError, RecursionError):
        return None
    return None if rest else bool(found)


class _Unknown(Exception):
    pass


def _expression(tokens: list[str], values: Mapping[str, Json], prefix: Path) -> tuple[Any, list[str]]:
    """One call with its arguments, up to the end or a closing parenthesis."""
    arguments: list[Any] = []
    name = tokens[0] if tokens and tokens[0] in _FUNCTIONS else ""
    rest = tokens[1:] if name else tokens
    while rest and rest[0] != ")":
        if rest[0] == "(":
            value, rest = _expression(rest[1:], values, prefix)
            if rest[:1] != [")"]:
                raise _Unknown
            rest = rest[1:]
        else:
            value, rest = _operand(rest[0], values, prefix), rest[1:]
        arguments.append(value)
    if not name and len(arguments) != 1:
        raise _Unknown
    return (_FUNCTIONS[name](arguments) if name else arguments[0]), rest


def _operand(token: str, values: Mapping[str, Json], prefix: Path) -> Any:
    if token.startswith('"'):
        return token[1:-1]
    if token in _TRUTHS:
        return _TRUTHS[token]
    if token.lstrip("-").isdigit():
        return int(token)
    match = re.fullmatch(r"\$?\.Values((?:\.\w+)+)", token)
    if not match:
        raise _Unknown
    keys = _keys(match[1])
    found = lookup(values, keys if keys[0] == "global" else (*prefix, *keys))
    return None if found is ABSENT else found


def _and(parts: list[Any]) -> Any:
    return next((part for part in parts if not part), parts[-1])


def _or(parts: list[Any]) -> Any:
    return next((part for part in parts if part), parts[-1])


_FUNCTIONS: Mapping[str, Any] = {
    "and": _and,
    "or": _or,
    "not": lambda parts: not parts[0],
    "empty": lambda parts: not parts[0],
    "eq": lambda parts: any(parts[0] == part for part in parts[1:]),
    "ne": lambda parts: parts[0] != parts[1],
    "default": lambda parts: parts[1] or parts[0],
    "has": lambda parts: parts[0] in parts[1],
    "list": list,
}
