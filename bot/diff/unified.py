"""Differences as text: a unified diff of objects or values, and a line for each field, with every secret masked.

The order of maps and of named lists never shows. What is folded as noise is left out of the diff and told in one line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from bot.diff.fields import Item, items, without
from bot.diff.masking import Fingerprint, masked, shown
from bot.diff.noise import Noise, sentences
from bot.diff.objects import Kind, Live, ObjectChange, Pair, plain
from bot.diff.values import ABSENT, Json

_DROPPED = frozenset({Noise.LABELS, Noise.CHECKSUM, Noise.GENERATED})


def object_text(pair: Pair, change: ObjectChange, fingerprint: Fingerprint, *, lines: int = 3) -> str:
    """The unified diff of one object, old manifest against new one; empty when nothing but noise differs."""
    if change.change is Kind.UNCHANGED:
        return ""
    folded = [one.steps for one in change.noise if one.why in _DROPPED]
    old, new = plain(pair.old), plain(pair.new)
    if old is not None and new is not None:
        old, new = without(old, folded), without(new, folded)
        new = aligned(old, new)
    label = _label(change)
    return _diff(masked(old, fingerprint), masked(new, fingerprint), label, lines)


def values_text(
    old: Mapping[str, Json], new: Mapping[str, Json], fingerprint: Fingerprint, *, label: str = "values", lines: int = 3
) -> str:
    """The unified diff of two sets of values; empty when they are equal. Lists keep their order: it counts in values."""
    return _diff(masked(old, fingerprint), masked(new, fingerprint), label, lines)


def field_lines(change: ObjectChange, fingerprint: Fingerprint) -> list[str]:
    """``spec.replicas: 1 → 2``, a line a field; what the cluster has is added where it is neither."""
    kind = change.ref.kind
    said = []
    for one in change.fields:
        old, new = (shown(value, one.steps, fingerprint, kind=kind) for value in (one.old, one.new))
        apart = (
            change.live is Live.PRESENT and one.live is not ABSENT and any(one.steps == d.steps for d in change.drift)
        )
        live = f" (in the cluster: {shown(one.live, one.steps, fingerprint, kind=kind)})" if apart else ""
        stuck = " (cannot be changed in place)" if one.path in change.replaced else ""
        said.append(f"{one.path}: {old} → {new}{live}{stuck}")
    return said


def drift_lines(change: ObjectChange, fingerprint: Fingerprint) -> list[str]:
    """What was changed in the cluster since, by whom and when, and what the upgrade makes of it; a line a field."""
    if change.live is Live.MISSING and change.change is not Kind.CREATED:
        return ["is not in the cluster any more: somebody deleted it"]
    said = []
    for one in change.drift:
        old, live, new = (
            shown(part, one.steps, fingerprint, kind=change.ref.kind) for part in (one.old, one.live, one.new)
        )
        what = f"{one.path}: {live} was added" if one.old is ABSENT else f"{one.path}: {live} instead of {old}"
        others = [str(owner) for owner in one.owners if not owner.helm]
        who = (
            f", by {others[0]}"
            if others
            else ", changed while Helm applied it"
            if one.owners and one.live is not ABSENT
            else ""
        )
        then = "" if one.old is ABSENT or change.change is Kind.REMOVED else f"; the upgrade says {new}"
        said.append(f"{what}{who}{then}")
    return said


def noise_lines(changes: Iterable[ObjectChange]) -> list[str]:
    """What is folded over all of these objects."""
    return sentences((str(change.ref), change.noise) for change in changes)


def aligned(old: Json, new: Json) -> Json:
    """``new`` with the items of its named lists in the order of ``old``'s, new ones last."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: aligned(old[key], value) if key in old else value for key, value in new.items()}
    if isinstance(old, list) and isinstance(new, list) and (keyed := items(old, new)):
        was, now = keyed
        order: list[Item] = [*(item for item in was if item in now), *(item for item in now if item not in was)]
        return [aligned(was[item], now[item]) if item in was else now[item] for item in order]
    return new


def _label(change: ObjectChange) -> str:
    said = {
        Kind.REPLACED: " (must be deleted and created again)",
        Kind.REMOVED: " (stays, by its keep policy)" if change.kept else "",
    }
    return f"{change.ref}{said.get(change.change, '')}"


def _diff(old: Json, new: Json, label: str, lines: int) -> str:
    was, now = _yaml(old), _yaml(new)
    text = difflib.unified_diff(was, now, f"{label} now", f"{label} then", lineterm="", n=lines)
    return "\n".join(text)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Texts of several lines as blocks, so that a diff shows the line that differs; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(value: Json) -> list[str]:
    if value is None or value == {}:
        return []
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=True, width=200, allow_unicode=True)).splitlines()
