"""The values that the upgrade would get: what in them no longer fits, and what the chart's new defaults change.

The approval is bound to a digest of the values; no value itself is stored, and what is shown is redacted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import ClassVar

from bot.diff import values as diff_values
from bot.diff.migrations import MigrationNote, crossed
from bot.diff.schema import SchemaProblem, problems
from bot.diff.values import ABSENT, Change, dotted
from bot.engine.contract import CheckResult, Finding, PlanContext
from bot.errors import Evidence
from bot.redaction import MASK, redact_values, secret_name
from runbooks.checks.findings import blocker, info, warning
from runbooks.reading import Reader, chart_version
from runbooks.text import counted, listed

MOST = 8
"""Findings of one kind on the card."""


class ValuesCompare:
    """Compares values with the new chart's defaults and schema. ``notes`` are migration notes, for renamed keys."""

    name: ClassVar[str] = "values.compare"

    def __init__(self, *, notes: Sequence[MigrationNote] = ()) -> None:
        self._notes = tuple(notes)

    async def check(self, context: PlanContext) -> CheckResult:
        """Binds the approval to the digest of the final values."""
        reader = Reader(context)
        release, chart, final = await reader.release(), await reader.chart(), await reader.values()
        old, new = release.chart_values, chart.values
        notes = crossed(self._notes, chart=chart.name, low=chart_version(release), high=chart.version)
        renamed = {one.old: one.new for note in notes for one in note.renamed}
        known_before = set(diff_values.unknown_keys(final.values, old))
        unknown = diff_values.unknown_keys(final.values, new)
        gone = [path for path in unknown if path not in known_before]
        never = [path for path in unknown if path in known_before]
        from_files = diff_values.compare(release.config, final.values)
        defaults = [
            change
            for change in diff_values.compare(old, new)
            if diff_values.lookup(final.values, change.path) is ABSENT
        ]
        effective = diff_values.compare(
            diff_values.computed(old, release.config), diff_values.computed(new, final.values)
        )
        findings = [
            *_refused(problems(diff_values.computed(new, final.values), chart.schema) if chart.schema else []),
            *_gone(gone, renamed, chart.version),
            *_mentioned("Set, and not known to the chart, before as after", never),
            *_mentioned("Changed by the target's files", [change.path for change in from_files]),
            *_mentioned("Other defaults in the new chart", [change.path for change in defaults]),
        ]
        return CheckResult(
            findings=tuple(findings),
            facts={"values_digest": final.digest, "values_changed": len(effective)},
            bindings={"values": final.digest},
            files=(Evidence("Values that change", "\n".join(map(line, effective))),) if effective else (),
        )


def line(change: Change) -> str:
    """``aeterna.image.tag: "0.1.0" → "0.2.1"``, with secrets hidden: that one changed stays visible."""
    hidden = any(secret_name(key) for key in change.path)
    shown = [_shown(value, change.path[-1] if change.path else "", hidden=hidden) for value in (change.old, change.new)]
    return f"{change.dotted}: {shown[0]} → {shown[1]}"


def _shown(value: object, name: str, *, hidden: bool) -> str:
    if value is ABSENT:
        return "(not set)"
    if hidden and value not in (None, "", True, False):
        return MASK
    text = json.dumps(redact_values(value, name=name), ensure_ascii=False, default=str)
    return text if len(text) <= 300 else text[:299] + "…"


def _refused(found: Sequence[SchemaProblem]) -> list[Finding]:
    way_out = "Correct it in the target's values."
    return [blocker(f"Values: {one.field or 'as a whole'} {one.text}.", way_out) for one in found[:MOST]]


def _mentioned(what: str, paths: Sequence[diff_values.Path]) -> list[Finding]:
    if not paths:
        return []
    return [info(f"{what} ({len(paths)}): {listed([dotted(path) for path in paths], most=5)}.")]


def _gone(paths: Iterable[diff_values.Path], renamed: dict[str, str], version: str) -> list[Finding]:
    said = []
    for path in paths:
        new = next(
            (renamed[key] for key in (dotted(path[:end]) for end in range(len(path), 0, -1)) if key in renamed), ""
        )
        way_out = f"It is now {new}." if new else "Look for its successor in the changes, or remove it."
        said.append(warning(f"{dotted(path)} is set, and {version} no longer has it: it would be ignored.", way_out))
    if len(said) > MOST:
        rest = len(said) - MOST
        said = [
            *said[:MOST],
            warning(f"{counted(rest, 'more key')} of the values {'is' if rest == 1 else 'are'} no longer known."),
        ]
    return said
