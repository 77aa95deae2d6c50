"""Why a chart does not take these values: which value, which template, what the chart says; and what a person could supply.

Helm stops at the first ``required`` or ``fail``; the templates' sources tell the others, so that one dialog asks for all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bot.diff.migrations import MigrationNote
from bot.diff.renames import Needed, needed
from bot.diff.schema import SchemaProblem, problems
from bot.diff.schemaview import Node, describes
from bot.diff.templates import Templates
from bot.diff.values import ABSENT, Json, Path, computed, dotted, lookup, overlay, split
from bot.helm.charts import PulledChart
from bot.helm.failures import FieldProblem, RenderFailed, ValuesRefused
from bot.helm.subcharts import Subchart, enabled, within
from bot.redaction import redact, redact_values, secret_name
from runbooks.references import Reference, reference

MOST = 20
_LONGEST = 300
_READ = re.compile(r"\.Values((?:\.\w+)+)")
_NAMED = re.compile(r"(?<![\w./=-])(?:\.?Values\.)?([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?![\w/(=])")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:|//|/|\.", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"%[-+# 0-9.]*[a-zA-Z]")


@dataclass(frozen=True)
class Missing:
    """One value that a person could supply. ``type`` is JSON Schema's word; ``secret``: its name says that it is one.

    Of a secret only the name and key of a Secret can be supplied, where the chart takes them: at ``reference``.
    """

    path: str
    type: str
    why: str
    template: str = ""
    enum: tuple[Json, ...] = ()
    default: Json = field(default=None, repr=False)
    secret: bool = False
    minimum: float | None = None
    maximum: float | None = None
    reference: Reference | None = None

    @property
    def suppliable(self) -> bool:
        """Whether a person can supply it without typing a secret."""
        return not self.secret or self.reference is not None

    def as_fact(self) -> dict[str, Json]:
        """As it stands in the plan's ``missing_values``; a secret's default is left out."""
        default = None if self.secret else redact_values(self.default, name=self.path.rpartition(".")[2])
        return {
            "path": self.path,
            "type": self.type,
            "why": self.why,
            "template": self.template,
            "enum": list(self.enum),
            "default": default,
            "secret": self.secret,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "reference": self.reference.as_fact() if self.reference else None,
        }


@dataclass(frozen=True)
class Given:
    """A chart's side and the user's: what demands are judged by. ``subcharts`` are those that are on; ``defaults`` have the
    values of all of them beneath, ``kept`` only what Helm would keep in the release.
    """

    values: Mapping[str, Json] = field(repr=False)
    defaults: Mapping[str, Json] = field(repr=False)
    schema: Mapping[str, Json] | None = field(default=None, repr=False)
    templates: Templates | None = field(default=None, repr=False)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    subcharts: tuple[Subchart, ...] = ()
    kept: Mapping[str, Json] = field(default_factory=dict, repr=False)
    left_out: tuple[str, ...] = ()
    """Templates and definitions that were too much to be read."""


def given_of(chart: PulledChart, values: Mapping[str, Json]) -> Given:
    """A chart that was pulled, and the values that it would get. Reads every template: some milliseconds, in a thread."""
    parts = chart.parts
    on = enabled(parts.subcharts, computed(_beneath(chart.values, parts.subcharts), values))
    idle = [path for path in parts.sources if not within(path, on)]
    libraries = [one.keys for one in parts.subcharts if one.library]
    return Given(
        values=values,
        defaults=_beneath(chart.values, parts.subcharts),
        schema=chart.schema,
        templates=Templates(parts.sources, idle=idle, libraries=libraries),
        sources=parts.sources,
        subcharts=tuple(on),
        # Without dependencies in its Chart.yaml a chart is kept as it came (Helm 4.3.1, processImportValues).
        kept=_handed_down(_beneath(chart.values, on), on) if chart.metadata.get("dependencies") else chart.values,
        left_out=parts.left_out,
    )


def _handed_down(values: Mapping[str, Json], subcharts: Iterable[Subchart]) -> dict[str, Json]:
    """With ``global`` repeated in each subchart's values, as Helm does it, be it empty."""
    laid = dict(values)
    for one in subcharts:  # a parent stands before its own subcharts
        common = lookup(laid, (*one.keys[:-1], "global"))
        below: Json = {"global": common if isinstance(common, Mapping) else {}}
        for key in reversed(one.keys):
            below = {key: below}
        laid = overlay(laid, below)
    return laid


