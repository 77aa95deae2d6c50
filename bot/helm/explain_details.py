"""Failures of Helm whose words name a place, a field or an object: read into the fields of our errors.

The texts were taken from Helm 4.3.1 by provoking each, and from the sources of 3.18.
"""

from __future__ import annotations

import re

from bot.errors import BotError
from bot.helm.failures import (
    ApplyConflict,
    FieldProblem,
    HookFailed,
    ManifestRefused,
    NotReady,
    NotReadyInTime,
    RenderFailed,
    ValuesRefused,
)
from bot.helm.stderr import Failure, cut

_PLACE = r"(?P<template>[^\s():]+)(?::(?P<line>\d+))?(?::(?P<column>\d+))?"
_NOT_YAML = re.compile(r"YAML parse error on (?P<template>\S+): .*?yaml: (?:line (?P<line>\d+): )?(?P<cause>.+)", re.S)
_WRAPPED = re.compile(rf"(?:execution|parse) error (?:at|in) \({_PLACE}\): (?P<cause>.+)", re.S)
# Helm 4 writes a line for each place, Helm 3 all in one line with a colon between; the last place is the innermost.
_EXECUTING = re.compile(rf"{_PLACE}:?\s+executing \"[^\"]*\" at <(?P<key>.+?)>:\s", re.S)


def render_failed(failure: Failure, match: re.Match[str]) -> BotError:
    """The innermost place is the one at fault; the ones before it are the templates that include it."""
    text, key = failure.text, ""
    if found := _NOT_YAML.search(text):
        cause, place = f"the result is not YAML: {found['cause']}", found.groupdict()
    elif found := _WRAPPED.search(text):
        cause, place = found["cause"], found.groupdict()
    elif chain := list(_EXECUTING.finditer(text)):
        cause, place, key = text[chain[-1].end() :], chain[-1].groupdict(), chain[-1]["key"]
    else:
        cause, place = text, {}
    template, line, column = place.get("template") or "", int(place.get("line") or 0), int(place.get("column") or 0)
    where = f"{template}:{line}" if line else template or failure.subject
    at = f" at `{cut(key, 120)}`" if key else ""
    return RenderFailed(
        f"The chart does not render: {where}{at}: {cut(cause)}",
        template=template,
        line=line,
        column=column,
        key=key,
        cause=" ".join(cause.split()),
        evidence=failure.evidence,
    )


def values_refused(failure: Failure, match: re.Match[str]) -> BotError:
    """Which field of which chart's values does not fit, and why."""
    fields, chart = [], ""
    for line in failure.text[match.end() :].splitlines():
        if item := re.match(r"^\s*- at '(?P<path>[^']*)': (?P<problem>.+)", line):
            fields.append(FieldProblem(chart, item["path"].strip("/").replace("/", "."), item["problem"]))
        elif item := re.match(
            r"^- (?P<path>[\w.()]+): (?P<problem>.+)", line
        ):  # Helm before 3.18.5 and its older library
            fields.append(FieldProblem(chart, item["path"].replace("(root)", ""), item["problem"]))
        elif line.rstrip().endswith(":"):
            chart = line.strip().rstrip(":")
    shown = "; ".join(f"{f.path or 'the values'}: {f.problem}" for f in fields[:3])
    more = f" and {len(fields) - 3} more" if len(fields) > 3 else ""
    return ValuesRefused(
        f"The chart's schema refuses the values: {cut(shown or failure.text)}{more}",
        fields=tuple(fields),
        evidence=failure.evidence,
    )


_RESOURCE = re.compile(
    r"resource (?P<kind>[^/\s]+)/(?P<namespace>[^/\s]*)/(?P<name>\S+) not ready\. "
    r"status: (?P<status>\w+), message: (?P<message>.*)"
)
_TIMED_OUT = re.compile(r"context deadline exceeded|timed out waiting for the condition|rate: Wait\(n=1\) would exceed")


