"""Reading what ``helm test --logs`` prints: there is no JSON form of it.

A log cannot pass itself off as a suite: suites end where the first ``POD LOGS`` of a known suite begins.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from bot.helm.models import TestReport, TestSuite

_SUITE = re.compile(
    r"^TEST SUITE:[ \t]+(?P<name>\S+)\nLast Started:[ \t]+(?P<started>.+)\n"
    r"Last Completed:[ \t]+(?P<completed>.+)\n"
    r"Phase:[ \t]+(?P<phase>\S+)$",
    re.M,
)
# Helm 4 names the container too.
_LOGS = re.compile(r"^POD LOGS: (?P<name>\S+)(?: \((?P<container>[^)]*)\))?$", re.M)


def read_test_report(text: str, *, passed: bool, error: str) -> TestReport:
    """The suites with their logs. The times are read as UTC: Helm prints them without a zone, and is run with
    ``TZ=UTC``.
    """
    first_log = _LOGS.search(text)
    head = text[: first_log.start()] if first_log else text
    found = list(_SUITE.finditer(head))
    logs = _logs(text, {match["name"] for match in found})
    suites = tuple(
        TestSuite(m["name"], m["phase"], _ansic(m["started"]), _ansic(m["completed"]), logs.get(m["name"], ""))
        for m in found
    )
    return TestReport(suites, passed, error)


def _logs(text: str, known: set[str]) -> dict[str, str]:
    heads = [match for match in _LOGS.finditer(text) if match["name"] in known]
    logs: dict[str, str] = {}
    for number, match in enumerate(heads):
        end = heads[number + 1].start() if number + 1 < len(heads) else len(text)
        body = text[match.end() : end].strip("\n")
        logs[match["name"]] = "\n".join(part for part in (logs.get(match["name"], ""), body) if part)
    return logs


def _ansic(text: str) -> datetime | None:
    """Go's ANSIC form, ``Mon Jan _2 15:04:05 2006``; year 1 means never."""
    try:
        value = datetime.strptime(" ".join(text.split()), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    except ValueError:
        return None
    return value if value.year > 1 else None
