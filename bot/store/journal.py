"""The journal: every write of a run, each one a guarded transaction with its audit row and its card's renewal.

Secrets are redacted here, before anything is stored.
People's writes (approve, reject, cancel) are guarded by the state they expect; the carrier's writes by lease and fencing
number as well. A guard that does not hold raises ``Stale`` and changes nothing. Reading is in ``bot.store.reading``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Update, and_, case, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.errors import Refused
from bot.redaction import redact, redact_values
from bot.store import audit, reading
from bot.store.database import Database
from bot.store.outbox import Outbox, OutboxKind, enqueue
from bot.store.records import (
    CARRIED,
    TRANSITIONS,
    Decision,
    Json,
    PastStep,
    PlanRecord,
    RunRecord,
    RunState,
    StepState,
)
from bot.store.tables import approvals, outbox, overrides, runs, schedules, steps, ticks


class Stale(Refused):
    """The run is no longer in the state (or in the hands) that the write expected; nothing was changed."""


class TargetHeld(Refused):
    """Another mutating run holds the target. ``holder`` is that run's id, when it is still there."""

    def __init__(self, message: str, *, holder: str | None) -> None:
        super().__init__(message, way_out="Wait for it, or cancel it.")
        self.holder = holder


@dataclass(frozen=True)
class NewRun:
    """What a run is made of. ``key`` is unique: the same key twice is the same run."""

    id: str
    key: str
    target: str
    runbook: str
    runbook_text: str
    inputs: Mapping[str, Json]
    mutates: bool
    requested_by: str
    channel: str
    approvals_needed: int = 0
    exclude_requester: bool = True
    parent: str | None = None
    pre_approved: bool = False


@dataclass(frozen=True)
class Claim:
    """The right to carry one run on: every write of the carrier stands under it."""

    run: str
    owner: str
    fence: int