def _resources(text: str) -> tuple[NotReady, ...]:
    """The resources that Helm 4 names as not ready."""
    return tuple(NotReady(*(part.strip() for part in match.groups())) for match in _RESOURCE.finditer(text))


def not_ready_in_time(failure: Failure, match: re.Match[str]) -> BotError:
    """Which resources Helm waited for, and whether in vain or because they failed."""
    resources = _resources(failure.text)
    timed_out = bool(_TIMED_OUT.search(failure.text))
    names = "; ".join(str(r) for r in resources[:3]) + (f" and {len(resources) - 3} more" if len(resources) > 3 else "")
    what = "were not ready in time" if timed_out else "failed"
    return NotReadyInTime(
        f"Resources of {failure.subject} {what}{': ' + cut(names) if names else '.'}",
        resources=resources,
        timed_out=timed_out,
        evidence=failure.evidence,
    )


def hook_failed(failure: Failure, match: re.Match[str]) -> BotError:
    """Which hook of which event failed, or did not end in time."""
    text = failure.text[match.end() :].strip()
    resources = _resources(text)
    kind, name, why = "", "", text.splitlines()[0] if text else ""
    if resources:
        kind, name, why = resources[0].kind, resources[0].name, resources[0].message or resources[0].status
    elif old := re.search(r"(?P<kind>[Jj]ob|[Pp]od) (?P<name>\S+) failed(?:: (?P<why>.+))?", text):
        kind, name, why = old["kind"].capitalize(), old["name"], old["why"] or "it failed"
    timed_out = bool(_TIMED_OUT.search(text))
    named = f"{kind} {name}" if name else "a hook"
    late = " did not end in time" if timed_out else ""
    return HookFailed(
        f"The {match['event']} hook failed: {named}{late}: {cut(why)}",
        event=match["event"],
        name=name,
        kind=kind,
        timed_out=timed_out,
        evidence=failure.evidence,
    )


_MANAGERS = re.compile(
    r'conflicts? with "(?P<manager>[^"]+)"(?: with subresource "[^"]+")?'
    r'(?: using (?P<api>[^:\s]+))?:?(?P<rest>[^"]*)'
)


def apply_conflict(failure: Failure, match: re.Match[str]) -> BotError:
    """Who owns which fields that the chart sets, from a server-side apply."""
    conflicts: dict[str, tuple[str, ...]] = {}
    for found in _MANAGERS.finditer(failure.text):
        fields = tuple(re.findall(r"\.[\w.\[\]=\-/]+", found["rest"]))
        conflicts[found["manager"]] = conflicts.get(found["manager"], ()) + fields
    owners = "; ".join(f"{who} owns {', '.join(fields) or 'fields'}" for who, fields in conflicts.items())
    return ApplyConflict(
        f"Somebody else has set fields that the chart sets: {cut(owners or failure.text)}",
        conflicts=conflicts,
        way_out="Decide who owns them: set them in the chart's values, or have the other manager let go.",
        evidence=failure.evidence,
    )


_OBJECT = re.compile(r"for object (?:[^/\s]*/)?(?P<name>\S+) \S+, Kind=(?P<kind>\w+): (?P<why>.+)", re.S)
_INVALID = re.compile(r'^\S+ "[^"]+" is invalid: ')
_LONG_VALUE = re.compile(r"Invalid value: .{60,}: (?=[^:]+$)", re.S)


def manifest_refused(failure: Failure, match: re.Match[str]) -> BotError:
    """Which object the API server does not take, without the values that it repeats."""
    found = _OBJECT.search(failure.text)
    why = _INVALID.sub("", found["why"]) if found else failure.text
    why = _LONG_VALUE.sub("Invalid value: …: ", why)
    which = f"{found['kind']} {found['name']}" if found else "an object of the chart"
    return ManifestRefused(
        f"The API server does not take {which}: {cut(why)}",
        way_out="The chart or the values must change.",
        evidence=failure.evidence,
    )
