"""Expressions in runbooks: ``{{ plan.no_database }}``, over ``inputs``, ``plan`` and ``outcomes`` and nothing else.

Jinja2's grammar, cut down before anything is compiled: reading, comparing, joining. There are no calls, no loops, no
multiplication and no attributes but a mapping's keys, so an expression ends soon and cannot grow beyond its inputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

SCOPE = ("inputs", "plan", "outcomes")
LONGEST_SOURCE = 2_000  # characters
LONGEST_RESULT = 20_000  # characters
DEEPEST = 40

_GRAMMAR: tuple[type[nodes.Node], ...] = (
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.List,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.CondExpr,
    nodes.Concat,
    nodes.Add,
    nodes.Sub,
    nodes.Filter,
    nodes.Test,
    nodes.Output,
    nodes.TemplateData,
)
_TESTS = frozenset({"defined", "undefined", "none", "true", "false", "eq", "ne", "string", "number", "in"})
_WHOLE = re.compile(r"\s*\{\{(?P<source>.*)\}\}\s*", re.DOTALL)


class BadExpression(ValueError):
    """The expression cannot be read, is not allowed, or gave nothing usable. The text says which and why."""


def _join(value: Any, separator: str = "") -> str:
    parts = [str(part) for part in value]
    if sum(map(len, parts)) + len(separator) * len(parts) > LONGEST_RESULT:
        raise BadExpression(f"gives more than {LONGEST_RESULT:,} characters")
    return separator.join(parts)


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2 in which a dot reads a key of a mapping, never an attribute of a Python object."""

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True)
        self.globals.clear()
        builtin = {name: self.filters[name] for name in ("default", "length", "lower", "upper", "trim", "int")}
        self.filters = {**builtin, "join": _join}
        self.tests = {name: test for name, test in self.tests.items() if name in _TESTS}

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, StrictUndefined):
            return obj  # the first thing that is missing is the one to name
        if isinstance(obj, Mapping) and argument in obj:
            return obj[argument]
        if isinstance(obj, list | tuple) and isinstance(argument, int) and -len(obj) <= argument < len(obj):
            return obj[argument]
        there = f"; there are {', '.join(sorted(map(str, obj))[:20])}" if isinstance(obj, Mapping) and obj else ""
        return self.undefined(hint=f"there is no {argument!r}{there}")


@dataclass(frozen=True)
class Expression:
    """One text with expressions in it, checked; a text that is one expression gives that expression's own type."""

    text: str
    names: frozenset[tuple[str, str]]
    """What it reads of the scope: ``("plan", "no_database")``."""

    @classmethod
    def of(cls, text: str) -> Expression:
        """Reads ``text``. Raises ``BadExpression``."""
        tree = _tree(text)
        return cls(text, frozenset(_names(tree)))

    def value(self, scope: Mapping[str, Any]) -> Any:
        """The value in ``scope``. Raises ``BadExpression`` when something it reads is not there or does not fit."""
        environment = _Environment()
        given = {name: scope.get(name, {}) for name in SCOPE}
        try:
            if (source := _whole(self.text)) is not None:
                found = environment.compile_expression(source, undefined_to_none=False)(given)
            else:
                found = environment.from_string(self.text).render(given)
        except BadExpression:
            raise
        except (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise BadExpression(str(error)) from error
        if isinstance(found, StrictUndefined):
            raise BadExpression(_missing(found))
        if isinstance(found, str) and len(found) > LONGEST_RESULT:
            raise BadExpression(f"gives more than {LONGEST_RESULT:,} characters")
        return found

    def truth(self, scope: Mapping[str, Any]) -> bool:
        """As ``value``, but only true and false will do: a text such as ``"false"`` would otherwise count as true."""
        found = self.value(scope)
        if not isinstance(found, bool):
            raise BadExpression(f"gives {found!r:.80}, where true or false is needed")
        return found


def has_expression(text: str) -> bool:
    """Whether ``text`` has anything for Jinja2 in it."""
    return any(mark in text for mark in ("{{", "{%", "{#"))


def _missing(undefined: StrictUndefined) -> str:
    try:
        str(undefined)
    except TemplateError as error:
        return str(error)
    return "reads something that is not there"


def _whole(text: str) -> str | None:
    """The source, if the text is exactly one expression."""
    match = _WHOLE.fullmatch(text)
    if match is None:
        return None
    body = _Environment().parse(text.strip()).body
    outputs = body[0].nodes if len(body) == 1 and isinstance(body[0], nodes.Output) else []
    if len(outputs) != 1 or isinstance(outputs[0], nodes.TemplateData):
        return None
    return match["source"].strip().strip("-+").strip() if match["source"].strip() else None


def _tree(text: str) -> nodes.Template:
    if len(text) > LONGEST_SOURCE:
        raise BadExpression(f"is longer than {LONGEST_SOURCE:,} characters")
    environment = _Environment()
    try:
        tree = environment.parse(text)
        _check(tree, environment, 0)
    except TemplateError as error:
        raise BadExpression(error.message or "is not an expression") from error
    except RecursionError as error:
        raise BadExpression("is nested too deeply") from error
    return tree


def _check(node: nodes.Node, environment: _Environment, depth: int) -> None:
    if depth > DEEPEST:
        raise BadExpression("is nested too deeply")
    for child in node.iter_child_nodes():
        if not isinstance(child, _GRAMMAR):
            raise BadExpression(f"uses {type(child).__name__.lower()}, which is not allowed in a runbook")
        if isinstance(child, nodes.Name) and child.name not in SCOPE:
            raise BadExpression(f"reads {child.name!r}; there are only {', '.join(SCOPE)}")
        if isinstance(child, nodes.Filter) and child.name not in environment.filters:
            raise BadExpression(f"uses the filter {child.name!r}; there are {', '.join(sorted(environment.filters))}")
        if isinstance(child, nodes.Test) and child.name not in environment.tests:
            raise BadExpression(f"uses the test {child.name!r}; there are {', '.join(sorted(environment.tests))}")
        _check(child, environment, depth + 1)


def _names(tree: nodes.Template) -> Iterator[tuple[str, str]]:
    for read in tree.find_all(nodes.Getattr):
        if isinstance(read.node, nodes.Name):
            yield read.node.name, read.attr
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.node, nodes.Name) and isinstance(item.arg, nodes.Const):
            yield item.node.name, str(item.arg.value)
