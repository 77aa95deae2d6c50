"""The one table that reads Helm's words: which error a failed run means.

The texts were taken from Helm 4.3.1 by provoking each, and from the sources of 3.18. What no row knows
becomes `HelmFailed` with Helm's own message, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from bot.errors import BotError, Evidence, OutcomeUnknown, Permanent, Temporary, UserMistake
from bot.helm.failures import (
    ApplyConflict,
    ClusterForbids,
    ClusterUnreachable,
    FieldProblem,
    HelmFailed,
    HelmTooOld,
    HookFailed,
    ManifestRefused,
    NotReady,
    NotReadyInTime,
    ReleaseNotFound,
    ReleasePending,
    RenderFailed,
    RepositoryUnreachable,
    RevisionNotFound,
    ValuesRefused,
)
from bot.helm.progress import is_log_line


@dataclass(frozen=True)
class Failure:
    """A run of Helm that failed. ``mutating``: an upgrade or a rollback; ``timed_out``: our deadline ended
    it.
    """

    command: str
    subject: str
    exit_code: int
    stderr: str
    mutating: bool = False
    timed_out: bool = False

    @property
    def text(self) -> str:
        """Helm's message without the log around it, without ``Error:`` and ``UPGRADE FAILED:``."""
        return error_text(self.stderr)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Helm's own words."""
        return (Evidence(f"helm {self.command}", self.text),) if self.text else ()


# Two of the schema library's messages repeat the value itself: those on a pattern and on a format.
_SECRET_VALUE = re.compile(
    r"(?P<place>^- at '[^']*(?:passw|secret|token|credential|key|dsn|auth)[^'/]*': )'.*'"
    r"(?P<verdict> (?:does not match|is not valid) )",
    re.M | re.I,
)
_PREFIX = re.compile(r"^(?:(?:UPGRADE|INSTALLATION|ROLLBACK) FAILED|execution error): ", re.M)


def error_text(stderr: str) -> str:
    """The error message in a run's stderr: from the last ``Error:`` on, without lines of the log and stack
    traces (Helm 3 debug).
    """
    lines = stderr.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("Error: ")]
    kept = []
    for line in lines[starts[-1] if starts else 0 :]:
        if line.startswith(("helm.go:", "helm.sh/helm/", "main.main", "runtime.")):
            break
        if not is_log_line(line):
            kept.append(line)
    text = "\n".join(kept).strip().removeprefix("Error: ")
    text = _SECRET_VALUE.sub(r"\g<place>(hidden)\g<verdict>", text)
    text = text.removesuffix("Use --debug flag to render out invalid YAML").rstrip()
    while (shorter := _PREFIX.sub("", text, count=1)) != text and _PREFIX.match(text):
        text = shorter
    return text


def explain(failure: Failure) -> BotError:
    """The error that this failure means."""
    if failure.exit_code < 0 and not failure.text:
        return _killed(failure)
    text = failure.text
    for pattern, make in _TABLE:
        if match := pattern.search(text):
            return make(failure, match)
    if failure.timed_out or failure.exit_code < 0:
        return _killed(failure)
    first = text.splitlines()[0] if text else f"exit code {failure.exit_code}"
    return HelmFailed(f"`helm {failure.command}` of {failure.subject} failed: {_cut(first)}", evidence=failure.evidence)


def _killed(failure: Failure) -> BotError:
    how = "took too long and was stopped" if failure.timed_out else f"was ended by signal {-failure.exit_code}"
    message = f"`helm {failure.command}` of {failure.subject} {how}."
    if failure.mutating:
        return OutcomeUnknown(message, way_out="Look at the release's history first.", evidence=failure.evidence)
    return Temporary(message, evidence=failure.evidence)


Make = Callable[[Failure, "re.Match[str]"], BotError]


def _pending(failure: Failure, match: re.Match[str]) -> BotError:
    return ReleasePending(
        f"Another operation on {failure.subject} is in progress, or was cut off in the middle.",
        way_out="Wait for it; if nobody is at work, roll back to the last good revision.",
        evidence=failure.evidence,
    )


def _release_not_found(failure: Failure, match: re.Match[str]) -> BotError:
    return ReleaseNotFound(
        f"There is no release {failure.subject}.",
        way_out="Check its name and namespace.",
        evidence=failure.evidence,
    )


