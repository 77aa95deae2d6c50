"""What a chart draws anew each time it is rendered: passwords, certificates, random names, the time.

Found by comparing two renderings with the same values. A date is the same in both, and so is looked for by itself. What is
drawn is no change that anybody made, and an approval cannot be bound to it. Pure functions.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from bot.diff.differences import differences
from bot.diff.fields import Item, Steps, items
from bot.diff.objects import key_of, plain
from bot.diff.values import Json
from bot.kube.objects import ObjectRef, ref_of

Drawn: TypeAlias = Mapping[ObjectRef, frozenset[Steps]]
"""The paths that are drawn, by the object of the first rendering."""
NAME: Steps = ("metadata", "name")
_CERTIFICATE = re.compile(r"\.(crt|cer|pem|p12|jks)$|^ca(\.|$|-)|caBundle|^tls\.key$")


def drawn(first: Sequence[Json], second: Sequence[Json], *, namespace: str) -> Drawn:
    """Where two renderings differ. Objects whose very name is drawn are matched by kind, in their order."""
    found: dict[ObjectRef, frozenset[Steps]] = {}
    for one, other in _matched(first, second, namespace):
        steps = frozenset(each.steps for each in differences(plain(one), plain(other), ordered=True))
        if steps:
            found[ref_of(one, namespace)] = steps
    return found


def clocked(objects: Iterable[Json], now: datetime, *, namespace: str) -> Drawn:
    """Values that have the day or the time of ``now`` in them, for charts whose templates ask for the time."""
    moment = _Moment(now)
    found: dict[ObjectRef, frozenset[Steps]] = {}
    for obj in objects:
        steps = frozenset(at for at, text in _texts((), plain(obj), secret=obj.get("kind") == "Secret") if moment(text))
        if steps:
            found[ref_of(obj, namespace)] = steps
    return found


def together(one: Drawn, other: Drawn) -> Drawn:
    """Both."""
    return {ref: one.get(ref, frozenset()) | other.get(ref, frozenset()) for ref in one.keys() | other.keys()}


def same_as_before(old: Iterable[Json], new: Iterable[Json], *, namespace: str) -> bool:
    """Whether each of these new objects is in the old manifest with nothing but noise between: then nothing in it was drawn,
    since what is drawn does not come twice.
    """
    before = {key_of(obj, namespace): obj for obj in old}
    return all(
        (was := before.get(key_of(obj, namespace))) is not None
        and all(one.noise is not None for one in differences(plain(was), plain(obj), ordered=True))
        for obj in new
    )


def credentials(ref: ObjectRef, steps: Iterable[Steps]) -> tuple[str, ...]:
    """The keys of a Secret that are drawn and are no certificates: those somebody may be logged in with."""
    keys = {str(one[1]) for one in steps if ref.kind == "Secret" and len(one) > 1 and one[0] == "data"}
    return tuple(sorted(key for key in keys if not _CERTIFICATE.search(key)))


def _matched(first: Sequence[Json], second: Sequence[Json], namespace: str) -> Iterator[tuple[Json, Json]]:
    after = {key_of(obj, namespace): obj for obj in second}
    before = {key_of(obj, namespace) for obj in first}
    spare: dict[tuple[str, ...], list[Json]] = {}
    for key, obj in after.items():
        if key not in before:
            spare.setdefault(key[:3], []).append(obj)
    for obj in first:
        key = key_of(obj, namespace)
        if key in after:
            yield obj, after[key]
        elif others := spare.get(key[:3]):
            yield obj, others.pop(0)


def _texts(steps: Steps, value: Json, *, secret: bool) -> Iterator[tuple[Steps, str]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _texts((*steps, str(key)), below, secret=secret)
    elif isinstance(value, list):
        keyed = items(value)
        named = keyed[0].items() if keyed else ((Item((), (number,)), below) for number, below in enumerate(value))
        for item, below in named:
            yield from _texts((*steps, item), below, secret=secret)
    elif isinstance(value, str) and value:
        yield steps, _decoded(value) if secret and steps[0] == "data" else value


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        return text


class _Moment:
    """Whether a text has the day of ``now`` in it (or the one beside, for other time zones), or its seconds since 1970."""

    def __init__(self, now: datetime) -> None:
        at = now.astimezone(UTC)
        days = [at + timedelta(days=off) for off in (-1, 0, 1)]
        self._days = tuple(
            day.strftime(form) for day in days for form in ("%Y-%m-%d", "%Y%m%d", "%d %b %y", "%b %d %Y")
        )
        self._now = at.timestamp()

    def __call__(self, text: str) -> bool:
        if any(day in text for day in self._days):
            return True
        return any(
            abs(int(digits) / 1000 ** ((len(digits) - 10) // 3) - self._now) < 86_400
            for digits in re.findall(r"(?<!\d)(?:\d{10}|\d{13}|\d{19})(?!\d)", text)
        )
