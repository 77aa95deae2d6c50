"""What our journal proves of a release's revisions: who made them, and which were found healthy or not.

A revision is *good* when a verification, or the baseline right before a change, found it healthy. Old journals do not name the
revision that was looked at; then it is the one that the same run made, or (for a baseline) found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bot.engine.contract import Past
from bot.helm.models import Revision
from bot.store.records import PastStep, StepState
from runbooks import revisions
from runbooks.steps.verify import UNHEALTHY

VERIFY, BASELINE = "verify.release", "verify.baseline"
MAKING = ("helm.upgrade", "helm.rollback", "helm.unlock")
"""The step kinds that make a revision; their intent names the one before, their outcome the new one."""
_SKEW = timedelta(minutes=1)  # between the database's clock and the one of Helm's host
_OVER = (StepState.DONE, StepState.WARNING, StepState.FAILED)


@dataclass(frozen=True)
class Proof:
    """What a look at a revision found, when, and in which run."""

    healthy: bool
    run: str
    at: datetime


@dataclass(frozen=True)
class Known:
    """``proofs`` by revision, the newest look each; ``askers`` by run."""

    proofs: Mapping[int, Proof] = field(default_factory=dict)
    askers: Mapping[str, str] = field(default_factory=dict)

    def good(self, number: int) -> bool:
        """Whether we saw this revision healthy when we looked last."""
        return number in self.proofs and self.proofs[number].healthy

    def bad(self, number: int) -> bool:
        """Whether we saw this revision not healthy when we looked last."""
        return number in self.proofs and not self.proofs[number].healthy

    def asker(self, revision: Revision) -> str | None:
        """Who asked for the run that made it; None where that is not in the journal."""
        run = revisions.made_by(revision)
        return self.askers.get(run) if run else None


async def known(past: Past, history: Iterable[Revision]) -> Known:
    """What the journal has about these revisions."""
    return judged(await past(VERIFY, BASELINE, *MAKING), history)


def judged(steps: Sequence[PastStep], history: Iterable[Revision]) -> Known:
    """As ``known``, over steps in the order newest first."""
    since = {revision.revision: revision.updated for revision in history}
    proofs: dict[int, Proof] = {}
    for one in steps:
        healthy, number = _healthy(one), _revision(one, steps)
        at = one.step.ended_at
        if healthy is None or number not in since or at is None:
            continue
        made = since[number]
        if made is not None and at + _SKEW < made:  # of a release of the same name that was there before
            continue
        if number not in proofs or proofs[number].at < at:
            proofs[number] = Proof(healthy, one.run, at)
    return Known(proofs, {one.run: one.requested_by for one in steps})


def best(history: Sequence[Revision], found: Known) -> list[Revision]:
    """The revisions worth going back to, those first that we saw healthy, each group newest first; none that we saw sick."""
    worth = [one for one in revisions.good_revisions(history) if not found.bad(one.revision)]
    return sorted(worth, key=lambda one: not found.good(one.revision))


def _healthy(one: PastStep) -> bool | None:
    """What a step says of the revision's health; None where it says nothing."""
    if one.step.uses == BASELINE:
        return True if one.step.state is StepState.DONE else None
    if one.step.uses != VERIFY or one.step.state not in _OVER:
        return None
    if one.step.state is StepState.FAILED:
        return False if one.step.summary.startswith(UNHEALTHY) else None
    return True


def _revision(one: PastStep, steps: Iterable[PastStep]) -> int:
    """The revision that a step looked at; 0 where it cannot be told."""
    told: object = _facts(one).get("revision")
    if told is None:
        made = next((other for other in steps if other.run == one.run and other.step.uses in MAKING), None)
        if made is not None:
            before = one.step.uses == BASELINE
            told = (made.step.intent or {}).get("revision") if before else _facts(made).get("revision")
    return int(str(told or 0))


def _facts(one: PastStep) -> Mapping[str, object]:
    facts = (one.step.outcome or {}).get("facts")
    return facts if isinstance(facts, Mapping) else {}