def _revision_not_found(failure: Failure, match: re.Match[str]) -> BotError:
    return RevisionNotFound(
        f"{failure.subject} has no revision {match[1]}.",
        way_out="Its history shows the revisions that are kept.",
        evidence=failure.evidence,
    )


def _cluster_unreachable(failure: Failure, match: re.Match[str]) -> BotError:
    return ClusterUnreachable(
        "The cluster does not answer.",
        way_out="Try again when its API server is back.",
        evidence=failure.evidence,
    )


def _no_cluster(failure: Failure, match: re.Match[str]) -> BotError:
    return Permanent(
        f"Helm does not know which cluster is meant: {_cut(failure.text)}",
        way_out="Correct the kubeconfig or the context in the configuration.",
        evidence=failure.evidence,
    )


def _values_not_yaml(failure: Failure, match: re.Match[str]) -> BotError:
    return ValuesRefused(f"The file of values is not YAML: {_cut(match['why'])}", fields=(), evidence=failure.evidence)


def _broken_connection(failure: Failure, match: re.Match[str]) -> BotError:
    if failure.mutating:
        return OutcomeUnknown(
            f"The cluster stopped answering in the middle of `helm {failure.command}` of {failure.subject}.",
            way_out="Look at the release's history before anything else is done.",
            evidence=failure.evidence,
        )
    return _cluster_unreachable(failure, match)


def _repository(failure: Failure, match: re.Match[str]) -> BotError:
    return RepositoryUnreachable(
        "The chart repository does not answer as it should.",
        way_out="Try again later.",
        evidence=failure.evidence,
    )


def _no_chart(failure: Failure, match: re.Match[str]) -> BotError:
    return UserMistake(
        f"This chart, or this version of it, does not exist: {_cut(failure.text)}",
        way_out="Check the version and the chart's name.",
        evidence=failure.evidence,
    )


def _forbidden(failure: Failure, match: re.Match[str]) -> BotError:
    what = re.search(
        r'User "(?P<user>[^"]+)" cannot (?P<what>\w+ resource "[^"]+"(?: in API group "[^"]*")?)',
        failure.text,
    )
    sentence = f"`{what['user']}` cannot {what['what']}" if what else _cut(failure.text.splitlines()[0])
    return ClusterForbids(
        f"The cluster does not allow it: {sentence}.",
        way_out="Give the bot's account this permission (its chart has the roles).",
        evidence=failure.evidence,
    )


def _unauthorized(failure: Failure, match: re.Match[str]) -> BotError:
    return ClusterForbids(
        "The cluster does not accept the bot's credentials.",
        way_out="Renew the token or certificate in its kubeconfig.",
        evidence=failure.evidence,
    )


_PLACE = r"(?P<template>[^\s():]+)(?::(?P<line>\d+))?(?::(?P<column>\d+))?"
_NOT_YAML = re.compile(r"YAML parse error on (?P<template>\S+): .*?yaml: (?:line (?P<line>\d+): )?(?P<cause>.+)", re.S)
_WRAPPED = re.compile(rf"(?:execution|parse) error (?:at|in) \({_PLACE}\): (?P<cause>.+)", re.S)
# Helm 4 writes a line for each place, Helm 3 all in one line with a colon between; the last place is the innermost.
_EXECUTING = re.compile(rf"{_PLACE}:?\s+executing \"[^\"]*\" at <(?P<key>.+?)>:\s", re.S)


def _render(failure: Failure, match: re.Match[str]) -> BotError:
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
    at = f" at `{_cut(key, 120)}`" if key else ""
    return RenderFailed(
        f"The chart does not render: {where}{at}: {_cut(cause)}",
        template=template,
        line=line,
        column=column,
        key=key,
        cause=" ".join(cause.split()),
        evidence=failure.evidence,
    )


def _schema(failure: Failure, match: re.Match[str]) -> BotError:
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
        f"The chart's schema refuses the values: {_cut(shown or failure.text)}{more}",
        fields=tuple(fields),
        evidence=failure.evidence,
    )


_RESOURCE = re.compile(
    r"resource (?P<kind>[^/\s]+)/(?P<namespace>[^/\s]*)/(?P<name>\S+) not ready\. "
    r"status: (?P<status>\w+), message: (?P<message>.*)"
)
_TIMED_OUT = re.compile(r"context deadline exceeded|timed out waiting for the condition|rate: Wait\(n=1\) would exceed")


