"""Which revisions the journal proves good, which it saw sick, and who made them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bot.helm.models import ChartRef, Revision, Status
from bot.store.records import PastStep, StepRecord, StepState
from runbooks import proofs, revisions

NOON = datetime(2026, 3, 9, 12, tzinfo=UTC)
SICK = "The release is not healthy. Deployment/aeterna has 0 of 1 pods ready."


def revision(number: int, status: str = "superseded", description: str = "Upgrade complete") -> Revision:
    updated = NOON + timedelta(hours=number)
    return Revision(number, Status(status), updated, ChartRef("aeterna", f"0.{number}.0"), description)


def step(
    run: str, uses: str, state: StepState = StepState.DONE, *, hour: float = 9, summary: str = "", **facts: Any
) -> PastStep:
    intent = {"revision": facts.pop("before")} if "before" in facts else {}
    at = NOON + timedelta(hours=hour)
    outcome = {"summary": summary, "facts": facts}
    return PastStep(
        run, "upgrade", "U0ALICE", StepRecord(1, "x", uses, uses, state, intent=intent, outcome=outcome, ended_at=at)
    )


HISTORY = [revision(1), revision(2), revision(3, "deployed")]


def test_a_verification_proves_the_revision_that_it_names() -> None:
    found = proofs.judged([step("r-1", "verify.release", revision=2)], HISTORY)
    assert (found.good(2), found.good(1), found.good(3)) == (True, False, False)


def test_an_old_verification_is_about_what_its_run_made_and_a_baseline_about_what_it_found() -> None:
    steps = [
        step("r-1", "verify.release", hour=9),
        step("r-1", "helm.upgrade", hour=8, before=2, revision=3),
        step("r-1", "verify.baseline", hour=7),
    ]
    found = proofs.judged(steps, HISTORY)
    assert (found.good(3), found.good(2)) == (True, True)


def test_a_verification_that_found_it_sick_counts_against_it_and_one_that_could_not_look_does_not() -> None:
    steps = [
        step("r-2", "verify.release", StepState.FAILED, summary="The API server does not answer.", hour=10),
        step("r-2", "helm.upgrade", before=1, revision=2),
        step("r-1", "verify.release", StepState.FAILED, summary=SICK, hour=9),
        step("r-1", "helm.upgrade", before=0, revision=1),
    ]
    found = proofs.judged(steps, HISTORY)
    assert (found.bad(1), found.bad(2)) == (True, False)


def test_the_newest_look_counts() -> None:
    steps = [
        step("r-2", "verify.release", revision=2, hour=9),
        step("r-1", "verify.release", StepState.FAILED, summary=SICK, hour=8),
        step("r-1", "helm.upgrade", before=1, revision=2),
    ]
    assert proofs.judged(steps, HISTORY).good(2)


def test_a_proof_from_before_the_release_was_installed_anew_is_none() -> None:
    found = proofs.judged([step("r-1", "verify.release", revision=3, hour=2)], HISTORY)
    assert not found.proofs


def test_the_best_way_back_is_the_newest_that_was_seen_healthy_and_never_one_that_was_seen_sick() -> None:
    history = [revision(1), revision(2), revision(3), revision(4), revision(5, "failed")]
    steps = [
        step("r-3", "verify.release", StepState.FAILED, summary=SICK, hour=9),
        step("r-3", "helm.upgrade", before=3, revision=4),
        step("r-1", "verify.release", revision=2, hour=9),
    ]
    assert [one.revision for one in proofs.best(history, proofs.judged(steps, history))] == [2, 3, 1]


def test_who_made_a_revision_is_read_from_our_mark() -> None:
    ours = revision(2, description="aeterna-bot run r-1: upgrade to 0.2.0")
    found = proofs.judged([step("r-1", "helm.upgrade", before=1, revision=2)], [ours])
    assert (found.asker(ours), revisions.made_by(ours), revisions.purpose(ours)) == (
        "U0ALICE",
        "r-1",
        "upgrade to 0.2.0",
    )
    assert revisions.made_by(revision(1)) is None
    assert found.asker(revision(1)) is None
