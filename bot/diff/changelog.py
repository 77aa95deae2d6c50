"""What a chart says about itself: the ``artifacthub.io/changes`` of every version between two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml
from semver import Version

ANNOTATION = "artifacthub.io/changes"
_LONGEST_ANNOTATION = 200_000  # characters; Artifact Hub's own examples have a few hundred
_LONGEST_ENTRY = 1_000
_MOST_ENTRIES = 200


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
    """One change of one version. ``breaking`` is what its own text says ("BREAKING: …")."""

    kind: ChangeKind
    text: str
    breaking: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" if self.kind else self.text


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
    return [_entry(item) for item in items[:_MOST_ENTRIES]]


def _entry(item: Any) -> Entry:
    kind = str(item.get("kind") or "") if isinstance(item, Mapping) else ""
    text = str(item.get("description") or "") if isinstance(item, Mapping) else str(item)
    line = " ".join(text.split())[:_LONGEST_ENTRY]
    known = ChangeKind(kind) if kind in set(ChangeKind) else ChangeKind.OTHER
    return Entry(known, line, breaking="breaking" in line.lower().partition(":")[0])


def most_urgent_first(entries: Iterable[Entry]) -> list[Entry]:
    """Breaking changes first, then by kind; otherwise in the order in which they were written."""
    order = list(ChangeKind)
    return sorted(entries, key=lambda entry: (not entry.breaking, order.index(entry.kind)))


def versions_between(versions: Iterable[str], low: str, high: str) -> list[str]:
    """Those above ``low`` and not above ``high``, oldest first.

    Pre-releases count only when one of the two ends is one itself: whoever goes from 0.1.0 to 0.2.0 never ran 0.2.0-rc.1.
    """
    first, last = as_version(low), as_version(high)
    if first is None or last is None:
        return []
    with_pre = bool(first.prerelease or last.prerelease)
    found = [
        (version, text)
        for text in versions
        if (version := as_version(text)) is not None
        and first < version <= last
        and (with_pre or not version.prerelease)
    ]
    return [text for _, text in sorted(found, key=lambda pair: pair[0])]


def as_version(text: str) -> Version | None:
    """The version, ``v`` or not, or None for what is none."""
    cleaned = text.strip().removeprefix("v")
    return Version.parse(cleaned) if Version.is_valid(cleaned) else None