def _beneath(values: Mapping[str, Json], subcharts: Iterable[Subchart]) -> dict[str, Json]:
    """The chart's own defaults laid over those of its subcharts."""
    laid: dict[str, Json] = {}
    for one in subcharts:
        below: Json = one.values
        for key in reversed(one.keys):
            below = {key: below}
        laid = overlay(below, laid)  # what the parent says stays on top of its own subcharts'
    return overlay(laid, values)


def refused(given: Given, chart: str) -> ValuesRefused | None:
    """What the chart's own schema has against the values, or None. A schema that reaches outside is not used at all."""
    for whose, schema in _schemas(given):
        if outside := sorted(set(outside_references(schema))):
            return ValuesRefused(
                f"The schema of {whose or 'the chart'} refers to {outside[0][:120]}, outside of the chart; that is not "
                "fetched, so the values cannot be checked.",
                fields=(),
            )
    judged = problems(computed(given.defaults, given.values), given.schema) if given.schema else []
    judged += [one for subchart in given.subcharts for one in _within(subchart, given)]
    found = list(dict.fromkeys(judged))  # a schema says "required" once for each key, and each time with all of them
    if not found:
        return None
    fields = tuple(FieldProblem(chart, one.field, one.text) for one in found)
    shown = "; ".join(f"{one.field or 'the whole'} {one.text}" for one in found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ValuesRefused(f"The chart's schema refuses the values: {shown}{more}.", fields=fields)


def _schemas(given: Given) -> Iterator[tuple[str, Mapping[str, Json]]]:
    """The chart's schema and those of its subcharts, each with the subchart's path."""
    if given.schema:
        yield "", given.schema
    for one in given.subcharts:
        if one.schema:
            yield one.path, one.schema


def _within(subchart: Subchart, given: Given) -> Iterator[SchemaProblem]:
    """What a subchart's own schema has against its part of the values; global ones are handed down to it."""
    if not subchart.schema:
        return
    effective = computed(given.defaults, given.values)
    mine, common = lookup(effective, subchart.keys), effective.get("global")
    values = {**({"global": common} if common else {}), **(mine if isinstance(mine, Mapping) else {})}
    for one in problems(values, subchart.schema):
        yield replace(
            one, field=dotted((*subchart.keys, *one.field.split("."))) if one.field else dotted(subchart.keys)
        )


def outside_references(schema: Json) -> Iterator[str]:
    """References that lead out of the schema, wherever they stand in it."""
    own = str(schema.get("$id") or schema.get("id") or "") if isinstance(schema, Mapping) else ""
    stack = [schema]
    while stack:
        part = stack.pop()
        if isinstance(part, Mapping):
            for name in _REFERENCES:
                target = part.get(name)
                within = f"{own.partition('#')[0]}#" if own else "#"
                if isinstance(target, str) and _ADDRESS.match(target) and not target.startswith(within):
                    yield target
            stack += list(part.values())
        elif isinstance(part, list):
            stack += part


def explained(error: RenderFailed, given: Given) -> RenderFailed:
    """The same failure in one sentence: which value, which template, what the chart says."""
    path, template = _missed(error, given)
    if not path:
        return error
    chart = error.template.partition("/")[0]
    where = f"{chart}/{template}" if template else f"{error.template}:{error.line}" if error.line else error.template
    said = redact(error.cause)[:_LONGEST].rstrip(". ")
    return RenderFailed(
        f"The chart does not render: {dotted(path)} is missing; {where or 'the chart'} says: {said}.",
        template=error.template,
        line=error.line,
        column=error.column,
        key=error.key,
        cause=error.cause,
        evidence=error.evidence,
    )


def _missed(error: RenderFailed, given: Given) -> tuple[Path, str]:
    """The value that is missing, and the template that asks for it where its source tells (Helm names the one that includes it).

    Both are empty when nothing tells which.
    """
    if demand := _demand(error, _needed(given)):
        return demand.path, demand.template
    asking = next((name for name, text in sorted(given.sources.items()) if f'"{error.cause}"' in text), "")
    effective = computed(given.defaults, given.values)
    for named in (_paths(_READ, error.key), _paths(_NAMED, error.cause)):
        empty = [path for path in named if lookup(effective, path) in (ABSENT, None, "")]
        if empty:
            return empty[0], asking
    return (), ""


def missing(error: RenderFailed | ValuesRefused, given: Given, notes: Iterable[MigrationNote] = ()) -> list[Missing]:
    """Everything that a person could supply to get past this failure, the one at fault first; empty when nothing is known."""
    asked = _needed(given)
    found: dict[Path, Missing] = {}
    if isinstance(error, RenderFailed):
        path, template = _missed(error, given)
        if path:
            found[path] = _missing(path, redact(error.cause)[:_LONGEST], template or error.template, given)
    else:
        for one in error.fields:
            if one.path and not one.problem.startswith("needs ") and (path := _path(one)):
                found[path] = _missing(path, one.problem, "", given)
    for demand in asked:
        if demand.path and (demand.certain or demand.source == "schema") and demand.path not in found:
            found[demand.path] = _missing(demand.path, redact(demand.message)[:_LONGEST], demand.template, given)
    if not found:
        effective = computed(given.defaults, given.values)
        for need in (need for note in notes for need in note.new_required):
            path = split(need.key)
            if lookup(effective, path) in (ABSENT, None, ""):
                found[path] = _missing(path, need.text, "", given)
    return list(found.values())[:MOST]


def _needed(given: Given) -> list[Needed]:
    return needed(given.values, given.defaults, new_schema=given.schema, templates=given.templates)


def _demand(error: RenderFailed, asked: Iterable[Needed]) -> Needed | None:
    """The demand whose words the chart said; those of the very template first."""
    fitting = [one for one in asked if one.path and one.message and _said(one.message, error.cause)]
    return next((one for one in fitting if error.template.endswith(one.template)), next(iter(fitting), None))


def _said(message: str, cause: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in _PLACEHOLDER.split(message))
    return bool(re.search(pattern, cause, re.DOTALL))


def _paths(pattern: re.Pattern[str], text: str) -> list[Path]:
    return [tuple(found.strip(".").split(".")) for found in pattern.findall(text)]


def _path(problem: FieldProblem | SchemaProblem) -> Path:
    text = problem.path if isinstance(problem, FieldProblem) else problem.field
    try:
        return split(text)
    except ValueError:
        return ()


def _missing(path: Path, why: str, template: str, given: Given) -> Missing:
    described = _described(path, given)
    rules: Mapping[str, Any] = described.schema if described else {}
    types = sorted((described.types if described else None) or ())
    default = rules.get("default", lookup(given.defaults, path))
    enum = rules.get("enum")
    secret = secret_name(path[-1])
    return Missing(
        path=dotted(path),
        type=types[0] if types else _type_of(default),
        why=why,
        template=template,
        enum=tuple(enum) if isinstance(enum, list) else (),
        default=None if default is ABSENT else default,
        secret=secret,
        minimum=_number(rules.get("minimum")),
        maximum=_number(rules.get("maximum")),
        reference=_reference(path, given) if secret else None,
    )


def _reference(path: Path, given: Given) -> Reference | None:
    return reference(path, values=given.values, defaults=given.defaults, described=lambda at: _described(at, given))


def _described(path: Path, given: Given) -> Node | None:
    """What a schema says of a value: the chart's own, or that of the subchart whose value it is."""
    sides: list[tuple[Path, Mapping[str, Json] | None]] = [((), given.schema)]
    sides += [(one.keys, one.schema) for one in given.subcharts]
    for keys, schema in sides:
        if schema and path[: len(keys)] == keys and (found := describes(path[len(keys) :], schema)):
            return found
    return None


def _number(value: Json) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _type_of(default: Json) -> str:
    if isinstance(default, bool):
        return "boolean"
    for kind, name in ((int, "integer"), (float, "number"), (list, "array"), (Mapping, "object")):
        if isinstance(default, kind):
            return name
    return "string"
