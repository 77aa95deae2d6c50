"""What the store gives back: runs with their steps and approvals, as plain frozen data.

``RunState`` and ``TRANSITIONS`` are the life of a run; every write of a state goes through ``Journal.move`` and its guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from bot.errors import UNSEEN

Json = Any


class RunState(StrEnum):
    """Where a run is in its life."""

    PLANNING = "planning"
    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    RUNNING = "running"
    NEEDS_ATTENTION = "needs_attention"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    BLOCKED = "blocked"
    REJECTED = "rejected"
    EXPIRED = "expired"
    ROLLED_BACK = "rolled_back"

    @property
    def over(self) -> bool:
        """Whether it has ended: nothing more happens by itself or by approval."""
        return self in _OVER


_S = RunState
TRANSITIONS: Mapping[RunState, frozenset[RunState]] = {
    _S.PLANNING: frozenset({_S.AWAITING_APPROVAL, _S.QUEUED, _S.BLOCKED, _S.SUCCEEDED, _S.FAILED, _S.CANCELLED}),
    _S.AWAITING_APPROVAL: frozenset({_S.QUEUED, _S.REJECTED, _S.EXPIRED, _S.CANCELLED}),
    _S.QUEUED: frozenset({_S.RUNNING, _S.CANCELLED}),
    # back to planning: the approval became void because the cluster or the chart changed
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.NEEDS_ATTENTION, _S.PLANNING}),
    _S.NEEDS_ATTENTION: frozenset({_S.QUEUED, _S.FAILED, _S.CANCELLED}),
    _S.SUCCEEDED: frozenset({_S.ROLLED_BACK}),
    _S.FAILED: frozenset({_S.ROLLED_BACK}),
    _S.CANCELLED: frozenset({_S.ROLLED_BACK}),
    # a person with the right overrides the blockers, or supplies what was missing
    _S.BLOCKED: frozenset({_S.AWAITING_APPROVAL, _S.PLANNING}),
    _S.REJECTED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.ROLLED_BACK: frozenset(),
}
_OVER = frozenset(
    {_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.BLOCKED, _S.REJECTED, _S.EXPIRED, _S.ROLLED_BACK},
)
HOLDING = (RunState.QUEUED, RunState.RUNNING, RunState.NEEDS_ATTENTION)
"""States in which a mutating run holds its target."""
CARRIED = (RunState.PLANNING, RunState.QUEUED, RunState.RUNNING)
"""States in which some replica has to carry the run on."""


class Lane(StrEnum):
    """What a run does to its target. Each lane holds a target once; an emergency goes before a change."""

    CHANGE = "change"
    EMERGENCY = "emergency"


class StepState(StrEnum):
    """Where one step of a run is."""

    PENDING = "pending"
    RUNNING = "running"  # the intent is written, the outcome is not
    DONE = "done"
    WARNING = "warning"  # done, with something to look at
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Decision(StrEnum):
    """A person's yes or no to one plan."""

    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True)
class StepRecord:
    """One step of a run. ``outcome`` holds ``summary``, ``facts`` and, for a failure, ``way_out``."""

    number: int
    id: str
    uses: str
    title: str
    state: StepState
    attempt: int = 0
    intent: Mapping[str, Json] | None = None
    outcome: Mapping[str, Json] | None = None
    progress: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def summary(self) -> str:
        return str((self.outcome or {}).get("summary", ""))


@dataclass(frozen=True)
class PastStep:
    """A step that some run of the target did: which run, of which runbook, asked by whom, and the step as it stands."""

    run: str
    runbook: str
    requested_by: str
    step: StepRecord


@dataclass(frozen=True)
class ApprovalRecord:
    """Who said what to which plan. ``alone``: with the permission to confirm alone in an incident channel."""

    user: str
    decision: Decision
    digest: str
    at: datetime
    reason: str = ""
    alone: bool = False


