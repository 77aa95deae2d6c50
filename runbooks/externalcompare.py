"""Two looks side by side: what the service outside has, what the present one has, and what somebody should know of that. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bot.probe.result import ProbeResult
from runbooks.external import COUNTED, TITLES, Endpoint
from runbooks.text import counted, listed, size

_MOST = 4
"""Names of tables in one sentence; the table of all is in the thread."""


@dataclass(frozen=True)
class Warned:
    """One thing to look at: in a few words for the card's line, and whole."""

    short: str
    text: str


def described(seen: ProbeResult) -> str:
    """``PostgreSQL 16.3, 12 tables, 340 rows, 8.1 MiB``."""
    kept_in, what = COUNTED[seen.kind]
    parts = [f"{seen.product or TITLES[seen.kind]} {seen.version}".strip()]
    if seen.counts:
        about = "about " if seen.estimated else ""
        parts += [counted(len(seen.counts) + seen.left_out, kept_in), f"{about}{counted(seen.total, what)}"]
    elif seen.empty:
        parts.append("nothing in it")
    return ", ".join([*parts, *([size(seen.size)] if seen.size is not None else [])])


def warnings(to: Endpoint, new: ProbeResult, old: ProbeResult | None, *, why: str = "") -> list[Warned]:
    """The most important first. ``why`` there is no look at the present one."""
    found = [*_writable(to, new), *_copied(to, new, old, why)]
    if old is not None:
        found += [*_older(to, new, old), *_migrated(new, old)]
    if not to.tls:
        found.append(Warned("TLS is off", plain(to)))
    return found


def plain(to: Endpoint) -> str:
    """What it means that TLS is off."""
    too = ", the password too" if to.secret else ""
    return f"TLS is off: whoever is between the cluster and {to.host} can read everything{too}."


def table(new: ProbeResult, old: ProbeResult | None) -> str:
    """Rows (keys, points) of both sides, name by name."""
    there, here = new.rows, old.rows if old else {}
    names = sorted({*there, *here})
    head = ("", "present", "outside")
    rows = [head, *((name, _number(here, old, name), _number(there, new, name)) for name in names)]
    wide = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{row[0]:<{wide[0]}}  {row[1]:>{wide[1]}}  {row[2]:>{wide[2]}}".rstrip() for row in rows]
    sides = (("outside", new), ("present", old))
    lines += [f"{side}: {described(seen)}" for side, seen in sides if seen is not None]
    lines += [f"{side}: {note}" for side, seen in sides if seen is not None for note in seen.notes]
    return "\n".join(lines) + ("\n~: the server's own estimate" if any("~" in line for line in lines) else "")


def _number(rows: Mapping[str, int], seen: ProbeResult | None, name: str) -> str:
    if seen is None:
        return "?"
    return f"{'~' if name in seen.estimated else ''}{rows[name]}" if name in rows else "–"


def _writable(to: Endpoint, new: ProbeResult) -> list[Warned]:
    if not new.read_only:
        return []
    return [Warned("it takes no writes", f"{to} is a standby: nothing can be written to it. Name the one that leads.")]


def _copied(to: Endpoint, new: ProbeResult, old: ProbeResult | None, why: str) -> list[Warned]:
    kept_in, what = COUNTED[to.service]
    gone = "Copy it first, unless it is lost anyway."
    if old is not None and (old.empty or not old.total) and not old.left_out:
        return []
    if new.empty or (not new.total and not new.counts):
        if to.service == "redis" and old is None:
            return []
        before = f"; the present one has {counted(old.total, what)}" if old else ""
        text = f"The data was not copied: {to} is empty{before}. Whatever is switched over begins with nothing. {gone}"
        return [Warned("it is empty: the data was not copied", text)]
    if old is None:
        text = f"Whether the data was copied is not known, for the present one could not be looked at: {why}"
        return [Warned("not compared: the present one does not answer", text)]
    fewer = [
        (name, number, new.rows.get(name))
        for name, number in sorted(old.rows.items())
        if new.rows.get(name, 0) < number and name not in new.estimated | old.estimated
    ]
    if not fewer and new.total * 10 >= old.total * 9:
        return []
    told = [f"{name} has {'none' if there is None else there} of {here}" for name, here, there in fewer]
    said = f": {listed(told, most=_MOST)}" if told else ""
    text = (
        f"The data was not copied whole: {to} has {counted(new.total, what)}, the present one {counted(old.total, what)}{said}. "
        f"{gone}"
    )
    short = f"not all is copied: {new.total} of {counted(old.total, what)}"
    missing = sum(1 for _, _, there in fewer if there is None)
    return [Warned(f"{short}, {counted(missing, kept_in)} missing" if missing else short, text)]


def _older(to: Endpoint, new: ProbeResult, old: ProbeResult) -> list[Warned]:
    if new.product != old.product:
        return []
    there, here = _version(new.version), _version(old.version)
    if not there or not here or there >= here:
        return []
    text = (
        f"{to} is older: {new.product} {new.version}, the present one is {old.version}. What the newer one wrote may not be "
        "understood by it; upgrade it first."
    )
    return [Warned(f"it is older: {new.version}, not {old.version}", text)]


def _migrated(new: ProbeResult, old: ProbeResult) -> list[Warned]:
    """The schema of the copy, as far as both sides tell one."""
    here, there = old.newest_migration, new.newest_migration
    if here is None or new.empty or (there is not None and there.version == here.version):
        return []
    has = f"is at migration {there.version}" if there else "has no migrations"
    text = f"The schema {has}, the present one at {here.version}: the copy is of another time. Copy it again."
    return [Warned(f"another schema: {there.version if there else 'none'}, not {here.version}", text)]


def _version(text: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+(?:\.\d+)*)", text.strip())
    return tuple(int(part) for part in found[1].split(".")) if found else ()
