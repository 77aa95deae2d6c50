"""The values that a chart misses, as fields of a dialog and back as values. Pure.

A secret is never taken here, however it is written: what looks like one is refused, and where one is wanted the dialog asks
for the name and the key of a Secret, which go where the chart takes these. Where it takes none, nothing is asked.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot import yamlfile
from bot.errors import UserMistake
from bot.redaction import redact, redact_values, secret_name
from bot.slack.limits import INPUT_TEXT, OPTIONS
from bot.slack.markup import cut
from bot.slack.modal import Field

Json = Any
MOST = 30
"""Fields in one dialog; what is left is asked for by the next plan."""
NOT_TAKEN = (
    "This looks like a secret, and secrets are not typed into Slack. Put it into a Secret in the release's namespace; "
    "only that Secret's name and key belong here."
)
_SECRET_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_SECRET_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}")
_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
_SAID = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "YAML, keys and values",
    "array": "YAML, a list",
}


class Wrong(ValueError):
    """What was given for one field cannot be taken; the text says why."""


@dataclass(frozen=True)
class Missing:
    """One value that the plan misses, as ``plan.facts["missing_values"]`` tells it."""

    path: str
    type: str
    why: str
    template: str
    enum: tuple[Json, ...]
    default: Json
    secret: bool
    minimum: float | None
    maximum: float | None
    name_at: str = ""
    key_at: str = ""

    @classmethod
    def of(cls, told: Mapping[str, Json]) -> Missing:
        path = str(told["path"])
        name = path.rpartition(".")[2]
        reference = told.get("reference") or {}
        return cls(
            path=path,
            type=str(told.get("type") or "string"),
            why=str(told.get("why") or ""),
            template=str(told.get("template") or ""),
            enum=tuple(told.get("enum") or ()),
            default=told.get("default"),
            secret=bool(told.get("secret")) or secret_name(name),
            minimum=told.get("minimum"),
            maximum=told.get("maximum"),
            name_at=str(reference.get("name") or ""),
            key_at=str(reference.get("key") or ""),
        )

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def askable(self) -> bool:
        """Whether it can be supplied at all: a secret only by the name of a Secret, where the chart takes one."""
        return not self.secret or bool(self.name_at)


def missing_values(facts: Mapping[str, Json]) -> list[Missing]:
    """What a dialog can ask for, in the plan's order; at most ``MOST``."""
    return [Missing.of(told) for told in (facts.get("missing_values") or ())[:MOST]]


def fields(missing: Sequence[Missing]) -> list[Field]:
    """A field each; for a secret the name of a Secret, and the key in it unless the chart has a fixed one."""
    return [field for number, one in enumerate(missing) if one.askable for field in _fields(one, f"value-{number}")]


def read(missing: Sequence[Missing], given: Mapping[str, str]) -> tuple[dict[str, Json], dict[str, str]]:
    """The values by dotted path, and what is wrong by field id; the values count only when nothing is wrong."""
    values: dict[str, Json] = {}
    problems: dict[str, str] = {}
    for number, one in enumerate(missing):
        field = f"value-{number}"
        if not one.askable:
            continue
        if one.secret:
            name, key = given.get(field, "").strip(), given.get(f"{field}-key", "").strip()
            if not _SECRET_NAME.fullmatch(name) or redact(name) != name:
                problems[field] = NOT_TAKEN if name else "The Secret's name is missing."
            values[one.name_at] = name
            if not one.key_at:
                continue
            if not _SECRET_KEY.fullmatch(key) or redact(key) != key:
                problems[f"{field}-key"] = NOT_TAKEN if key else "The key inside the Secret is missing."
            values[one.key_at] = key
            continue
        try:
            values[one.path] = _value(one, given.get(field, ""))
        except Wrong as wrong:
            problems[field] = str(wrong)
    return values, problems


# -- fields -------------------------------------------------------------------------------------------------