def not_ready(text: str) -> tuple[NotReady, ...]:
    """The resources that Helm 4 names as not ready."""
    return tuple(NotReady(*(part.strip() for part in match.groups())) for match in _RESOURCE.finditer(text))


def _not_ready(failure: Failure, match: re.Match[str]) -> BotError:
    resources = not_ready(failure.text)
    timed_out = bool(_TIMED_OUT.search(failure.text))
    names = "; ".join(str(r) for r in resources[:3]) + (f" and {len(resources) - 3} more" if len(resources) > 3 else "")
    what = "were not ready in time" if timed_out else "failed"
    return NotReadyInTime(
        f"Resources of {failure.subject} {what}{': ' + _cut(names) if names else '.'}",
        resources=resources,
        timed_out=timed_out,
        evidence=failure.evidence,
    )


def _hook(failure: Failure, match: re.Match[str]) -> BotError:
    text = failure.text[match.end() :].strip()
    resources = not_ready(text)
    kind, name, why = "", "", text.splitlines()[0] if text else ""
    if resources:
        kind, name, why = resources[0].kind, resources[0].name, resources[0].message or resources[0].status
    elif old := re.search(r"(?P<kind>[Jj]ob|[Pp]od) (?P<name>\S+) failed(?:: (?P<why>.+))?", text):
        kind, name, why = old["kind"].capitalize(), old["name"], old["why"] or "it failed"
    timed_out = bool(_TIMED_OUT.search(text))
    named = f"{kind} {name}" if name else "a hook"
    late = " did not end in time" if timed_out else ""
    return HookFailed(
        f"The {match['event']} hook failed: {named}{late}: {_cut(why)}",
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


def _conflict(failure: Failure, match: re.Match[str]) -> BotError:
    conflicts: dict[str, tuple[str, ...]] = {}
    for found in _MANAGERS.finditer(failure.text):
        fields = tuple(re.findall(r"\.[\w.\[\]=\-/]+", found["rest"]))
        conflicts[found["manager"]] = conflicts.get(found["manager"], ()) + fields
    owners = "; ".join(f"{who} owns {', '.join(fields) or 'fields'}" for who, fields in conflicts.items())
    return ApplyConflict(
        f"Somebody else has set fields that the chart sets: {_cut(owners or failure.text)}",
        conflicts=conflicts,
        way_out="Decide who owns them: set them in the chart's values, or have the other manager let go.",
        evidence=failure.evidence,
    )


_OBJECT = re.compile(r"for object (?:[^/\s]*/)?(?P<name>\S+) \S+, Kind=(?P<kind>\w+): (?P<why>.+)", re.S)
_INVALID = re.compile(r'^\S+ "[^"]+" is invalid: ')
_LONG_VALUE = re.compile(r"Invalid value: .{60,}: (?=[^:]+$)", re.S)


def _refused_object(failure: Failure, match: re.Match[str]) -> BotError:
    found = _OBJECT.search(failure.text)
    why = _INVALID.sub("", found["why"]) if found else failure.text
    why = _LONG_VALUE.sub("Invalid value: …: ", why)
    which = f"{found['kind']} {found['name']}" if found else "an object of the chart"
    return ManifestRefused(
        f"The API server does not take {which}: {_cut(why)}",
        way_out="The chart or the values must change.",
        evidence=failure.evidence,
    )


def _owned_elsewhere(failure: Failure, match: re.Match[str]) -> BotError:
    return ManifestRefused(
        f"An object of the chart exists already and belongs to somebody else: {_cut(failure.text)}",
        way_out="Remove it, rename it, or label it for this release.",
        evidence=failure.evidence,
    )


def _too_big(failure: Failure, match: re.Match[str]) -> BotError:
    return Permanent(
        f"{failure.subject} is too large for Helm's record of it (1 MiB compressed).",
        way_out="Make the chart smaller: leave files that are not templates out of it by .helmignore.",
        evidence=failure.evidence,
    )


def _dependencies(failure: Failure, match: re.Match[str]) -> BotError:
    return Permanent(
        f"The chart lacks its dependencies: {_cut(match[1])}.",
        way_out="Package it after `helm dependency build`.",
        evidence=failure.evidence,
    )


def _kube_version(failure: Failure, match: re.Match[str]) -> BotError:
    return Permanent(
        f"The chart does not fit the cluster's version: {_cut(match[0])}.",
        way_out="Upgrade the cluster, or take another version of the chart.",
        evidence=failure.evidence,
    )


def _cancelled(failure: Failure, match: re.Match[str]) -> BotError:
    return HelmFailed(
        f"`helm {failure.command}` of {failure.subject} was stopped; Helm has marked the revision as failed.",
        way_out="Roll back, or do it again.",
        evidence=failure.evidence,
    )


def _unknown_flag(failure: Failure, match: re.Match[str]) -> BotError:
    return HelmTooOld(
        f"This version of Helm does not know `{match[1]}`.",
        way_out="Install Helm 4.",
        evidence=failure.evidence,
    )


def _cut(text: str, limit: int = 400) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}… ({len(line) - limit} more characters)"


