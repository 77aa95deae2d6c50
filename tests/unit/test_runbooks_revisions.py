"""Which revision is good to go back to, which one is our own, and when Helm is still at work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.engine.contract import RunInfo
from bot.helm.models import ChartRef, Revision, Status
from runbooks import orphans, revisions

RUN = RunInfo("r-1", "prod", "upgrade", {}, "U1")


def history(*lines: str) -> list[Revision]:
    """``superseded 0.1.0`` or ``deployed 0.1.0 <1`` (a rollback to 1), numbered from 1."""
    found = []
    for number, line in enumerate(lines, start=1):
        status, version, *back = line.split()
        description = f"Rollback to {back[0][1:]}" if back else "Upgrade complete"
        found.append(Revision(number, Status(status), None, ChartRef("aeterna", version), description))
    return found


@pytest.mark.parametrize(
    ("lines", "good"),
    [
        (["deployed 0.1.0"], []),
        (["superseded 0.1.0", "deployed 0.2.0"], [1]),
        (["superseded 0.1.0", "superseded 0.2.0", "failed 0.3.0"], [2, 1]),
        (["superseded 0.1.0", "deployed 0.2.0", "failed 0.3.0"], [2, 1]),
        (["deployed 0.1.0", "pending-upgrade 0.2.0"], [1]),
        (["superseded 0.1.0", "failed 0.2.0", "deployed 0.3.0"], [1]),
        (["superseded 0.1.0", "superseded 0.2.0", "deployed 0.1.0 <1"], []),
        (["superseded 0.1.0", "superseded 0.2.0", "superseded 0.1.0 <1", "deployed 0.3.0"], [3, 1]),
        (["superseded 0.1.0", "superseded 0.2.0", "superseded 0.3.0", "deployed 0.2.0 <2"], [1]),
        ([], []),
    ],
)
def test_good_revisions_are_those_that_nobody_rolled_back_from(lines: list[str], good: list[int]) -> None:
    assert [one.revision for one in revisions.good_revisions(history(*lines))] == good


def test_a_failed_revision_that_a_failed_rollback_marked_superseded_is_not_good() -> None:
    lines = history("superseded 0.1.0", "superseded 0.2.0", "failed 0.3.0")
    failed = replace(lines[1], description='Upgrade "aeterna" failed: boom')
    assert [one.revision for one in revisions.good_revisions([lines[0], failed, lines[2]])] == [1]


def test_a_circle_of_rollbacks_ends() -> None:
    assert len(revisions.good_revisions(history("deployed 0.1.0 <2", "deployed 0.1.0 <1"))) <= 1


def revision(number: int, *, description: str = "Upgrade complete", label: str | None = None) -> Revision:
    labels = {revisions.LABEL: label} if label else {}
    return Revision(number, Status.DEPLOYED, None, ChartRef("aeterna", "0.2.1"), description, labels=labels)


@pytest.mark.parametrize(
    ("one", "ours"),
    [
        (revision(2, description="aeterna-bot run r-1: upgrade to 0.2.1"), True),
        (revision(2, description="aeterna-bot run r-12: upgrade to 0.2.1"), False),
        (revision(2, description='Upgrade "aeterna" failed: boom', label="r-1.1"), True),
        (revision(3, description='Upgrade "aeterna" failed: boom', label="r-1.1"), False),  # Helm copied the label
        (revision(2, label="r-2.1"), False),
        (revision(2), False),
    ],
)
def test_a_revision_is_ours_by_its_description_or_by_a_label_that_fits_its_number(one: Revision, ours: bool) -> None:
    assert revisions.is_ours(one, RUN) is ours


def test_the_label_is_one_that_helm_takes() -> None:
    from bot.helm.flags import labels

    assert labels(revisions.labels(RUN, 7)) == ["--labels=aeterna-bot-intent=r-1.7"]


def test_a_helm_at_work_on_this_release_is_seen_and_any_other_process_is_not(tmp_path: Path) -> None:
    def process(number: int, *words: str) -> None:
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "cmdline").write_bytes("\0".join(words).encode())

    process(1, "sh", "-c", "helm upgrade aeterna")
    process(2, "/bin/helm", "list", "--namespace=prod")
    process(3, "/bin/helm", "upgrade", "other", "chart.tgz", "--namespace=prod")
    process(4, "/bin/helm", "upgrade", "aeterna", "chart.tgz", "--namespace=staging")
    process(6, "/bin/helm", "upgrade", "aeterna", "chart.tgz", "--namespace=prod", "--dry-run=server")
    (tmp_path / "self").mkdir()
    assert not orphans.helm_at_work("aeterna", "prod", proc=tmp_path)
    process(5, "/bin/helm", "rollback", "aeterna", "3", "--namespace=prod")
    assert orphans.helm_at_work("aeterna", "prod", proc=tmp_path)
