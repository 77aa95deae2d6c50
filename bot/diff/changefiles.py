"""Changelogs that people write in Markdown, and release notes: sections by the version in their heading, entries by bullet.

Nothing is guessed beyond that: a section without bullets gives its paragraphs, a file without a version gives nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from semver import Version

from bot.diff.changelog import MOST_ENTRIES, Entry, as_version, entry

README = re.compile(r"(^|/)readme\.", re.IGNORECASE)
_HEADING = re.compile(r"^(?P<marks>#{1,6})\s+(?P<text>.+?)\s*#*\s*$")
_UNDERLINED = re.compile(r"^(=+|-+)\s*$")
_VERSION = re.compile(r"(?<![\w.])v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}|x))?(-[0-9A-Za-z.-]*[0-9A-Za-z])?(?![\w.]*\d)")
_TO = re.compile(r"(→|->|=>|\bto\b)", re.IGNORECASE)
_BULLET = re.compile(r"^(?P<indent>\s*)(?:[-*+]|\d{1,3}[.)])\s+(?P<text>.+)$")
_FENCE = re.compile(r"^\s*(```|~~~)")
_MARKUP = re.compile(r"\*\*|__|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)")
_KINDS = {"add": "added", "new": "added", "feature": "added", "chang": "changed", "remov": "removed", "fix": "fixed",
          "bug": "fixed", "secur": "security", "deprecat": "deprecated"}  # fmt: skip
_LONGEST = 2_000_000  # characters of one file


@dataclass
class _Section:
    version: Version
    level: int
    lines: list[str] = field(default_factory=list)


def sections(text: str) -> dict[Version, list[Entry]]:
    """The entries under each version's heading. ``0.6`` and ``0.6.x`` mean 0.6.0; of ``0.5 → 0.6`` the later one counts."""
    found: dict[Version, list[Entry]] = {}
    for section in _sections(text[:_LONGEST]):
        found.setdefault(section.version, []).extend(entries("\n".join(section.lines)))
    return found


def from_files(files: Mapping[str, str]) -> dict[str, dict[Version, list[Entry]]]:
    """The same for each file of a chart that says something about versions; a readme is none."""
    read = {path: sections(text) for path, text in sorted(files.items()) if not README.search(path)}
    return {path: found for path, found in read.items() if found}


def entries(text: str) -> list[Entry]:
    """The bullets of one version, with the kind that the heading above them gives; without bullets the paragraphs."""
    kind, breaking, fenced = "", False, False
    items: list[tuple[list[str], str, bool]] = []
    paragraphs: list[tuple[list[str], str, bool]] = []
    blank, open_item, indent = True, False, 0
    for line in text.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
            continue
        if fenced:
            continue
        if heading := _HEADING.match(line):
            kind, breaking, blank, open_item = (
                _kind(heading["text"]),
                "breaking" in heading["text"].lower(),
                True,
                False,
            )
        elif not line.strip():
            blank = True
        elif (bullet := _BULLET.match(line)) and not (open_item and len(bullet["indent"]) > indent):
            items.append(([bullet["text"]], kind, breaking))
            blank, open_item, indent = False, True, len(bullet["indent"])
        elif open_item and (not blank or line[:1].isspace()):
            items[-1][0].append(line.strip(" -*+") if bullet else line.strip())
            blank = False
        else:
            if blank or not paragraphs or open_item:
                paragraphs.append(([], kind, breaking))
            paragraphs[-1][0].append(line.strip())
            blank, open_item = False, False
    chosen = items or paragraphs
    return [_entry(" ".join(lines), kind, breaking) for lines, kind, breaking in chosen[:MOST_ENTRIES]]


def _entry(text: str, kind: str, breaking: bool) -> Entry:
    return entry(_MARKUP.sub("", text), kind=kind, breaking=breaking)


def _kind(heading: str) -> str:
    words = heading.lower()
    return next((kind for part, kind in _KINDS.items() if part in words), "")


def _sections(text: str) -> Iterator[_Section]:
    section: _Section | None = None
    fenced, before = False, ""
    for line in text.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else _heading(line, before)
        before = line
        if heading is None:
            if section is not None:
                section.lines.append(line)
            continue
        level, title = heading
        version = version_in(title)
        if version is None and section is not None and level > section.level:
            section.lines.append(f"{'#' * level} {title}")
            continue
        if section is not None:
            if not _HEADING.match(line):
                section.lines.pop()  # the heading's text, which stands a line above its underlining
            yield section
        section = _Section(version, level) if version is not None else None
    if section is not None:
        yield section


def _heading(line: str, before: str) -> tuple[int, str] | None:
    if found := _HEADING.match(line):
        return len(found["marks"]), found["text"]
    if before.strip() and _UNDERLINED.match(line) and _VERSION.search(before) and not _BULLET.match(before):
        return (1 if line.startswith("=") else 2), before.strip()
    return None


def version_in(title: str) -> Version | None:
    """The version that a heading is about: the only one, or the one after "to" or an arrow, else the first."""
    last = list(_TO.finditer(title))
    found = (_VERSION.search(title, last[-1].end()) if last else None) or _VERSION.search(title)
    if found is None:
        return None
    major, minor, patch, pre = found.groups()
    return as_version(f"{major}.{minor}.{patch if patch and patch != 'x' else 0}{pre or ''}")
