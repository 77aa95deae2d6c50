"""Reading the journal: runs with their steps and approvals, whole and consistent."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Label, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.errors import UserMistake
from bot.store.database import Database
from bot.store.records import (
    HOLDING,
    ApprovalRecord,
    Decision,
    FindingRecord,
    Lane,
    OverrideRecord,
    PastStep,
    PlanRecord,
    RunRecord,
    RunState,
    StepRecord,
    StepState,
    TickRecord,
)
from bot.store.tables import approvals, overrides, runs, steps, ticks

_PLAIN = tuple(
    field.name
    for field in dataclasses.fields(RunRecord)
    if field.name
    not in ("state", "lane", "excepted", "plan", "child", "preempts", "steps", "approvals", "overrides", "ticks")
)


def _newest(column: Column[Any], name: str) -> Label[Any]:
    """The newest run that names this one."""
    other = runs.alias(name)
    found = select(other.c.id).where(other.c[column.name] == runs.c.id)
    return found.order_by(other.c.created_at.desc()).limit(1).correlate(runs).scalar_subquery().label(name)


_ABOUT = (
    _newest(runs.c.parent, "child"),
    _newest(runs.c.preempted_by, "preempts"),
    *(
        select(table.c.run).where(table.c.run == runs.c.id).correlate(runs).exists().label(f"has_{table.name}")
        for table in (steps, approvals, overrides, ticks)
    ),
)
_ABOUT_RUN = ("run_id", "runbook", "requested_by")


async def run(database: Database, run_id: str) -> RunRecord:
    """One run. Raises ``UserMistake`` when there is none with that id."""
    found = await _runs(database, runs.c.id == run_id)
    if not found:
        raise UserMistake(f"There is no run {run_id!r}.", way_out="The latest are listed by the command runs.")
    return found[0]


async def run_by_key(database: Database, key: str) -> RunRecord | None:
    """The run that a Slack trigger made, if it did."""
    found = await _runs(database, runs.c.key == key)
    return found[0] if found else None


async def latest(database: Database, target: str | None, *, limit: int) -> list[RunRecord]:
    """The newest runs, newest first; of all targets if ``target`` is None."""
    conditions = [] if target is None else [runs.c.target == target]
    return await _runs(database, *conditions, limit=limit)


async def holders(database: Database, target: str) -> list[RunRecord]:
    """The mutating runs that hold ``target``: none, one, or one of each lane, an emergency first."""
    held = runs.c.state.in_([state.value for state in HOLDING])
    found = await _runs(database, runs.c.target == target, runs.c.mutates, held, limit=len(Lane))
    return sorted(found, key=lambda run: not run.emergency)


async def state(database: Database, run_id: str) -> RunState | None:
    """Only the state, for who waits for it to change; None when there is no such run."""
    async with database.transaction() as connection:
        found = (await connection.execute(select(runs.c.state).where(runs.c.id == run_id))).scalar()
    return RunState(found) if found is not None else None


async def in_states(database: Database, states: Sequence[RunState]) -> list[RunRecord]:
    """Every run in one of ``states``, newest first."""
    return await _runs(database, runs.c.state.in_([state.value for state in states]), limit=1000)


async def past_steps(database: Database, target: str, uses: Sequence[str], *, limit: int = 200) -> list[PastStep]:
    """The steps of the kinds ``uses`` that runs of ``target`` began, newest first, those of runs under way included."""
    about = [runs.c.id.label("run_id"), runs.c.runbook, runs.c.requested_by]
    statement = (
        select(*about, steps)
        .join_from(steps, runs, steps.c.run == runs.c.id)
        .where(runs.c.target == target, steps.c.uses.in_(list(uses)), steps.c.started_at.is_not(None))
        .order_by(steps.c.started_at.desc(), steps.c.run, steps.c.number.desc())
        .limit(limit)
    )
    async with database.transaction() as connection:
        rows = (await connection.execute(statement)).all()
    return [PastStep(row.run_id, row.runbook, row.requested_by, _step(row, without=_ABOUT_RUN)) for row in rows]


async def _runs(database: Database, *conditions: Any, limit: int = 1) -> list[RunRecord]:
    statement = select(runs, *_ABOUT).where(*conditions).order_by(runs.c.created_at.desc(), runs.c.id).limit(limit)
    async with database.transaction() as connection:
        return [await _whole(connection, row) for row in (await connection.execute(statement)).all()]


async def _whole(connection: AsyncConnection, row: Any) -> RunRecord:
    """The run with what belongs to it; a table is only asked when the run's own row says that it has something."""

    async def of(table: Table, order: str) -> Sequence[Any]:
        if not row._mapping[f"has_{table.name}"]:
            return ()
        return (await connection.execute(select(table).where(table.c.run == row.id).order_by(table.c[order]))).all()

    found_steps, voices = await of(steps, "number"), await of(approvals, "id")
    lifted, done = await of(overrides, "at"), await of(ticks, "at")
    return RunRecord(
        **{name: row._mapping[name] for name in _PLAIN},
        state=RunState(row.state),
        lane=Lane(row.lane),
        excepted=tuple(row.excepted),
        preempts=row.preempts,
        plan=_plan(row.plan),
        child=row.child,
        overrides=tuple(OverrideRecord(one.user, one.code, one.digest, one.reason, one.at) for one in lifted),
        ticks=tuple(TickRecord(one.user, one.item, one.at) for one in done),
        steps=tuple(_step(found) for found in found_steps),
        approvals=tuple(
            ApprovalRecord(
                user=voice.user,
                decision=Decision(voice.decision),
                digest=voice.digest,
                at=voice.at,
                reason=voice.reason,
                alone=voice.alone,
            )
            for voice in voices
        ),
    )


def _step(row: Any, *, without: Sequence[str] = ()) -> StepRecord:
    values = {name: value for name, value in row._mapping.items() if name not in ("run", "state", *without)}
    return StepRecord(**values, state=StepState(row.state))


def _plan(stored: Any) -> PlanRecord | None:
    if stored is None:
        return None
    return PlanRecord(
        digest=stored["digest"],
        findings=tuple(FindingRecord(**finding) for finding in stored["findings"]),
        facts=stored["facts"],
        bindings=stored["bindings"],
    )
