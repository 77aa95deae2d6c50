"""What a look at a restored database says beside a look at the one that it was restored from. Pure.

Rows written after the recovery point are in the old one only: that is what was asked for, so it is told and is no failure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bot.probe.result import Migration, ProbeResult
from runbooks.text import counted, listed

MIGRATIONS = "_aeterna_migrations"
NAMED = 3
"""Tables named in the sentence; the thread has all of them."""


class Verdict(StrEnum):
    """What it comes to."""

    SAME = "same"
    DIFFERS = "differs"
    BAD = "bad"


@dataclass(frozen=True)
class Judged:
    """``said`` is for the card, a sentence each; ``lines`` is every table with both counts, for the thread."""

    verdict: Verdict
    said: tuple[str, ...]
    lines: tuple[str, ...]


def judged(new: ProbeResult, old: ProbeResult | None, *, old_name: str, point: str) -> Judged:
    """``old`` None: it could not be looked at. ``point`` is the moment whose data was restored, as text."""
    lines = tuple(_lines(new, old, old_name))
    if not new.counts:
        return Judged(Verdict.BAD, ("It has no tables at all.",), lines)
    if new.newest_migration is None and (old is None or old.newest_migration is not None):
        return Judged(Verdict.BAD, (f"It has no {MIGRATIONS}, so this is not Aeterna's database.",), lines)
    said = [f"{new.product} {new.version}, {_migration(new.newest_migration)}, {_size(new)}."]
    if old is None:
        return Judged(Verdict.DIFFERS, tuple(said), lines)
    missing = [name for name in old.rows if name not in new.rows and not _untold(new, name)]
    if missing and _migration(new.newest_migration) == _migration(old.newest_migration):
        told = (
            f"{counted(len(missing), 'table')} of {old_name} missing, and no migration explains it: {listed(missing)}."
        )
        return Judged(Verdict.BAD, (*said, told), lines)
    differs = list(_differences(new, old, old_name, missing=missing, point=point))
    if not differs:
        return Judged(Verdict.SAME, (*said, f"Its rows are those of {old_name}, table by table."), lines)
    return Judged(Verdict.DIFFERS, (*said, *differs), lines)


def _differences(new: ProbeResult, old: ProbeResult, old_name: str, *, missing: list[str], point: str) -> Iterable[str]:
    if new.version.partition(".")[0] != old.version.partition(".")[0]:
        yield f"{old_name} is {old.product} {old.version}."
    if _migration(new.newest_migration) != _migration(old.newest_migration):
        more = f"; {listed(missing)} came with it" if missing else ""
        yield f"{old_name} has {_migration(old.newest_migration)}{more}."
    both = [name for name in old.rows if name in new.rows and name not in new.estimated | old.estimated]
    apart = {name: new.rows[name] - old.rows[name] for name in both if name != MIGRATIONS}
    fewer = {name: -number for name, number in apart.items() if number < 0}
    more_rows = {name: number for name, number in apart.items() if number > 0}
    if fewer:
        yield (
            f"{counted(sum(fewer.values()), 'row')} fewer than {old_name} ({_named(fewer, '−')}): what was written after "
            f"{point} is not in it, as expected."
        )
    if more_rows:
        yield f"{counted(sum(more_rows.values()), 'row')} more ({_named(more_rows, '+')}): deleted from {old_name} since {point}."
    if roughly := sorted(new.estimated | old.estimated):
        yield f"Only estimated, not counted: {listed(roughly, most=NAMED)}."
    if new.read_only:
        yield "It is read-only: a standby answers, not a primary."


def _named(apart: dict[str, int], sign: str) -> str:
    most = sorted(apart.items(), key=lambda one: -one[1])
    return listed([f"{name} {sign}{number}" for name, number in most], most=NAMED)


def _untold(result: ProbeResult, name: str) -> bool:
    """Whether the table may be there all the same: it could not be counted, or was left out of the answer."""
    return result.left_out > 0 or any(one.name == name for one in result.counts)


def _migration(found: Migration | None) -> str:
    if found is None:
        return f"no {MIGRATIONS}"
    return f"newest migration {found.version}" + (f" ({found.name})" if found.name else "")


def _size(result: ProbeResult) -> str:
    about = "about " if result.estimated else ""
    return f"{counted(len(result.counts) + result.left_out, 'table')} with {about}{counted(result.total, 'row')}"


def _lines(new: ProbeResult, old: ProbeResult | None, old_name: str) -> Iterable[str]:
    """A table of tables."""
    names = sorted(new.rows.keys() | (old.rows.keys() if old else set()))
    if not names:
        return
    width = max(map(len, names))
    yield f"{'table':{width}}  {'restored':>12}" + (f"  {old_name:>12}" if old else "")
    for name in names:
        yield f"{name:{width}}  {_cell(new, name):>12}" + (f"  {_cell(old, name):>12}" if old else "")
    yield from (f"restored: {note}" for note in new.notes)
    yield from (f"{old_name}: {note}" for note in (old.notes if old else ()))


def _cell(result: ProbeResult, name: str) -> str:
    number = result.rows.get(name)
    return "–" if number is None else f"~{number}" if name in result.estimated else str(number)