def _fields(one: Missing, field: str) -> list[Field]:
    hint = cut(one.why, 400) + (f" ({one.template})" if one.template else "")
    if one.secret:
        hint = f"{hint} The secret itself is not taken here, only where it is kept.".strip()
        name = Field(field, f"{one.path}: name of the Secret", f"{hint} It goes to {one.name_at}.", longest=253)
        key = Field(f"{field}-key", f"{one.path}: key inside the Secret", f"It goes to {one.key_at}.", longest=253)
        return [name, key] if one.key_at else [name]
    label = f"{one.path} ({_SAID[one.type]})" if one.type in _SAID and not one.enum else one.path
    if choices := _choices(one):
        return [Field(field, label, hint, kind="choice", choices=choices, initial=_shown(one))]
    if one.type in ("integer", "number"):
        kind = "integer" if one.type == "integer" else "decimal"
        return [Field(field, label, hint, kind, initial=_shown(one), least=one.minimum, most=one.maximum)]  # type: ignore[arg-type]
    return [Field(field, label, hint, "text" if one.type in ("object", "array") else "line", initial=_shown(one))]


def _choices(one: Missing) -> tuple[str, ...]:
    options = (True, False) if one.type == "boolean" and not one.enum else one.enum
    return tuple(_text(option) for option in options) if len(options) <= OPTIONS else ()


def _shown(one: Missing) -> str | None:
    """What stands in the field at first: the default, unless it is none or would not fit."""
    if one.default is None or redact_values({one.name: one.default}) != {one.name: one.default}:
        return None
    shown = _text(one.default)
    return shown if 0 < len(shown) <= INPUT_TEXT else None


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)  # JSON is YAML too


# -- values -------------------------------------------------------------------------------------------------


def _value(one: Missing, text: str) -> Json:
    if not text.strip():
        raise Wrong("A value is needed here.")
    if one.enum or one.type == "boolean":
        value = _chosen(one, text)
    elif one.type == "integer":
        if not _WHOLE.fullmatch(text.strip()):
            raise Wrong("This is not a whole number.")
        value = _within(one, int(text))
    elif one.type == "number":
        value = _within(one, _number(text.strip()))
    elif one.type in ("object", "array"):
        value = _yaml(one, text)
    else:
        value = text.strip()
    if redact_values({one.name: value}) != {one.name: value}:
        raise Wrong(NOT_TAKEN)
    return value


def _chosen(one: Missing, text: str) -> Json:
    options = one.enum or (True, False)
    if len(options) <= OPTIONS:
        if not text.isdecimal() or int(text) >= len(options):
            raise Wrong("This is none of the choices.")
        return options[int(text)]
    found = [option for option in options if _text(option) == text.strip()]
    if not found:
        raise Wrong(f"This is none of the {len(options)} values that the chart takes.")
    return found[0]


def _number(text: str) -> float | int:
    try:
        value = float(text)
    except ValueError:
        raise Wrong("This is not a number.") from None
    if not math.isfinite(value):
        raise Wrong("This is not a number that YAML and JSON share.")
    return int(text) if _WHOLE.fullmatch(text) else value


def _within(one: Missing, value: float | int) -> float | int:
    if one.minimum is not None and value < one.minimum:
        raise Wrong(f"The smallest that the chart takes is {one.minimum:g}.")
    if one.maximum is not None and value > one.maximum:
        raise Wrong(f"The largest that the chart takes is {one.maximum:g}.")
    return value


def _yaml(one: Missing, text: str) -> Json:
    try:
        value = yamlfile.parse(text, name="line").data
        json.dumps(value, allow_nan=False)
    except UserMistake as mistake:
        raise Wrong(cut(mistake.message, 200)) from None
    except RecursionError:
        raise Wrong("This is nested too deeply.") from None
    except (TypeError, ValueError):
        raise Wrong("Dates and other things that JSON lacks go into quotes.") from None
    wanted: type = dict if one.type == "object" else list
    if not isinstance(value, wanted):
        example = "key: value" if wanted is dict else "- first"
        raise Wrong(f"This is no {'set of keys' if wanted is dict else 'list'}; write lines like “{example}”.")
    return value
