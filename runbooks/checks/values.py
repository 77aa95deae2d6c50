"""The values that the upgrade would get: what in them no longer fits, what is missing, and what the new defaults change.

The approval is bound to a digest of the values; no value itself is stored, and what is shown is masked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from bot.diff import renames
from bot.diff import values as diff_values
from bot.diff.migrations import MigrationNote, crossed
from bot.diff.schema_changes import compare_schemas
from bot.diff.unified import values_text
from bot.diff.values import ABSENT, dotted
from bot.engine.contract import CheckResult, Finding, PlanContext
from bot.engine.parts import parts
from bot.errors import BotError, Evidence
from bot.helm.charts import PulledChart
from bot.helm.failures import RenderFailed, ValuesRefused
from bot.helm.models import StoredRelease
from runbooks import demands
from runbooks.checks.findings import blocker, info, refused_value, warning
from runbooks.reading import FinalValues, Reader, chart_version
from runbooks.text import counted, listed

MOST = 8
"""Findings of one kind on the card."""
MISSING = "values.missing"
"""The code of a finding that goes away when a person supplies the value that ``subject`` names."""
REFUSED = "values.refused"
UNREAD = "values.unread"
CORRECT = "Correct it in the target's values."
SUPPLY = "Supply it for this run, or set it in the target's values."
KEPT = (
    "It is a secret, and the chart takes no Secret's name in its place, so it cannot be supplied here: "
    "set it in the target's values."
)


class ValuesCompare:
    """Compares values with the new chart's defaults, schema and templates. ``notes`` are migration notes, for renamed keys."""

    name: ClassVar[str] = "values.compare"

    def __init__(self, *, notes: Sequence[MigrationNote] = ()) -> None:
        self._notes = tuple(notes)

    async def check(self, context: PlanContext) -> CheckResult:
        """Binds the approval to the digest of the final values; ``missing_values`` is what a person could supply."""
        reader = Reader(context)
        release, chart, final = await reader.release(), await reader.chart(), await reader.values()
        notes = crossed(self._notes, chart=chart.name, low=chart_version(release), high=chart.version)
        given = await reader.given()
        stopped, missing = await _stopped(reader, given, notes)
        old, new = release.chart_values, given.kept
        before = diff_values.computed(old, release.config)
        after = diff_values.computed(new, final.values)
        effective = diff_values.compare(before, after)
        text = await asyncio.to_thread(_diff, reader, release, final, before, after)
        return CheckResult(
            findings=(
                *stopped,
                *_unread(release, chart, given, notes),
                *_types(given, {one.subject for one in stopped}),
                *_supplied(context.run.supplied),
                *_from_files(release, final, context.run.supplied),
                *_defaults(release, given.kept, final),
                *_schemas(release, chart, given.kept),
            ),
            facts={
                "values_digest": final.digest,
                "values_changed": len(effective),
                "missing_values": [one.as_fact() for one in missing],
                **parts("values", _leaves(final), context.clients.fingerprints.mark),
            },
            bindings={"values": final.digest},
            files=(Evidence("values.diff", text),) if text else (),
        )


def _leaves(final: FinalValues) -> list[tuple[str, Any]]:
    """Each value that is set, by its path."""
    return [(one.dotted, one.new) for one in diff_values.compare({}, final.values)]


async def _stopped(
    reader: Reader, given: demands.Given, notes: Sequence[MigrationNote]
) -> tuple[list[Finding], list[demands.Missing]]:
    """What keeps the chart from being rendered; whatever else goes wrong there is for the rehearsal to say."""
    try:
        await reader.rendered()
    except ValuesRefused as error:
        missing = demands.missing(error, given, notes)
        known = {one.path for one in missing}
        said = [
            replace(
                blocker(refused_value(one.path, one.problem), _way_out(missing)),
                code=MISSING if one.path in known or one.problem.startswith("needs ") else REFUSED,
                subject=next((path for path in known if path.rpartition(".")[0] == one.path), one.path)
                if one.problem.startswith("needs ")
                else one.path,
            )
            for one in error.fields[:MOST]
        ]
        if len(error.fields) > MOST:
            said.append(blocker(f"{counted(len(error.fields) - MOST, 'more value')} refused by the chart's schema."))
        return said or [replace(blocker(error.message, error.way_out), code=REFUSED)], missing
    except RenderFailed as error:
        missing = demands.missing(error, given, notes)
        if not missing:
            return [replace(blocker(error.message, error.way_out), code="chart.renders_not")], []
        return [replace(blocker(error.message, _way_out(missing[:1])), code=MISSING, subject=missing[0].path)], missing
    except BotError:
        return [], []
    return [], []


