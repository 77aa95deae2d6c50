"""What Helm 4.3.1 and Helm 3.18 say on stderr, as progress."""

from __future__ import annotations

import pytest

from bot.helm.models import Progress
from bot.helm.progress import ProgressFilter, logfmt, parse_progress

HELM4 = (
    'level=DEBUG msg="waiting for resource" namespace=prod name=web kind=Deployment expectedStatus=Current '
    "actualStatus=InProgress"
)
STAMP = "2025-06-01 10:00:00.1 +0000 UTC m=+0.055 [debug]"


@pytest.mark.parametrize(
    ("line", "note"),
    [
        (HELM4, Progress("Deployment", "web", "InProgress", "Deployment web: InProgress")),
        (
            'level=DEBUG msg="created a new resource" namespace=prod name=web kind=Service',
            Progress("Service", "web", "created", "Service web: created"),
        ),
        (
            'level=DEBUG msg="waiting for resources" count=3 timeout=1m0s',
            Progress("", "", "waiting", "waiting for 3 resources"),
        ),
        (
            f"client.go:753: {STAMP} Watching for changes to Job migrate with timeout of 5m0s",
            Progress("Job", "migrate", "waiting", "Watching for changes to Job migrate with timeout of 5m0s"),
        ),
        (
            f"ready.go:303: {STAMP} Deployment is not ready: prod/web. 0 out of 1 expected pods are ready",
            Progress(
                "Deployment",
                "web",
                "InProgress",
                "Deployment is not ready: prod/web. 0 out of 1 expected pods are ready",
            ),
        ),
        (
            'W1122 15:22:33.000000   12 warnings.go:70] unknown field "spec.typo"',
            Progress("", "", "warning", 'unknown field "spec.typo"'),
        ),
    ],
)
def test_lines_that_matter_become_notes(line: str, note: Progress) -> None:
    assert parse_progress(line) == note


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Error: x",
        HELM4.replace("InProgress", "Unknown"),
        'level=DEBUG msg="Chart path" path=/x',
        f"x.go:1: {STAMP} anything",
    ],
)
def test_other_lines_are_no_progress(line: str) -> None:
    assert parse_progress(line) is None


def test_a_note_that_repeats_the_one_before_is_left_out() -> None:
    notes: list[Progress] = []
    lines = ProgressFilter(notes.append)
    for line in (HELM4, HELM4, HELM4.replace("InProgress", "Current"), HELM4):
        lines.line(line)
    assert [note.status for note in notes] == ["InProgress", "Current", "InProgress"]


def test_quoted_values_are_read_as_go_writes_them() -> None:
    assert logfmt(r'level=WARN msg="a \"b\" c=d" error="x\ny" z=') == {
        "level": "WARN",
        "msg": 'a "b" c=d',
        "error": "x\ny",
        "z": "",
    }
