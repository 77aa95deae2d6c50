"""Two objects of one manifest and the next, field by field: what differs, and what of it is noise.

A list whose items have names is compared by them. Pure functions over JSON; values are never printed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bot.diff.fields import ORDERED, SETS, Item, Steps, canonical, equivalent, items, same, written
from bot.diff.noise import Noise, judged
from bot.diff.owners import Owner
from bot.diff.values import ABSENT, Json

_SPREAD = frozenset({"annotations", "labels", "data", "stringData", "binaryData", "metadata"})
"""Maps that are told key by key even when the whole of them comes or goes."""


@dataclass(frozen=True)
class FieldChange:
    """One field: what the old manifest says, the new one, and the cluster; ``ABSENT`` where one says nothing.

    ``owners`` are the field managers that own it in the cluster, newest first: only filled where it drifted.
    """

    steps: Steps
    old: Json = field(repr=False)
    new: Json = field(repr=False)
    live: Json = field(default=ABSENT, repr=False)
    owners: tuple[Owner, ...] = ()

    @property
    def path(self) -> str:
        return written(self.steps)


@dataclass(frozen=True)
class Difference:
    """Two values that are not the same at ``steps``; ``noise`` says why nobody needs to read it, if so."""

    steps: Steps
    old: Json = field(repr=False)
    new: Json = field(repr=False)
    noise: Noise | None = None


def differences(old: Json, new: Json, steps: Steps = (), *, ordered: bool = False) -> Iterator[Difference]:
    """What differs, in the order of the paths. With ``ordered`` (custom resources, whose lists we do not know) another order
    of a list counts as a change and not as noise.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys(), key=str):
            was, now = old.get(key, ABSENT), new.get(key, ABSENT)
            if was is not now:
                yield from differences(was, now, (*steps, str(key)), ordered=ordered)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(old, new, steps, ordered=ordered)
    elif _spread(old, new, steps):
        was, now = (part if isinstance(part, dict) else {} for part in (old, new))
        yield from differences(was, now, steps, ordered=ordered)
    elif not same(old, new):
        noise = Noise.SPELLING if equivalent(steps, old, new) else judged(steps)
        yield Difference(steps, old, new, noise)


def _spread(old: Json, new: Json, steps: Steps) -> bool:
    """Whether a map against nothing is told key by key."""
    if not steps or steps[-1] not in _SPREAD:
        return False
    one, other = (new, old) if old is ABSENT or old is None else (old, new)
    return isinstance(one, dict) and bool(one) and (other is ABSENT or other is None)


def _lists(old: list[Json], new: list[Json], steps: Steps, *, ordered: bool) -> Iterator[Difference]:
    if old == new and repr(old) == repr(new):  # the second, because 1 == True
        return
    name = _name(steps)
    keyed = items(old, new)
    if keyed is not None:
        was, now = keyed
        for item in [*was, *(item for item in now if item not in was)]:
            yield from differences(was.get(item, ABSENT), now.get(item, ABSENT), (*steps, item), ordered=ordered)
        kept_old, kept_new = [i for i in was if i in now], [i for i in now if i in was]
        if kept_old != kept_new:
            meant = ordered or name in ORDERED
            yield Difference(steps, _names(kept_old), _names(kept_new), None if meant else Noise.ORDER)
    elif all(isinstance(item, dict) for item in (*old, *new)):
        yield from _unnamed(old, new, steps, ordered=ordered)
    else:
        before, after = [canonical(item) for item in old], [canonical(item) for item in new]
        if before != after:
            shuffled = name in SETS and not ordered and sorted(before) == sorted(after)
            yield Difference(steps, old, new, Noise.ORDER if shuffled else judged(steps))


def _unnamed(old: list[Json], new: list[Json], steps: Steps, *, ordered: bool) -> Iterator[Difference]:
    """Items that have no name: equal ones are paired wherever they stand, the rest in their order."""
    left, right = _rest(old, new), _rest(new, old)
    if not left and not right:
        if [canonical(item) for item in old] != [canonical(item) for item in new]:
            yield Difference(steps, old, new, None if ordered else Noise.ORDER)
        return
    for at in range(max(len(left), len(right))):
        was = left[at] if at < len(left) else (-1, ABSENT)
        now = right[at] if at < len(right) else (-1, ABSENT)
        place = Item((), (was[0] if was[0] >= 0 else now[0],))
        yield from differences(was[1], now[1], (*steps, place), ordered=ordered)


def _rest(mine: Sequence[Json], others: Sequence[Json]) -> list[tuple[int, Json]]:
    """The items, with their numbers, that are not among the others; counted, so that two of a kind need two."""
    spare: dict[str, int] = {}
    for item in others:
        spare[canonical(item)] = spare.get(canonical(item), 0) + 1
    rest = []
    for number, item in enumerate(mine):
        text = canonical(item)
        if spare.get(text, 0):
            spare[text] -= 1
        else:
            rest.append((number, item))
    return rest


def _name(steps: Steps) -> str:
    return next((step for step in reversed(steps) if isinstance(step, str)), "")


def _names(found: Sequence[Item]) -> list[str]:
    return [str(item)[1:-1] for item in found]
