"""What the carrier of a run writes: each write is guarded by its lease and its fencing number, by the database's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, case, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.redaction import redact, redact_values
from bot.store.records import CARRIED, Decision, Json, Lane, PlanRecord, RunRecord, RunState, StepState
from bot.store.tables import runs, steps
from bot.store.writing import Claim, NewRun, Place, Stale, Writer, change_runs, emergency_holds


class Carrier(Writer):
    """Claim, plan, steps, end. A carrier whose lease is over, or was taken by another, can write nothing."""

    async def claim(
        self, *, owner: str, lease: timedelta, busy: Iterable[str] = (), only: Lane | None = None
    ) -> Claim | None:
        """Takes the oldest run that somebody has to carry and nobody does; a queued one becomes running.

        Emergencies come first. One waits until the change that runs on its target is at a safe point, and a change does
        not start while an emergency holds the target. ``only`` looks in one lane.
        """
        free = or_(runs.c.lease_owner.is_(None), runs.c.lease_until < self._database.now())
        emergency = runs.c.lane == Lane.EMERGENCY.value
        may_start = or_(
            runs.c.state != RunState.QUEUED.value,
            ~runs.c.mutates,
            and_(emergency, ~change_runs(runs.c.target)),
            and_(~emergency, ~emergency_holds(runs.c.target)),
        )
        wanted = [runs.c.state.in_([s.value for s in CARRIED]), free, runs.c.id.not_in(list(busy)), may_start]
        wanted += [runs.c.lane == only.value] if only else []
        candidate = (
            select(runs.c.id, runs.c.state, runs.c.target, runs.c.lane, runs.c.mutates)
            .where(*wanted)
            .order_by(case((emergency, 0), else_=1), runs.c.created_at)
            .limit(1)
            .with_for_update(skip_locked=True, of=runs)  # left out by SQLite, which has one writer anyway
        )
        async with self._database.transaction() as connection:
            row = (await connection.execute(candidate)).first()
            if row is None:
                return None
            found = row.id
            if row.state == RunState.QUEUED.value:
                await self._in_line(connection, Place(row.target, Lane(row.lane), row.mutates))
            queued = runs.c.state == RunState.QUEUED.value
            taken = (
                update(runs)
                .where(runs.c.id == found, free, may_start)
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
        alone: bool = False,
        told: Mapping[str, Json] | None = None,
        rows: Sequence[tuple[str, str, str]] = (),
    ) -> None:
        """Freezes the plan and moves the run on from planning (the lease ends with it).

        ``confirmed_by`` has said yes to whatever the plan would be; that is recorded as an approval of this plan, said
        ``alone`` or not; ``told`` goes into the card's thread then. ``rows`` are the steps of a run that is not planned
        again (id, uses, title): written now, they need no write when it starts.
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
                place = await self._move(connection, claim, RunState.PLANNING, state, **values)
                queued = state is RunState.QUEUED
                if queued:
                    await self._in_line(connection, place)
                await self._write_rows(connection, claim.run, rows)
                if expires is not None:
                    await self._schedule_expiry(connection, claim.run, expires)
                details = {"state": state.value, "digest": plan.digest, "bindings": dict(plan.bindings)}
                await self._tell(connection, claim.run, who=claim.owner, what="run.planned", details=details)
                if confirmed_by is not None:
                    yes = Decision.APPROVE
                    await self._voice(
                        connection, claim.run, user=confirmed_by, decision=yes, digest=plan.digest, alone=alone
                    )
                    about = {"digest": plan.digest, **({"alone": True} if alone else {})}
                    row = await self._tell(connection, claim.run, who=confirmed_by, what="run.approved", details=about)
                    if told is not None:
                        key = f"alone:{plan.digest[:16]}"
                        await self._into_thread(connection, claim.run, row.channel, key=key, body=told)
                who = confirmed_by or claim.owner
                stopped = await self._preempt(connection, claim.run, place, user=who) if queued else []
        except IntegrityError as error:
            raise await self._held(claim.run) from error
        self._wake(claim.run, *stopped)

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
            if found == 0:
                await self._write_rows(connection, claim.run, rows)
            await self._renew_card(connection, claim.run)
        self._outbox.wake()

    @staticmethod
    async def _write_rows(connection: AsyncConnection, run_id: str, rows: Sequence[tuple[str, str, str]]) -> None:
        state = StepState.PENDING.value
        values = [
            {"run": run_id, "number": number, "id": step, "uses": uses, "title": title, "state": state}
            for number, (step, uses, title) in enumerate(rows, start=1)
        ]
        if values:
            await connection.execute(delete(steps).where(steps.c.run == run_id))
            await connection.execute(insert(steps), values)

    async def begin_step(self, claim: Claim, number: int, *, intent: Mapping[str, Json]) -> None:
        """The intent: committed before the step starts."""
        kept = redact_values(intent)
        values = {
            "state": StepState.RUNNING.value,
            "attempt": steps.c.attempt + 1,
            "intent": kept,
            "outcome": None,
            "progress": "",
            "started_at": self._database.now(),
            "ended_at": None,
        }
        await self._write_step(claim, number, "step.intent", values, details={}, redacted={"intent": kept})

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
        # In a thread, and before the transaction: a large plan's files take a second.
        body = await asyncio.to_thread(redact_values, {"text": text, "evidence": list(evidence)})
        async with self._database.transaction() as connection:
            await self._redacted_into_thread(connection, run.id, run.channel, key=key, body=body)
        self._outbox.wake()
