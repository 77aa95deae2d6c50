"""What somebody changed in the cluster since the release was applied: the live object against the old manifest.

Only what the manifest sets is compared, so that the API server's defaults are no drift; what others added beside it counts
when the managed fields name them. Quantities and omitted empty values are read as the API server writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bot.diff.differences import FieldChange
from bot.diff.fields import SETS, Steps, canonical, equivalent, find, items, same
from bot.diff.noise import Folded, Noise
from bot.diff.owners import Ownership
from bot.diff.values import ABSENT, Json

_SKIPPED = frozenset({("apiVersion",), ("kind",), ("status",), ("metadata", "name"), ("metadata", "namespace")})
_TRUE_BY_DEFAULT = frozenset({"automountServiceAccountToken", "enableServiceLinks", "allowPrivilegeEscalation"})
_ADDABLE = frozenset({"spec", "data", "binaryData", "metadata", "webhooks", "rules", "subjects"})
_RESTARTED = "kubectl.kubernetes.io/restartedAt"


@dataclass(frozen=True)
class Drift:
    """Fields that the cluster has otherwise than the old manifest, and what of it is noise."""

    fields: tuple[FieldChange, ...] = ()
    folded: tuple[Folded, ...] = ()


def drifted(old: Json, live: Json, new: Json, *, autoscaled: bool = False) -> Drift:
    """Compare the ``live`` object with the ``old`` manifest. ``new`` only tells what an upgrade makes of each field
    (``ABSENT`` where there is no new manifest). ``autoscaled``: an autoscaler owns ``spec.replicas``.
    """
    ownership = Ownership(live)
    fields: list[FieldChange] = []
    folded: list[Folded] = []
    for steps, was, is_ in _drifted((), old, live, ownership):
        owners = ownership.of(steps)
        scaled = any(owner.controller and owner.subresource == "scale" for owner in owners)
        if steps == ("spec", "replicas") and (autoscaled or scaled):
            folded.append(Folded(steps, Noise.AUTOSCALED))
        elif steps[-1] == _RESTARTED:
            folded.append(Folded(steps, Noise.RESTARTED))
        elif steps[-1] == "caBundle":
            folded.append(Folded(steps, Noise.INJECTED))
        else:
            others = tuple(owner for owner in owners if not owner.helm)
            fields.append(FieldChange(steps, was, find(new, steps), is_, others or owners))
    return Drift(tuple(fields), tuple(folded))


def _drifted(steps: Steps, old: Json, live: Json, ownership: Ownership) -> Iterator[tuple[Steps, Json, Json]]:
    if steps in _SKIPPED:
        return
    if isinstance(old, dict) and isinstance(live, dict):
        for key in sorted(old, key=str):
            yield from _drifted((*steps, str(key)), old[key], live.get(key, ABSENT), ownership)
        if ownership:
            yield from _added(steps, old, live, ownership)
    elif isinstance(old, list) and isinstance(live, list):
        yield from _lists(steps, old, live, ownership)
    elif not same(old, live) and not _omitted(steps, old, live) and not equivalent(steps, old, live):
        yield steps, old, live


def _lists(steps: Steps, old: list[Json], live: list[Json], ownership: Ownership) -> Iterator[tuple[Steps, Json, Json]]:
    if old == live and repr(old) == repr(live):
        return
    name = next((step for step in reversed(steps) if isinstance(step, str)), "")
    keyed = items(old, live)
    if keyed is not None:
        was, is_ = keyed
        for item, value in was.items():
            yield from _drifted((*steps, item), value, is_.get(item, ABSENT), ownership)
        for item in is_:
            if item not in was and _by_others((*steps, item), ownership):
                yield (*steps, item), ABSENT, is_[item]
    elif len(old) == len(live) and all(isinstance(one, dict) for one in (*old, *live)):
        nobody = Ownership(None)
        if any(True for pair in zip(old, live, strict=True) for _ in _drifted(steps, *pair, nobody)):
            yield steps, old, live
    else:
        before, after = [canonical(one) for one in old], [canonical(one) for one in live]
        if before != after and not (name in SETS and sorted(before) == sorted(after)):
            yield steps, old, live


def _added(
    steps: Steps, old: Mapping[str, Json], live: Mapping[str, Json], ownership: Ownership
) -> Iterator[tuple[Steps, Json, Json]]:
    """Keys that stand beside ours and belong to others alone. Defaults do not: they belong to whoever wrote the object."""
    if not steps or steps[0] not in _ADDABLE or steps == ("metadata",):
        return
    for key in sorted(live.keys() - old.keys(), key=str):
        below = (*steps, str(key))
        if _by_others(below, ownership):
            yield below, ABSENT, live[key]


def _by_others(steps: Steps, ownership: Ownership) -> bool:
    owners = ownership.of(steps)
    return bool(owners) and not any(
        owner.helm or (owner.controller and owner.subresource != "scale") for owner in owners
    )


def _omitted(steps: Steps, old: Json, live: Json) -> bool:
    """Whether the API server leaves out what the manifest says because it is the zero of its type."""
    if live is not ABSENT and live is not None:
        return False
    if old is False:
        return steps[-1] not in _TRUE_BY_DEFAULT
    return old is ABSENT or old is None or old in ("", 0, {}, []) or _all_omitted(steps, old)


def _all_omitted(steps: Steps, old: Json) -> bool:
    return isinstance(old, dict) and all(_omitted((*steps, str(key)), value, ABSENT) for key, value in old.items())