@dataclass(frozen=True)
class FindingRecord:
    """One finding of the stored plan; ``check`` names the check that gave it, ``level`` is blocker, warning or info.

    ``code`` names the kind of finding, ``subject`` the object or key. ``override`` is the permission that lets a person
    go on in spite of a blocker; empty where nobody may.
    """

    check: str
    level: str
    text: str
    way_out: str = ""
    code: str = ""
    subject: str = ""
    override: str = ""

    @property
    def unseen(self) -> bool:
        """Whether it says what could not be looked at."""
        return self.code == UNSEEN


@dataclass(frozen=True)
class OverrideRecord:
    """Who goes on in spite of which kind of blocker of which plan, and why."""

    user: str
    code: str
    digest: str
    reason: str
    at: datetime


@dataclass(frozen=True)
class TickRecord:
    """Who says that a thing on the checklist is done. ``item`` is its id in the plan's checklist."""

    user: str
    item: str
    at: datetime


@dataclass(frozen=True)
class PlanRecord:
    """The frozen plan. ``bindings`` are what the approval is bound to; ``digest`` covers them and the runbook's text."""

    digest: str
    findings: tuple[FindingRecord, ...]
    facts: Mapping[str, Json]
    bindings: Mapping[str, str]


@dataclass(frozen=True)
class RunRecord:
    """One run, whole. ``channel`` is where its card lives; ``note`` is the sentence under the header.

    ``incident`` is the permission with which one person confirms the run alone; None where approval is asked as always.
    ``excepted`` are the components that the confirmation left out. ``preempted_by`` is the emergency that stops this run,
    ``preempts`` the change that this emergency stops.
    """

    id: str
    key: str
    target: str
    runbook: str
    runbook_text: str
    inputs: Mapping[str, Json]
    state: RunState
    mutates: bool
    requested_by: str
    channel: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    note: str = ""
    plan: PlanRecord | None = None
    parent: str | None = None
    child: str | None = None
    pre_approved: bool = False
    approvals_needed: int = 0
    exclude_requester: bool = True
    cancel_requested_by: str | None = None
    lane: Lane = Lane.CHANGE
    dry_run: bool = False
    incident: str | None = None
    excepted: tuple[str, ...] = ()
    preempted_by: str | None = None
    preempts: str | None = None
    lease_owner: str | None = None
    fence: int = 0
    attempts: int = 0
    steps: tuple[StepRecord, ...] = ()
    approvals: tuple[ApprovalRecord, ...] = ()
    supplied: Mapping[str, Json] = field(default_factory=dict)
    overrides: tuple[OverrideRecord, ...] = ()
    ticks: tuple[TickRecord, ...] = ()

    @property
    def emergency(self) -> bool:
        return self.lane is Lane.EMERGENCY

    @property
    def failed_step(self) -> StepRecord | None:
        return next((step for step in self.steps if step.state in (StepState.FAILED, StepState.UNKNOWN)), None)

    @property
    def valid_approvals(self) -> tuple[ApprovalRecord, ...]:
        """The yeses to the plan as it is now."""
        digest = self.plan.digest if self.plan else None
        return tuple(a for a in self.approvals if a.digest == digest and a.decision is Decision.APPROVE)

    @property
    def blockers(self) -> tuple[FindingRecord, ...]:
        """The blockers of the plan that nobody has overridden."""
        if self.plan is None:
            return ()
        lifted = {override.code for override in self.overrides if override.digest == self.plan.digest}
        return tuple(f for f in self.plan.findings if f.level == "blocker" and (not f.code or f.code not in lifted))

    @property
    def checklist(self) -> tuple[Mapping[str, Json], ...]:
        """What a person has to do by hand: ``id``, ``when`` (``before`` or ``after``), ``text``."""
        return tuple(self.plan.facts.get("checklist", ())) if self.plan else ()

    def unticked(self, when: str) -> tuple[Mapping[str, Json], ...]:
        """What of the checklist is still open, before or after the change."""
        done = {tick.item for tick in self.ticks}
        return tuple(item for item in self.checklist if item["when"] == when and item["id"] not in done)
