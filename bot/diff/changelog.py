"""What a chart's versions say about themselves: entries with their version and source, whoever wrote them down.

The sources: the ``artifacthub.io`` annotations of every version between two, the changelogs inside the chart
(``bot.diff.changefiles``), migration notes, and release notes behind an address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml
from semver import Version

ANNOTATION = "artifacthub.io/changes"
PRERELEASE = "artifacthub.io/prerelease"
SECURITY_UPDATES = ("artifacthub.io/containsSecurityUpdates", "artifacthub.io/securityUpdates")
_LONGEST_ANNOTATION = 200_000  # characters; Artifact Hub's own examples have a few hundred
LONGEST_ENTRY = 1_000
MOST_ENTRIES = 200


class ChangeKind(StrEnum):
    """Artifact Hub's kinds, in the order in which somebody who upgrades wants to read them."""

    REMOVED = "removed"
    CHANGED = "changed"
    DEPRECATED = "deprecated"
    SECURITY = "security"
    ADDED = "added"
    FIXED = "fixed"
    OTHER = ""


@dataclass(frozen=True)
class Entry:
    """One change of one version. ``breaking`` is what its own text says ("BREAKING: …"), or the heading above it."""

    kind: ChangeKind
    text: str
    breaking: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" if self.kind else self.text


@dataclass(frozen=True)
class Told:
    """One change, with the version that it is of and the source that tells it."""

    version: str
    source: str
    entry: Entry

    def __str__(self) -> str:
        return f"{self.version}: {self.entry.text} ({self.source})"


def entry(text: str, *, kind: str = "", breaking: bool = False) -> Entry:
    """One change from one text, on one line. It is breaking if somebody says so, or if it begins with that word."""
    line = " ".join(text.split())[:LONGEST_ENTRY]
    known = ChangeKind(kind) if kind in set(ChangeKind) else ChangeKind.OTHER
    return Entry(known, line, breaking=breaking or "breaking" in line.lower().partition(":")[0][:40])


def parse_changes(annotation: str) -> list[Entry]:
    """The entries of one annotation: a YAML list of texts, or of ``{kind, description}``.

    Raises ``ValueError`` for anything else, because nobody should take an unreadable changelog for an empty one.
    """
    if len(annotation) > _LONGEST_ANNOTATION:
        raise ValueError(f"is longer than {_LONGEST_ANNOTATION:,} characters")
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(annotation, Loader=yaml.SafeLoader)):
            raise ValueError("uses YAML aliases")
        items = yaml.safe_load(annotation)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError("is not valid YAML") from error
    if items is None:
        return []
    if not isinstance(items, list):
        raise ValueError("is not a list")  # noqa: TRY004 - the annotation is wrong, not the caller
    return [_entry(item) for item in items[:MOST_ENTRIES]]


def _entry(item: Any) -> Entry:
    if isinstance(item, Mapping):
        return entry(str(item.get("description") or ""), kind=str(item.get("kind") or ""))
    return entry(str(item))


def is_prerelease(version: str, annotations: Mapping[str, str]) -> bool:
    """By its number, or because the chart says so."""
    found = as_version(version)
    return bool(found and found.prerelease) or _yes(annotations.get(PRERELEASE))


def has_security_updates(annotations: Mapping[str, str]) -> bool:
    """Whether the chart says that this version closes security holes."""
    return any(_yes(annotations.get(name)) for name in SECURITY_UPDATES)


def _yes(text: object) -> bool:
    return str(text).strip().lower() in ("true", "yes")


def most_urgent_first(entries: Iterable[Entry]) -> list[Entry]:
    """Breaking changes first, then by kind; otherwise in the order in which they were written."""
    order = list(ChangeKind)
    return sorted(entries, key=lambda one: (not one.breaking, order.index(one.kind)))


def versions_between(versions: Iterable[str], low: str, high: str) -> list[str]:
    """Those above ``low`` and not above ``high``, oldest first.

    Pre-releases count only when one of the two ends is one itself: whoever goes from 0.1.0 to 0.2.0 never ran 0.2.0-rc.1.
    """
    first, last = as_version(low), as_version(high)
    if first is None or last is None:
        return []
    with_pre = bool(first.prerelease or last.prerelease)
    found = {
        version: text
        for text in versions
        if (version := as_version(text)) is not None
        and first < version <= last
        and (with_pre or not version.prerelease)
    }
    return [found[version] for version in sorted(found)]


def as_version(text: str) -> Version | None:
    """The version, ``v`` or not, or None for what is none."""
    cleaned = text.strip().removeprefix("v")
    return Version.parse(cleaned) if Version.is_valid(cleaned) else None
