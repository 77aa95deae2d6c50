"""Values as a text may show them: what ``bot.redaction`` hides is replaced by a mark that changes when the secret does.

The mark is made by the caller's keyed fingerprint function, so that it tells nothing to somebody without the key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from bot.diff.fields import Item, Steps
from bot.diff.values import ABSENT, Json
from bot.redaction import MASK, redact_values, secret_name

Fingerprint: TypeAlias = Callable[[str], str]
"""A keyed digest of a text (an HMAC), as short as the caller likes."""
LONGEST = 300


def masked(value: Json, fingerprint: Fingerprint, *, name: str = "") -> Json:
    """A copy of ``value`` as it may be shown. ``name`` is the key that it stands under."""
    if isinstance(value, dict):
        if value.get("kind") == "Secret" and ("data" in value or "stringData" in value):
            return {key: _secrets(key, item, fingerprint) for key, item in value.items()}
        named = _named(value)
        return {
            key: masked(item, fingerprint, name=named if key == "value" and named else str(key))
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [masked(item, fingerprint, name=name) for item in value]
    return _plain(value, fingerprint, name)


def _named(value: Mapping[str, Json]) -> str:
    """The name of a pair such as ``{name: DB_PASSWORD, value: …}``, where it is a secret's."""
    name = value.get("name")
    return name if isinstance(name, str) and "value" in value and secret_name(name) else ""


def _secrets(key: str, item: Json, fingerprint: Fingerprint) -> Json:
    return _data(item, fingerprint) if key in ("data", "stringData") else masked(item, fingerprint, name=key)


def _data(data: Json, fingerprint: Fingerprint) -> Json:
    if not isinstance(data, dict):
        return _mark(data, fingerprint)
    return {key: _mark(value, fingerprint) for key, value in data.items()}


def _plain(value: Json, fingerprint: Fingerprint, name: str) -> Json:
    shown = redact_values(value, name=name)
    if shown == value:
        return value
    if shown == MASK:
        return _mark(value, fingerprint)
    between = "\n" if "\n" in str(shown) else " "
    return f"{str(shown).rstrip()}{between}({fingerprint(str(value))}){between if between != ' ' else ''}"


def _mark(value: Json, fingerprint: Fingerprint) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return f"{MASK} ({fingerprint(text)})"


def shown(value: Json, steps: Steps, fingerprint: Fingerprint, *, kind: str = "") -> str:
    """One field's value in one line, at most 300 characters; ``kind`` is its object's."""
    if value is ABSENT:
        return "(not set)"
    names = [str(part) for step in steps for part in (step.at if isinstance(step, Item) else (step,))]
    if kind == "Secret" and names and names[0] in ("data", "stringData"):
        return json.dumps(
            _data(value, fingerprint) if len(names) == 1 else _mark(value, fingerprint), ensure_ascii=False
        )
    text = json.dumps(masked(value, fingerprint, name=_telling(names)), ensure_ascii=False, sort_keys=True, default=str)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 40]}… ({len(text) - LONGEST + 40} more characters)"


def _telling(names: Sequence[str]) -> str:
    """The name that says what a value is: the last one, or that of the pair whose ``value`` it is, or of a map of secrets."""
    if not names:
        return ""
    if names[-1] == "value" and len(names) > 1:
        return names[-2]
    if _points(names):
        return names[-1]
    return next((name for name in reversed(names) if secret_name(name)), names[-1])


def _points(names: Sequence[str]) -> bool:
    """Whether the path leads through a reference to a Secret (``valueFrom``, ``secretName``), whose parts are no secrets."""
    return any(
        name in ("valueFrom", "secretRef", "secretKeyRef", "volumes", "volumeMounts", "metadata") for name in names
    )
