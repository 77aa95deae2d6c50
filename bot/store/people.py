"""What people do to runs: each write is guarded by the state that it expects, and by the plan that the person saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, case, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.redaction import redact
from bot.store import reading
from bot.store.records import TRANSITIONS, Decision, Json, RunRecord, RunState, StepState
from bot.store.tables import approvals, overrides, runs, steps, ticks
from bot.store.writing import Carries, Claim, NewRun, Occupied, Stale, Writer


class People(Writer):
    """Ask, approve, reject, override, supply, tick, cancel, decide. ``Stale`` says that somebody was faster."""

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

    async def approve(
        self,
        run_id: str,
        *,
        user: str,
        digest: str,
        alone: bool = False,
        excepted: Sequence[str] = (),
        told: Mapping[str, Json] | None = None,
        by: Carries | None = None,
    ) -> Claim | None:
        """Adds a yes to the plan with ``digest`` and queues the run when there are enough, or when it may be said ``alone``.

        ``excepted`` are the components that the plan leaves out by this word; ``told`` goes into the card's thread. A
        change that runs is asked to stop by an emergency that is queued, in the same transaction. An emergency that may
        start at once is claimed for ``by`` in that transaction too: its claim is given back.

        Raises ``Stale`` when the run does not wait for approval of that plan any more or the time is over, and
        ``TargetHeld`` when another mutating run holds the target (the yes is then not recorded either).
        """
        waiting = and_(
            runs.c.state == RunState.AWAITING_APPROVAL.value,
            runs.c.plan_digest == digest,
            or_(runs.c.expires_at.is_(None), runs.c.expires_at > self._database.now()),
        )
        details: dict[str, Json] = {"digest": digest}
        details |= {"alone": True} if alone else {}
        details |= {"excepted": list(excepted)} if excepted else {}
        claim: Claim | None = None
        try:
            async with self._database.transaction() as connection:
                values: dict[str, Any] = {"excepted": list(excepted)} if excepted else {}
                queued: dict[str, Any] = {"state": RunState.QUEUED.value, "expires_at": None, "note": ""}
                values |= queued if alone else {}
                place = await self._in_line(connection, await self._guarded(connection, run_id, waiting, **values))
                await self._voice(connection, run_id, user=user, decision=Decision.APPROVE, digest=digest, alone=alone)
                if not alone:
                    voices = select(func.count(func.distinct(approvals.c.user))).where(
                        approvals.c.run == run_id,
                        approvals.c.digest == digest,
                        approvals.c.decision == Decision.APPROVE.value,
                    )
                    enough = runs.c.approvals_needed <= voices.scalar_subquery()
                    await connection.execute(update(runs).where(runs.c.id == run_id, enough).values(**queued))
                await self._must_be_free(connection, place)
                stopped = await self._preempt(connection, run_id, place, user=user)
                claim = await self._start(connection, run_id, place, by) if by else None
                details |= {"claimed_by": claim.owner, "fence": claim.fence} if claim else {}
                row = await self._tell(connection, run_id, who=user, what="run.approved", details=details)
                if told is not None:
                    await self._into_thread(connection, run_id, row.channel, key=f"alone:{digest[:16]}", body=told)
        except (IntegrityError, Occupied) as error:
            raise await self._held(run_id) from error
        self._wake(*stopped, *(() if claim else (run_id,)))  # whoever has the claim needs no waking
        return claim

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

        ``child`` is a run that follows from the decision, made in the same transaction. Raises ``TargetHeld`` when a change
        is to be tried again while an emergency holds the target.
        """
        try:
            async with self._database.transaction() as connection:
                stopped = await self._decide(connection, run_id, user=user, state=state, note=note)
                if child is not None:
                    await self._insert(connection, child)
        except Occupied as error:
            raise await self._held(run_id) from error
        self._wake(run_id, *stopped)
        return await self.run(run_id)

    async def _decide(
        self, connection: AsyncConnection, run_id: str, *, user: str, state: RunState, note: str
    ) -> list[str]:
        stopped: list[str] = []
        ended = {} if state is RunState.QUEUED else {"ended_at": self._database.now()}
        guard = runs.c.state == RunState.NEEDS_ATTENTION.value
        place = await self._guarded(connection, run_id, guard, state=state.value, note=note, attempts=0, **ended)
        if state is RunState.QUEUED:
            await self._must_be_free(connection, await self._in_line(connection, place))
            stopped = await self._preempt(connection, run_id, place, user=user)
            again = update(steps).where(
                steps.c.run == run_id,
                steps.c.state.in_([StepState.FAILED.value, StepState.UNKNOWN.value, StepState.CANCELLED.value]),
            )
            cleared = {"state": StepState.PENDING.value, "intent": None, "outcome": None, "progress": ""}
            await connection.execute(again.values(**cleared, started_at=None, ended_at=None))
        await self._tell(connection, run_id, who=user, what=f"run.{state.value}_by_person", details={"note": note})
        return stopped

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
