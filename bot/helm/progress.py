"""What Helm says on stderr while it works (``--debug``), read into small progress notes.

Helm 4 writes slog's text form (``level=DEBUG msg="waiting for resource" kind=… actualStatus=…``), Helm 3
prose behind ``[debug]``. Lines that say nothing to a person are dropped, and so is a note that repeats the
one before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from bot.helm.models import Progress

ProgressSink = Callable[[Progress], None]

_PAIR = re.compile(r'([A-Za-z_][\w.-]*)=("(?:[^"\\]|\\.)*"|\S*)')
_HELM3 = re.compile(r"^\w+\.go:\d+: .*?\[debug\] (?P<text>.+)$")
_API_WARNING = re.compile(r"^W\d{4} .*warnings\.go:\d+\] (?P<text>.+)$")


def logfmt(line: str) -> dict[str, str]:
    """The pairs of a line of slog's text form; empty when it is none."""
    if not line.startswith(("level=", "time=")):
        return {}
    return {key: _unquoted(value) for key, value in _PAIR.findall(line)}


def is_log_line(line: str) -> bool:
    """Whether a line of stderr belongs to the log, and not to the error message."""
    return (
        bool(logfmt(line)) or bool(_HELM3.match(line)) or bool(_API_WARNING.match(line)) or line.startswith("WARNING: ")
    )


def parse_progress(line: str) -> Progress | None:
    """The note in one line, if there is one for a person."""
    if pairs := logfmt(line):
        return _from_helm4(pairs)
    if match := _API_WARNING.match(line):
        return Progress("", "", "warning", match["text"])
    if match := _HELM3.match(line):
        return _from_helm3(match["text"])
    return None


class ProgressFilter:
    """Feeds a sink with the notes of a stream of lines, repeats left out."""

    def __init__(self, sink: ProgressSink) -> None:
        self._sink = sink
        self._last: Progress | None = None

    def line(self, line: str) -> None:
        """One line of stderr."""
        note = parse_progress(line)
        if note is not None and note != self._last:
            self._last = note
            self._sink(note)


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        text: Any = json.loads(value)
    except ValueError:  # Go quotes some bytes as \x.., which JSON does not know
        return value[1:-1]
    return str(text)


_STAGES = {
    "preparing upgrade": "preparing",
    "creating upgraded release": "recorded",
    "preparing rollback": "preparing",
    "creating rolled back release": "recorded",
    "performing rollback": "applying",
    "updating status for upgraded release": "finishing",
    "updating status for rolled back release": "finishing",
}


def _from_helm4(pairs: dict[str, str]) -> Progress | None:
    message, name, kind = pairs.get("msg", ""), pairs.get("name", ""), pairs.get("kind", "")
    if message == "waiting for resource":
        status = pairs.get("actualStatus", "")
        if status == "Unknown":  # not looked at yet
            return None
        return Progress(kind, name, status, f"{kind} {name}: {status}")
    if message == "waiting for resources":
        return Progress("", "", "waiting", f"waiting for {pairs.get('count', '?')} resources")
    if message == "all resources achieved desired status":
        return Progress("", "", "ready", f"{pairs.get('resourceCount', 'all')} resources are as wanted")
    if message == "checking resources for changes":
        return Progress("", "", "applying", f"applying {pairs.get('resources', '?')} resources")
    if message == "created a new resource":
        return Progress(kind, name, "created", f"{kind} {name}: created")
    if message in _STAGES:
        return Progress("", name, _STAGES[message], message)
    if pairs.get("level") in {"WARN", "ERROR"} and message != "upgrade failed":
        detail = pairs.get("error") or pairs.get("warning") or ""
        return Progress(kind, name, "warning", f"{message}: {detail}" if detail else message)
    return None


_HELM3_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?P<kind>\w+) is not ready: [^/\s]+/(?P<name>[^\s.]+)\. (?P<rest>.+)"), "InProgress"),
    (
        re.compile(r"(?P<kind>\w+) is not (?P<rest>ready|bound|completed): [^/\s]+/(?P<name>\S+)"),
        "InProgress",
    ),
    (re.compile(r"(?P<kind>Service) (?P<rest>does not have .+): [^/\s]+/(?P<name>\S+)"), "InProgress"),
    (re.compile(r"Watching for changes to (?P<kind>\w+) (?P<name>\S+) with timeout of .+"), "waiting"),
    (re.compile(r"(?P<kind>Pod) (?P<name>\S+) (?P<rest>pending|running|succeeded|failed)"), "InProgress"),
    (
        re.compile(r"(?P<name>\S+): (?P<rest>Jobs active: \d+, jobs failed: \d+, jobs succeeded: \d+)"),
        "InProgress",
    ),
    (re.compile(r'Created a new (?P<kind>\w+) called "(?P<name>[^"]+)" in .+'), "created"),
    (re.compile(r"beginning wait for (?P<rest>\d+ resources) with timeout .+"), "waiting"),
    (re.compile(r"checking (?P<rest>\d+ resources) for changes"), "applying"),
    (re.compile(r"(?P<rest>wait for resources succeeded within .+)"), "ready"),
    (re.compile(r"(?P<rest>preparing (?:upgrade for|rollback of) .+)"), "preparing"),
    (re.compile(r"(?P<rest>creating (?:upgraded release for|rolled back release for) .+)"), "recorded"),
)


def _from_helm3(text: str) -> Progress | None:
    for pattern, status in _HELM3_FORMS:
        if match := pattern.fullmatch(text.strip()):
            parts = match.groupdict()
            kind, name = parts.get("kind") or "", parts.get("name") or ""
            return Progress(kind, name, status, text.strip())
    return None
