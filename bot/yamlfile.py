"""YAML as this project reads it: safe, without duplicate keys or aliases, and knowing where each value stands.

Configuration, runbooks and migration notes are checked by pydantic, whose errors name a field by its path.
``Document.place`` turns such a path back into the file and line that a person has to edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from bot.errors import UserMistake

Model = TypeVar("Model", bound=BaseModel)
_LIMIT = 1_000_000  # characters; a runbook or a configuration is a few thousand


@dataclass(frozen=True)
class Document:
    """One parsed YAML text. ``name`` is what errors call it, usually the file's path."""

    name: str
    data: Any
    root: yaml.Node | None

    def place(self, path: Sequence[int | str]) -> str:
        """``NAME:LINE`` of the value at ``path``, or of the nearest enclosing one that exists."""
        node, line = self.root, 1
        for key in path:
            if node is not None:
                line = node.start_mark.line + 1
            node = _child(node, key)
        if node is not None:
            line = node.start_mark.line + 1
        return f"{self.name}:{line}"


def parse(text: str, *, name: str) -> Document:
    """Parses ``text``; raises ``UserMistake`` with file and line for anything that is not plain, unambiguous YAML."""
    if len(text) > _LIMIT:
        raise UserMistake(f"{name} is larger than {_LIMIT:,} characters.", way_out="Split it.")
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AliasToken):
                raise UserMistake(f"{name}:{token.start_mark.line + 1}: YAML aliases are not used here.")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_duplicates(root, name)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserMistake(f"{name}:{line}: not valid YAML: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise UserMistake(f"{name}: not valid YAML: {error}.") from error
    return Document(name=name, data=data, root=root)


def validate(document: Document, model: type[Model]) -> Model:
    """The document as ``model``; raises ``UserMistake`` that lists every wrong field with its line."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise UserMistake("\n".join(explain(document, error))) from error


def explain(document: Document, error: ValidationError) -> list[str]:
    """One line for each problem: ``FILE:LINE: field.path: what is wrong``."""
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        path = [part for part in problem["loc"] if _child_exists(document.root, problem["loc"], part)]
        field = ".".join(str(part) for part in problem["loc"]) or "(the whole file)"
        said = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            said = "unknown key"
        lines.append(f"{document.place(path)}: {field}: {said}")
    return lines


def _child(node: yaml.Node | None, key: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == str(key)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        child: yaml.Node = node.value[key]
        return child
    return None


def _child_exists(root: yaml.Node | None, path: Sequence[int | str], part: int | str) -> bool:
    # pydantic puts the names of union members and validators into the path; those are not in the file.
    node = root
    for key in path:
        child = _child(node, key)
        if key == part:
            return child is not None
        node = child if child is not None else node
    return False


def _refuse_duplicates(node: yaml.Node | None, name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise UserMistake(f"{name}:{key.start_mark.line + 1}: {key.value!r} is written twice.")
            seen.add(key.value)
            _refuse_duplicates(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, name)