class Journal:
    """All writes. ``changed`` is called after each commit with the run's id, to wake whoever carries or posts."""

    def __init__(
        self, database: Database, outbox: Outbox, *, changed: Callable[[str], None] = lambda _run: None
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._changed = changed

    async def create(self, new: NewRun) -> tuple[RunRecord, bool]:
        """The run with ``new.key``, and whether it was made by this call."""
        try:
            async with self._database.transaction() as connection:
                await self._insert(connection, new)
        except IntegrityError:
            existing = await reading.run_by_key(self._database, new.key)
            if existing is None:
                raise
            return existing, False
        self._wake(new.id)
        return await self.run(new.id), True

    async def run(self, run_id: str) -> RunRecord:
        """The run, whole. Raises ``UserMistake`` for an id that does not exist."""
        return await reading.run(self._database, run_id)

    async def past(self, target: str, *uses: str) -> list[PastStep]:
        """What runs of ``target`` did before: the steps of these kinds, newest first."""
        return await reading.past_steps(self._database, target, uses)

    # -- people ---------------------------------------------------------------------------------------------

    async def approve(self, run_id: str, *, user: str, digest: str) -> RunRecord:
        """Adds a yes to the plan with ``digest`` and queues the run when there are enough.

        Raises ``Stale`` when the run does not wait for approval of that plan any more or the time is over, and
        ``TargetHeld`` when another mutating run holds the target (the yes is then not recorded either).
        """
        waiting = and_(
            runs.c.state == RunState.AWAITING_APPROVAL.value,
            runs.c.plan_digest == digest,
            or_(runs.c.expires_at.is_(None), runs.c.expires_at > self._database.now()),
        )
        try:
            async with self._database.transaction() as connection:
                await self._guarded(connection, run_id, waiting)
                await self._voice(connection, run_id, user=user, decision=Decision.APPROVE, digest=digest)
                voices = select(func.count(func.distinct(approvals.c.user))).where(
                    approvals.c.run == run_id,
                    approvals.c.digest == digest,
                    approvals.c.decision == Decision.APPROVE.value,
                )
                enough = runs.c.approvals_needed <= voices.scalar_subquery()
                queue = update(runs).where(runs.c.id == run_id, enough)
                await connection.execute(queue.values(state=RunState.QUEUED.value, expires_at=None, note=""))
                await self._tell(connection, run_id, who=user, what="run.approved", details={"digest": digest})
        except IntegrityError as error:
            raise await self._held(run_id) from error
        self._wake(run_id)
        return await self.run(run_id)

    async def reject(self, run_id: str, *, user: str, digest: str, reason: str = "") -> RunRecord:
        """Ends a waiting run with a no. Raises ``Stale`` when it does not wait any more."""
        guard = and_(runs.c.state == RunState.AWAITING_APPROVAL.value, runs.c.plan_digest == digest)
        async with self._database.transaction() as connection:
            values = {"state": RunState.REJECTED.value, "ended_at": self._database.now(), "expires_at": None}
            await self._guarded(connection, run_id, guard, **values)
            await self._voice(connection, run_id, user=user, decision=Decision.REJECT, digest=digest, reason=reason)
            await self._tell(connection, run_id, who=user, what="run.rejected", details={"reason": reason})
        self._wake(run_id)
        return await self.run(run_id)

    async def override(
        self,
        run_id: str,
        *,
        user: str,
        digest: str,
        codes: Sequence[str],
        reason: str,
        approvable: bool,
        expires_in: timedelta,
    ) -> RunRecord:
        """Lifts blockers of the plan with ``digest``; ``approvable`` says that none is left, so that it can be approved.

        Raises ``Stale`` when the run is not blocked by that plan any more.
        """
        guard = and_(runs.c.state == RunState.BLOCKED.value, runs.c.plan_digest == digest)
        async with self._database.transaction() as connection:
            values: dict[str, Any] = {}
            if approvable:
                expires = self._database.now() + int(expires_in.total_seconds() * 1000)
                values = {
                    "state": RunState.AWAITING_APPROVAL.value,
                    "ended_at": None,
                    "expires_at": expires,
                    "note": "",
                }
                await self._schedule_expiry(connection, run_id, expires)
            await self._guarded(connection, run_id, guard, **values)
            rows = [{"run": run_id, "digest": digest, "code": c, "user": user, "reason": redact(reason)} for c in codes]
            await connection.execute(insert(overrides).values(at=self._database.now()), rows)
            details = {"codes": list(codes), "reason": reason, "digest": digest}
            await self._tell(connection, run_id, who=user, what="run.overridden", details=details)
        self._wake(run_id)
        return await self.run(run_id)

    async def supply(self, run_id: str, *, user: str, values: Mapping[str, Json]) -> RunRecord:
        """Adds values to a blocked run, or to one that waits for approval, and has it planned anew."""
        waiting = [RunState.BLOCKED.value, RunState.AWAITING_APPROVAL.value]
        async with self._database.transaction() as connection:
            known = (await connection.execute(select(runs.c.supplied).where(runs.c.id == run_id))).scalar() or {}
            cleared = {"ended_at": None, "expires_at": None, "attempts": 0, "note": ""}
            changed = {"state": RunState.PLANNING.value, "supplied": {**known, **values}, **cleared}
            await self._guarded(connection, run_id, runs.c.state.in_(waiting), **changed)
            await self._tell(connection, run_id, who=user, what="run.supplied", details={"values": dict(values)})
        self._wake(run_id)
        return await self.run(run_id)

    async def tick(self, run_id: str, *, user: str, item: str) -> RunRecord:
        """Says that a thing on the checklist is done; saying it twice changes nothing."""
        async with self._database.transaction() as connection:
            row = {"run": run_id, "item": item}
            same = [ticks.c[name] == value for name, value in row.items()]
            if (await connection.execute(select(ticks.c.item).where(*same))).first() is None:
                await connection.execute(insert(ticks).values(**row, user=user, at=self._database.now()))
                await self._tell(connection, run_id, who=user, what="run.ticked", details={"item": item})
        self._wake(run_id)
        return await self.run(run_id)

    async def expire(self, run_id: str) -> bool:
        """Ends a run whose approval time is over by the database's clock; whether it was so."""
        guard = and_(
            runs.c.state == RunState.AWAITING_APPROVAL.value,
            runs.c.expires_at.is_not(None),
            runs.c.expires_at <= self._database.now(),
        )
        try:
            async with self._database.transaction() as connection:
                values = {"state": RunState.EXPIRED.value, "ended_at": self._database.now()}
                await self._guarded(connection, run_id, guard, **values)
                await self._tell(connection, run_id, who="aeterna-bot", what="run.expired", details={})
        except Stale:
            return False
        self._wake(run_id)
        return True

    async def request_cancel(self, run_id: str, *, user: str) -> RunRecord:
        """Asks the carrier to stop at the next safe point; a run that nobody carries is cancelled at once."""
        idle = [RunState.AWAITING_APPROVAL, RunState.QUEUED, RunState.NEEDS_ATTENTION]
        ends = or_(
            runs.c.state.in_([state.value for state in idle]),
            and_(runs.c.state == RunState.PLANNING.value, runs.c.lease_owner.is_(None)),
        )
        open_ = runs.c.state.in_([state.value for state in (*idle, RunState.PLANNING, RunState.RUNNING)])
        async with self._database.transaction() as connection:
            await self._guarded(
                connection,
                run_id,
                and_(open_, runs.c.cancel_requested_by.is_(None)),
                cancel_requested_by=user,
                state=case((ends, RunState.CANCELLED.value), else_=runs.c.state),
                ended_at=case((ends, self._database.now()), else_=runs.c.ended_at),
                lease_owner=case((ends, None), else_=runs.c.lease_owner),
            )
            await self._tell(connection, run_id, who=user, what="run.cancel_asked", details={})
        self._wake(run_id)
        return await self.run(run_id)

    async def decide(
        self, run_id: str, *, user: str, state: RunState, note: str = "", child: NewRun | None = None
    ) -> RunRecord:
        """A person's word on a run that needs attention: ``QUEUED`` tries the failed step again, ``FAILED`` ends it.

        ``child`` is a run that follows from the decision, made in the same transaction.
        """
        async with self._database.transaction() as connection:
            ended = {} if state is RunState.QUEUED else {"ended_at": self._database.now()}
            guard = runs.c.state == RunState.NEEDS_ATTENTION.value
            await self._guarded(connection, run_id, guard, state=state.value, note=note, attempts=0, **ended)
            if state is RunState.QUEUED:
                again = update(steps).where(
                    steps.c.run == run_id,
                    steps.c.state.in_([StepState.FAILED.value, StepState.UNKNOWN.value, StepState.CANCELLED.value]),
                )
                cleared = {"state": StepState.PENDING.value, "intent": None, "outcome": None, "progress": ""}
                await connection.execute(again.values(**cleared, started_at=None, ended_at=None))
            await self._tell(connection, run_id, who=user, what=f"run.{state.value}_by_person", details={"note": note})
            if child is not None:
                await self._insert(connection, child)
        self._wake(run_id)
        return await self.run(run_id)

    async def mark_rolled_back(self, run_id: str, *, by: str) -> bool:
        """Says on an ended run that the run ``by`` took it back; whether it applied."""
        ended = [state.value for state, ways in TRANSITIONS.items() if RunState.ROLLED_BACK in ways]
        try:
            async with self._database.transaction() as connection:
                note = f"Taken back by {by}."
                await self._guarded(
                    connection, run_id, runs.c.state.in_(ended), state=RunState.ROLLED_BACK.value, note=note
                )
                await self._tell(connection, run_id, who="aeterna-bot", what="run.rolled_back", details={"by": by})
        except Stale:
            return False
        self._wake(run_id)
        return True

    # -- the carrier ----------------------------------------------------------------------------------------

    async def claim(self, *, owner: str, lease: timedelta, busy: Iterable[str] = ()) -> Claim | None:
        """Takes the oldest run that somebody has to carry and nobody does; a queued one becomes running."""
        free = or_(runs.c.lease_owner.is_(None), runs.c.lease_until < self._database.now())
        candidate = (
            select(runs.c.id)
            .where(runs.c.state.in_([s.value for s in CARRIED]), free, runs.c.id.not_in(list(busy)))
            .order_by(runs.c.created_at)
            .limit(1)
            .with_for_update(skip_locked=True)  # left out by SQLite, which has one writer anyway
        )
        async with self._database.transaction() as connection:
            found = (await connection.execute(candidate)).scalar()
            if found is None:
                return None
            queued = runs.c.state == RunState.QUEUED.value
            taken = (
                update(runs)
                .where(runs.c.id == found, free)
                .values(
                    state=case((queued, RunState.RUNNING.value), else_=runs.c.state),
                    started_at=case(
                        (runs.c.started_at.is_(None) & queued, self._database.now()), else_=runs.c.started_at
                    ),
                    attempts=case((queued, 0), else_=runs.c.attempts + 1),
                    lease_owner=owner,
                    lease_until=self._database.now() + int(lease.total_seconds() * 1000),
                    fence=runs.c.fence + 1,
                )
                .returning(runs.c.fence)
            )
            fence = (await connection.execute(taken)).scalar()
            if fence is None:
                return None
            await self._tell(connection, found, who=owner, what="run.claimed", details={"fence": fence})
        self._outbox.wake()
        return Claim(run=found, owner=owner, fence=fence)

    async def renew(self, claim: Claim, *, lease: timedelta) -> str | None:
        """Prolongs the lease; gives back who asked for a cancel, if somebody did. Raises ``Stale`` when it is lost."""
        until = self._database.now() + int(lease.total_seconds() * 1000)
        async with self._database.transaction() as connection:
            statement = update(runs).where(self._held_by(claim)).values(lease_until=until)
            row = (await connection.execute(statement.returning(runs.c.cancel_requested_by))).first()
        if row is None:
            raise Stale(f"The lease on run {claim.run} is lost.")
        user: str | None = row.cancel_requested_by
        return user

    async def release(self, claim: Claim) -> None:
        """Gives the run back as it is, so that another replica goes on at once. No harm if it was lost already."""
        async with self._database.transaction() as connection:
            statement = update(runs).where(self._held_by(claim))
            # handing over is no crash, so it does not count as an attempt
            await connection.execute(statement.values(lease_owner=None, lease_until=None, attempts=0))
        self._changed(claim.run)

    async def save_plan(
        self,
        claim: Claim,
        plan: PlanRecord,
        *,
        state: RunState,
        note: str,
        expires_in: timedelta | None,
        confirmed_by: str | None = None,
    ) -> None:
        """Freezes the plan and moves the run on from planning (the lease ends with it).

        ``confirmed_by`` has said yes to whatever the plan would be; that is recorded as an approval of this plan.
        """
        expires = None if expires_in is None else self._database.now() + int(expires_in.total_seconds() * 1000)
        ended = {"ended_at": self._database.now()} if state.over else {}
        values = {
            "plan": redact_values(asdict(plan)),
            "plan_digest": plan.digest,
            "expires_at": expires,
            "note": redact(note),
            **ended,
        }
        try:
            async with self._database.transaction() as connection:
                await self._move(connection, claim, RunState.PLANNING, state, **values)
                if expires is not None:
                    await self._schedule_expiry(connection, claim.run, expires)
                details = {"state": state.value, "digest": plan.digest, "bindings": dict(plan.bindings)}
                await self._tell(connection, claim.run, who=claim.owner, what="run.planned", details=details)
                if confirmed_by is not None:
                    yes = Decision.APPROVE
                    await self._voice(connection, claim.run, user=confirmed_by, decision=yes, digest=plan.digest)
                    about = {"digest": plan.digest}
                    await self._tell(connection, claim.run, who=confirmed_by, what="run.approved", details=about)
        except IntegrityError as error:
            raise await self._held(claim.run) from error
        self._wake(claim.run)

    async def move(
        self, claim: Claim, source: RunState, to: RunState, *, note: str = "", child: NewRun | None = None
    ) -> None:
        """Ends the carrying of a run in ``to``; ``child`` is a run that follows from it (made in the same transaction)."""
        ended = {"ended_at": self._database.now()} if to.over else {}
        async with self._database.transaction() as connection:
            await self._move(connection, claim, source, to, note=redact(note), **ended)
            await self._tell(connection, claim.run, who=claim.owner, what=f"run.{to.value}", details={"note": note})
            if child is not None:
                await self._insert(connection, child)
        self._wake(claim.run)

    async def lay_out(self, claim: Claim, rows: Sequence[tuple[str, str, str]]) -> None:
        """Writes the run's steps (id, uses, title) as pending, once."""
        async with self._database.transaction() as connection:
            await self._guarded(connection, claim.run, self._held_by(claim))
            found = (await connection.execute(select(func.count()).where(steps.c.run == claim.run))).scalar_one()
            if found == 0 and rows:
                values = [
                    {
                        "run": claim.run,
                        "number": n,
                        "id": i,
                        "uses": u,
                        "title": t,
                        "state": StepState.PENDING.value,
                    }
                    for n, (i, u, t) in enumerate(rows, start=1)
                ]
                await connection.execute(insert(steps), values)
            await self._renew_card(connection, claim.run)
        self._outbox.wake()

    async def begin_step(self, claim: Claim, number: int, *, intent: Mapping[str, Json]) -> None:
        """The intent: committed before the step starts."""
        values = {
            "state": StepState.RUNNING.value,
            "attempt": steps.c.attempt + 1,
            "intent": redact_values(intent),
            "outcome": None,
            "progress": "",
            "started_at": self._database.now(),
            "ended_at": None,
        }
        await self._write_step(claim, number, "step.intent", values, details={"intent": dict(intent)})

    async def end_step(
        self,
        claim: Claim,
        number: int,
        *,
        state: StepState,
        outcome: Mapping[str, Json],
        message: Mapping[str, Any] | None = None,
    ) -> None:
        """The outcome. ``message`` (``text``, ``evidence``) goes into the card's thread."""
        values = {
            "state": state.value,
            "outcome": redact_values(outcome),
            "progress": "",
            "ended_at": self._database.now(),
        }
        details = {"state": state.value, "summary": outcome.get("summary", "")}
        await self._write_step(claim, number, "step.outcome", values, details=details, message=message)

    async def progress(self, claim: Claim, number: int, text: str) -> None:
        """The line under a running step; not a journal entry, so it leaves no audit row."""
        async with self._database.transaction() as connection:
            await self._guarded(connection, claim.run, self._held_by(claim))
            statement = update(steps).where(
                steps.c.run == claim.run, steps.c.number == number, steps.c.state == StepState.RUNNING.value
            )
            await connection.execute(statement.values(progress=redact(text)[:300]))
            await self._renew_card(connection, claim.run)
        self._outbox.wake()

    async def say(self, run: RunRecord, *, key: str, text: str, evidence: Sequence[Mapping[str, str]] = ()) -> None:
        """Puts a message into the thread of the run's card, once for each ``key``."""
        async with self._database.transaction() as connection:
            body = {"text": redact(text), "evidence": redact_values(evidence)}
            await enqueue(
                connection,
                key=f"run:{run.id}:{key}",
                kind=OutboxKind.THREAD,
                channel=run.channel,
                run=run.id,
                body=body,
            )
        self._outbox.wake()

    # -- inside ---------------------------------------------------------------------------------------------

    async def _schedule_expiry(self, connection: AsyncConnection, run_id: str, due_at: ColumnElement[int]) -> None:
        row = {"id": f"expire:{run_id}:{uuid.uuid4().hex[:12]}", "what": "expire", "subject": run_id}
        await connection.execute(insert(schedules).values(**row, due_at=due_at))

    async def _insert(self, connection: AsyncConnection, new: NewRun) -> None:
        values = {**asdict(new), "state": RunState.PLANNING.value, "fence": 0, "attempts": 0, "note": ""}
        now = self._database.now()
        await connection.execute(insert(runs).values(**values, created_at=now, updated_at=now))
        details = {"runbook": new.runbook, "inputs": dict(new.inputs), "parent": new.parent}
        await self._tell(connection, new.id, who=new.requested_by, what="run.asked", details=details)

    def _wake(self, run_id: str) -> None:
        self._outbox.wake()
        self._changed(run_id)

    def _held_by(self, claim: Claim) -> ColumnElement[bool]:
        return and_(
            runs.c.id == claim.run,
            runs.c.lease_owner == claim.owner,
            runs.c.fence == claim.fence,
            runs.c.lease_until > self._database.now(),
        )

    async def _guarded(
        self, connection: AsyncConnection, run_id: str, guard: ColumnElement[bool], **values: Any
    ) -> None:
        statement: Update = update(runs).where(runs.c.id == run_id, guard)
        result = await connection.execute(statement.values(updated_at=self._database.now(), **values))
        if result.rowcount != 1:
            raise Stale(f"Run {run_id} has moved on meanwhile; nothing was changed.")

    async def _move(
        self, connection: AsyncConnection, claim: Claim, source: RunState, to: RunState, **values: Any
    ) -> None:
        assert to in TRANSITIONS[source], f"{source} → {to} is no transition"  # noqa: S101 - ours, not a user's
        guard = and_(self._held_by(claim), runs.c.state == source.value)
        await self._guarded(connection, claim.run, guard, state=to.value, lease_owner=None, lease_until=None, **values)

    async def _write_step(
        self,
        claim: Claim,
        number: int,
        what: str,
        values: Mapping[str, Any],
        *,
        details: Mapping[str, Json],
        message: Mapping[str, Any] | None = None,
    ) -> None:
        async with self._database.transaction() as connection:
            await self._guarded(connection, claim.run, self._held_by(claim))
            statement = update(steps).where(steps.c.run == claim.run, steps.c.number == number).values(**values)
            row = (await connection.execute(statement.returning(steps.c.id, steps.c.attempt))).one()
            told = {"step": row.id, "attempt": row.attempt, **details}
            run = await self._tell(connection, claim.run, who=claim.owner, what=what, details=told)
            if message is not None:
                key = f"run:{claim.run}:step:{number}:{row.attempt}"
                await enqueue(
                    connection,
                    key=key,
                    kind=OutboxKind.THREAD,
                    channel=run.channel,
                    run=claim.run,
                    body=redact_values(message),
                )
        self._outbox.wake()

    async def _voice(
        self,
        connection: AsyncConnection,
        run_id: str,
        *,
        user: str,
        decision: Decision,
        digest: str,
        reason: str = "",
    ) -> None:
        said = {"run": run_id, "user": user, "decision": decision.value, "digest": digest}
        same = [approvals.c[name] == value for name, value in said.items()]
        if (await connection.execute(select(approvals.c.id).where(*same))).first() is None:
            await connection.execute(insert(approvals).values(**said, at=self._database.now(), reason=reason))

    async def _tell(
        self, connection: AsyncConnection, run_id: str, *, who: str, what: str, details: Mapping[str, Json]
    ) -> Any:
        """Audit row and card, in the transaction of what they tell of; gives back target and channel."""
        statement = select(runs.c.target, runs.c.channel, self._database.now().label("now")).where(runs.c.id == run_id)
        row = (await connection.execute(statement)).one()
        await audit.append(
            connection, at=row.now, who=who, what=what, target=row.target, run=run_id, details=redact_values(details)
        )
        await enqueue(connection, key=f"run:{run_id}:card", kind=OutboxKind.CARD, channel=row.channel, run=run_id)
        return row

    async def _renew_card(self, connection: AsyncConnection, run_id: str) -> None:
        key = f"run:{run_id}:card"
        await connection.execute(update(outbox).where(outbox.c.key == key).values(wanted=outbox.c.wanted + 1))

    async def _held(self, run_id: str) -> TargetHeld:
        run = await self.run(run_id)
        holder = await reading.holder(self._database, run.target)
        if holder is None:
            return TargetHeld(f"{run.target} was held by another run a moment ago.", holder=None)
        return TargetHeld(
            f"{run.target} is held by run {holder.id} ({holder.runbook}, asked by <@{holder.requested_by}>).",
            holder=holder.id,
        )