_ROWS: tuple[tuple[str, Make], ...] = (
    # Order matters: what wraps another text comes first. Parts of a pattern stand one a line for the eye.
    (r"values don't meet the specifications of the schema\(s\) in the following chart\(s\):", _schema),
    (r"(?P<event>(?:pre|post)-(?:upgrade|install|rollback|delete)) hooks? failed: ?", _hook),
    (r"warning: Hook (?P<event>[\w-]+) \S+ failed: ", _hook),
    (r"another operation \(install/upgrade/rollback\) is in progress", _pending),
    (r"release: already exists|secrets \"sh\.helm\.release\.v1\.[^\"]+\" already exists", _pending),
    (r"release: not found|has no deployed releases", _release_not_found),
    (r"release has no (\d+) version", _revision_not_found),
    (r"(?i)kubernetes cluster unreachable.*(?:provide credentials|Unauthorized)", _unauthorized),
    (r"(?i)kubernetes cluster unreachable.*forbidden", _forbidden),
    (r"(?i)kubernetes cluster unreachable.*(?:does not exist|localhost:8080|invalid configuration)", _no_cluster),
    (r"(?i)kubernetes cluster unreachable", _cluster_unreachable),
    (r"is forbidden: User|forbidden: User \"", _forbidden),
    (r"the server has asked for the client to provide credentials|\bUnauthorized\b", _unauthorized),
    (r"invalid ownership metadata|cannot be imported into the current release", _owned_elsewhere),
    (r"(?i)conflict occurred while applying|Apply failed with \d+ conflicts?", _conflict),
    (r"Too long: (?:must have|may not be more than|must be no more).*\d+|request is too large", _too_big),
    (r"missing in charts/ directory: ([^\n]+)", _dependencies),
    (r"chart requires kubeVersion: [^\n]+", _kube_version),
    (r"resource \S+ not ready\. status: ", _not_ready),
    (r"YAML parse error on |(?:parse|execution) error (?:at|in) \(|error converting YAML to JSON", _render),
    (r"executing \".+\" at <|template: |error calling \w+:|rendering template failed: ", _render),
    (r"admission webhook \S+ denied|is invalid: |field is immutable|unknown field", _refused_object),
    (r"failed to parse (?P<file>\S+): .*?(?P<why>yaml: .+)", _values_not_yaml),
    (r"no matches for kind|cannot patch \"|unable to build kubernetes objects from", _refused_object),
    (r"strict decoding error|exceeded quota|server-side apply failed", _refused_object),
    (r"failed to fetch \S+ : 404|no chart version found|MANIFEST_UNKNOWN|: not found$", _no_chart),
    (r"chart \"[^\"]+\" (?:version \"[^\"]*\" )?not found|path \"[^\"]+\" not found", _no_chart),
    (r"is not a valid chart repository|failed to (?:fetch|do request|perform)", _repository),
    (r"unexpected status.* [45]\d\d", _repository),
    (r"(?i)unknown (?:shorthand )?flag: (\S+)", _unknown_flag),
    (r"context canceled", _cancelled),
    (r"timed out waiting for the condition|context deadline exceeded", _not_ready),
    (r"connection refused|connection reset|\bEOF\b|i/o timeout|no such host", _broken_connection),
    (r"TLS handshake timeout|no route to host|etcdserver: |http2: ", _broken_connection),
    (r"server is currently unable", _broken_connection),
)
_TABLE = tuple((re.compile(pattern, re.S | re.M), make) for pattern, make in _ROWS)