def _way_out(missing: Sequence[demands.Missing]) -> str:
    if not missing:
        return CORRECT
    return SUPPLY if any(one.suppliable for one in missing) else KEPT


def _unread(
    release: StoredRelease, chart: PulledChart, given: demands.Given, notes: Sequence[MigrationNote]
) -> list[Finding]:
    found = renames.unread(
        given.values,
        release.chart_values,
        given.defaults,
        new_schema=given.schema,
        templates=given.templates,
        noted={one.old: one.new for note in notes for one in note.renamed},
        notes="\n".join(chart.files.values()),
    )
    gone = [one for one in found if one.known_before]
    said = [
        replace(warning(one.sentence, _successor(one)), code=UNREAD, subject=dotted(one.path)) for one in gone[:MOST]
    ]
    if len(gone) > MOST:
        rest = len(gone) - MOST
        said.append(warning(f"{counted(rest, 'more key')} of the values {'is' if rest == 1 else 'are'} read no more."))
    never = [dotted(one.path) for one in found if not one.known_before]
    return said + _mentioned("Set, and read by neither the old chart nor the new one", never)


def _successor(one: renames.Unread) -> str:
    return f"Set {one.likely} instead." if one.likely else "Look for its successor in the changes, or remove it."


def _types(given: demands.Given, told: set[str]) -> list[Finding]:
    found = renames.wrong_types(given.values, given.defaults, new_schema=given.schema)
    return [warning(one.sentence, CORRECT) for one in found if dotted(one.path) not in told][:MOST]


def _supplied(supplied: Mapping[str, Any]) -> list[Finding]:
    return _mentioned("Supplied for this run", sorted(supplied))


def _from_files(release: StoredRelease, final: FinalValues, supplied: Mapping[str, Any]) -> list[Finding]:
    changed = [one.dotted for one in diff_values.compare(release.config, final.values)]
    return _mentioned("Changed by the target's files", [one for one in changed if one not in supplied])


def _defaults(release: StoredRelease, defaults: Mapping[str, Any], final: FinalValues) -> list[Finding]:
    """Defaults that changed under somebody who does not set the value."""
    changed = [
        one.dotted
        for one in diff_values.compare(release.chart_values, defaults)
        if diff_values.lookup(final.values, one.path) is ABSENT and ABSENT not in (one.old, one.new)
    ]
    return _mentioned("Defaults that change under you, since you do not set them", changed)


def _schemas(release: StoredRelease, chart: PulledChart, defaults: Mapping[str, Any]) -> list[Finding]:
    found = compare_schemas(
        release.chart_schema, chart.schema, old_defaults=release.chart_values, new_defaults=defaults
    )
    if not found:
        return []
    breaking = sum(one.breaking for one in found)
    told = f" ({breaking} may refuse what was taken before, or read it no more)" if breaking else ""
    return [
        info(f"Schema and defaults: {counted(len(found), 'difference')}{told}; `diff {chart.version} schema` has them.")
    ]


def _diff(
    reader: Reader, release: StoredRelease, final: FinalValues, before: Mapping[str, Any], after: Mapping[str, Any]
) -> str:
    """The values that are set, then what the templates see with the charts' defaults beneath them; secrets masked."""
    parts = [
        values_text(release.config, final.values, reader.fingerprint, label="set by the user"),
        values_text(before, after, reader.fingerprint, label="with the chart's defaults"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n" if any(parts) else ""


def _mentioned(what: str, paths: Iterable[str]) -> list[Finding]:
    found = list(paths)
    return [info(f"{what} ({len(found)}): {listed(found, most=5)}.")] if found else []
