"""YAML as Helm reads it, from people we do not know: bounded in size, depth and growth.

PyYAML's rules differ from Go's (measured with Helm 4.3.1): here ``y`` is true, ``22:22`` is not a number in
base 60, a date is a string, and ``1e3`` is a number. Aliases may not blow a document up, and a key that
stands twice is refused where Helm refuses it (Chart.yaml, index.yaml).
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from bot.errors import Permanent

MOST_NODES = 2_000_000
MOST_MERGED = 20_000


class _Loader(yaml.CSafeLoader):
    """The safe loader with Go's scalars and a bound on merge keys."""

    unique_keys = False

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if self.unique_keys:
            _check_unique(node)
        super().flatten_mapping(node)
        if len(node.value) > MOST_MERGED:
            raise yaml.constructor.ConstructorError(None, None, "merge keys make too many entries", node.start_mark)

    def construct_yaml_bool(self, node: yaml.ScalarNode) -> bool:
        return self.construct_scalar(node).lower() in {"y", "yes", "true", "on"}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Keys are strings, as they are in Helm: ``on:`` becomes ``"true"``, ``1:`` becomes ``"1"``."""
        mapping = super().construct_mapping(node, deep=deep)
        if all(isinstance(key, str) for key in mapping):
            return mapping
        return {key if isinstance(key, str) else json.dumps(key): value for key, value in mapping.items()}


_Loader.add_constructor("tag:yaml.org,2002:bool", _Loader.construct_yaml_bool)


class _StrictLoader(_Loader):
    unique_keys = True


def _check_unique(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)


_INT = re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0o[0-7_]+|0[0-7_]*|[1-9][0-9_]*)$")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
)
_BOOL = re.compile(r"(?:[yYnN]|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$")
_REPLACED = {
    "tag:yaml.org,2002:bool",
    "tag:yaml.org,2002:int",
    "tag:yaml.org,2002:float",
    "tag:yaml.org,2002:timestamp",
}


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    resolvers = {
        first: [pair for pair in pairs if pair[0] not in _REPLACED]
        for first, pairs in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }
    for tag, pattern, firsts in (
        ("tag:yaml.org,2002:bool", _BOOL, "yYnNtTfFoO"),
        ("tag:yaml.org,2002:int", _INT, "-+0123456789"),
        ("tag:yaml.org,2002:float", _FLOAT, "-+.0123456789"),
    ):
        for first in firsts:
            resolvers.setdefault(first, []).append((tag, pattern))
    return resolvers


_Loader.yaml_implicit_resolvers = _resolvers()


def load_yaml(text: str | bytes, *, what: str, unique_keys: bool = False) -> Any:
    """One document. ``what`` names it in the error.

    Raises `Permanent` with line and column when it is not YAML, holds a key twice (with ``unique_keys``) or
    unfolds to more than two million nodes.
    """
    return (load_all(text, what=what, unique_keys=unique_keys) or [None])[0]


def load_all(text: str | bytes, *, what: str, unique_keys: bool = False) -> list[Any]:
    """All documents of a stream, under the same conditions as `load_yaml`."""
    try:
        documents = list(yaml.load_all(text, Loader=_StrictLoader if unique_keys else _Loader))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Permanent(f"{what} is not valid YAML: {_sentence(error)}.") from error
    if _unfolded(documents) > MOST_NODES:
        raise Permanent(f"{what} unfolds to more than {MOST_NODES:,} values and is not read.")
    return documents


def load_mapping(text: str | bytes, *, what: str, unique_keys: bool = False) -> dict[str, Any]:
    """One document that is a mapping, or empty. Raises `Permanent`."""
    value = load_yaml(text, what=what, unique_keys=unique_keys)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Permanent(f"{what} is a {type(value).__name__}, not a mapping.")
    return value


def _sentence(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split()) or type(error).__name__


def _unfolded(root: Any) -> int:
    """The number of nodes if every alias were written out, counted without writing them out; an alias to
    itself is endless.
    """
    sizes: dict[int, int] = {}
    stack: list[tuple[Any, bool]] = [(root, False)]
    open_nodes: set[int] = set()
    while stack:
        node, children_done = stack.pop()
        if not isinstance(node, dict | list):
            continue
        children = list(node.values()) if isinstance(node, dict) else node
        if children_done:
            sizes[id(node)] = 1 + sum(sizes.get(id(c), 1) if isinstance(c, dict | list) else 1 for c in children)
            open_nodes.discard(id(node))
        elif id(node) in open_nodes:
            return MOST_NODES + 1
        elif id(node) not in sizes:
            open_nodes.add(id(node))
            stack.append((node, True))
            stack.extend((child, False) for child in children if isinstance(child, dict | list))
    return sizes.get(id(root), 1)
