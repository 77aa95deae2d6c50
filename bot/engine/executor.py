"""Carries one claimed run on: plans it, or does its steps, until it ends, waits for a person, or changes hands."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bot.engine.approvers import confirmed_alone
from bot.engine.asking import new_id
from bot.engine.contract import Level, OnFailure, Runbook, Runbooks, Step, StepContext
from bot.engine.estimates import longest_step
from bot.engine.offers import ROLLBACK, way_back
from bot.engine.plandoc import plan_json
from bot.engine.planner import ClientsOf, Planned, Planner, differences, info
from bot.engine.session import Session, Stop
from bot.engine.steps import Interrupted, StepRunner
from bot.errors import BotError
from bot.settings import Configuration
from bot.store.journal import Journal, NewRun, TargetHeld
from bot.store.records import CARRIED, PlanRecord, RunRecord, RunState, StepRecord, StepState

log = logging.getLogger(__name__)
_ENDED = (StepState.DONE, StepState.WARNING, StepState.SKIPPED)


class Executor:
    """Everything that happens to a run between a claim and its release."""

    def __init__(
        self,
        *,
        journal: Journal,
        runbooks: Runbooks,
        planner: Planner,
        clients: ClientsOf,
        configuration: Configuration,
        workspace: Path,
    ) -> None:
        self._journal = journal
        self._runbooks = runbooks
        self._planner = planner
        self._clients = clients
        self._configuration = configuration
        self._workspace = workspace

    async def carry(self, session: Session) -> None:
        """Goes on with the run where the journal says it is. On a stop it leaves the run as the journal has it."""
        run = await self._journal.run(session.claim.run)
        if run.state not in CARRIED or (run.lease_owner, run.fence) != (session.claim.owner, session.claim.fence):
            return  # it came to its end, or into other hands, though the answer was lost
        try:
            runbook = self._runbooks.parse(run.runbook_text)
        except BotError as error:  # written by a version of the bot that knew other steps
            await self._journal.move(
                session.claim, run.state, RunState.FAILED, note=f"The runbook cannot be read: {error}"
            )
            return
        if run.attempts > self._configuration.engine.max_attempts:
            note = f"Taken up {run.attempts} times without coming to an end; a person has to look."
            end = RunState.FAILED if run.state is RunState.PLANNING else RunState.NEEDS_ATTENTION
            await self._journal.move(session.claim, run.state, end, note=note)
        elif run.state is RunState.PLANNING:
            await self._plan(session, run, runbook)
        else:
            await self._execute(session, run, runbook)

    # -- planning -------------------------------------------------------------------------------------------

    async def _plan(self, session: Session, run: RunRecord, runbook: Runbook) -> None:
        planned = await self._planner.plan(run, runbook)
        if session.stop is Stop.CANCEL or (await self._journal.run(run.id)).cancel_requested_by:
            await self._journal.move(
                session.claim, RunState.PLANNING, RunState.CANCELLED, note="Cancelled while planning."
            )
            return
        if session.stop is not None:
            return
        if runbook.checks:
            files = [{"title": file.title, "text": file.text} for file in planned.files]
            files.append({"title": "plan.json", "text": plan_json(run, planned.plan)})
            await self._journal.say(
                run, key=f"plan:{planned.plan.digest[:16]}", text="The plan in full", evidence=files
            )
        policy = runbook.approval
        if planned.blocked:
            state, note = RunState.BLOCKED, run.note  # the blockers say why; the note, what became void
        elif run.dry_run:
            state, note = RunState.SUCCEEDED, "Dry run: nothing was changed."
        elif not runbook.steps:
            state, note = RunState.SUCCEEDED, ""
        elif policy is not None and policy.count > 0:
            state, note = RunState.AWAITING_APPROVAL, run.note
        else:
            state, note = RunState.QUEUED, ""
        waits = policy is not None and state is RunState.AWAITING_APPROVAL
        expires = (policy.expires or self._configuration.approvals.expires) if policy and waits else None
        layout = self._runbooks.expand(runbook, planned.plan.facts)
        plan = replace(planned.plan, facts={**planned.plan.facts, **await self._laid_out(run, layout, planned.plan)})
        rows = _rows(layout) if run.emergency and not state.over else []
        save = partial(self._journal.save_plan, session.claim, plan, rows=rows)
        alone = run.incident is not None and run.exclude_requester
        try:
            if waits and run.pre_approved and (alone or not run.exclude_requester) and run.plan is None:
                # The click that asked for this run was its confirmation: of its first plan, not of one after a change.
                # Both in one write, for a crash between them would leave the run waiting for a second click.
                enough = run.approvals_needed <= 1 or alone
                told = confirmed_alone(self._configuration, run, user=run.requested_by) if alone else None
                confirmed = RunState.QUEUED if enough else state
                until = None if enough else expires
                await save(
                    state=confirmed, note="", expires_in=until, confirmed_by=run.requested_by, alone=alone, told=told
                )
            else:
                await save(state=state, note=note, expires_in=expires)
        except TargetHeld as error:
            held = state if waits else RunState.BLOCKED
            await save(state=held, note=str(error), expires_in=expires)

    async def _laid_out(self, run: RunRecord, runbook: Runbook, plan: PlanRecord) -> dict[str, Any]:
        """What will be done and how long that takes, for whoever approves it. No part of what the approval is bound to."""
        wanted = _wanted(run, runbook, plan)
        facts: dict[str, Any] = {
            "steps": [step.title for step in wanted],
            "step_kinds": [step.kind.name for step in wanted],
        }
        if runbook.mutates:
            past = await self._journal.past(run.target, *{step.kind.name for step in wanted})
            facts["longest_step"] = longest_step(wanted, past, self._configuration.engine.step_timeouts)
        return facts

    # -- doing ----------------------------------------------------------------------------------------------

    async def _execute(self, session: Session, run: RunRecord, runbook: Runbook) -> None:
        begun = any(step.state is not StepState.PENDING for step in run.steps)
        # The steps of an emergency look at every object as they change it; a second plan would only cost time.
        again = runbook.mutates and not begun and not run.emergency
        if again and not await self._still_approved(session, run, runbook):
            return
        runbook = self._runbooks.expand(runbook, run.plan.facts if run.plan else {})
        if not run.steps:
            await self._journal.lay_out(session.claim, _rows(runbook))
            run = await self._journal.run(run.id)
        target = self._configuration.target(run.target)
        if target is None:
            note = f"The target {run.target} is no longer in the configuration."
            await self._journal.move(session.claim, RunState.RUNNING, RunState.NEEDS_ATTENTION, note=note)
            return
        clients = await self._clients(target)
        self._workspace.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"run-{run.id}-", dir=self._workspace) as workdir:
            for number, step in enumerate(runbook.steps):
                run = await self._journal.run(run.id) if number else run
                record = next(found for found in run.steps if found.id == step.id)
                if record.state in _ENDED:
                    continue
                if not await self._safe_point(session, run, record):
                    return
                scope = _scope(run)
                context = StepContext(
                    run=info(run),
                    target=target,
                    clients=clients,
                    workdir=Path(workdir),
                    plan=run.plan.facts if run.plan else {},
                    outcomes=scope["outcomes"],
                    progress=lambda _text: None,
                    timeout=self._configuration.engine.step_timeouts.get(step.kind.name, step.timeout),
                    past=partial(self._journal.past, target.name),
                    holders=partial(self._journal.holders, target.name),
                )
                if not await self._one(session, run, step, record, context, scope):
                    return
        await self._succeed(session, await self._journal.run(run.id))

    async def _still_approved(self, session: Session, run: RunRecord, runbook: Runbook) -> bool:
        """Everything is computed again; a difference voids the approval and the run is planned anew."""
        if run.plan is None:
            return True
        again = await self._unless_stopped(session, self._planner.plan(run, runbook))
        if session.stop is Stop.CANCEL:
            await self._cancel(session, await self._journal.run(run.id))
            return False
        if again is None:
            return False
        changed = differences(run.plan, again.plan)
        lifted = {override.code for override in run.overrides if override.digest == run.plan.digest}
        blockers = [f.text for f in again.plan.findings if f.level == Level.BLOCKER and (f.code or None) not in lifted]
        if not changed and not blockers:
            return True
        what = "; ".join(changed or blockers)
        note = f"The approval is void; changed meanwhile: {what}. Nothing was done; this is the plan as of now."
        await self._journal.move(session.claim, RunState.RUNNING, RunState.PLANNING, note=note)
        return False

    @staticmethod
    async def _unless_stopped(session: Session, work: Coroutine[Any, Any, Planned]) -> Planned | None:
        """A plan, or None as soon as the run should not go on: planning changes nothing, so it may end anywhere."""
        task, stop = asyncio.create_task(work), asyncio.create_task(session.wait(None))
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() and session.stop is None else None
        finally:
            task.cancel()
            stop.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    async def _safe_point(self, session: Session, run: RunRecord, record: StepRecord) -> bool:
        """Whether the run goes on with ``record``; between two steps is where it may stop."""
        if record.state in (
            StepState.FAILED,
            StepState.UNKNOWN,
        ):  # the crash came before what follows from it
            await self._after_failure(session, run, record)
            return False
        if record.state is StepState.RUNNING:
            return True  # it has to be reconciled first, whatever else is asked
        if session.stop is Stop.CANCEL or run.cancel_requested_by or record.state is StepState.CANCELLED:
            await self._cancel(session, run)
            return False
        return session.stop is None

    async def _one(
        self,
        session: Session,
        run: RunRecord,
        step: Step,
        record: StepRecord,
        context: StepContext,
        scope: dict[str, Any],
    ) -> bool:
        """Does one step; whether the run goes on after it."""
        claim = session.claim
        if record.state is StepState.PENDING and step.skipped(scope):
            outcome = {"summary": "Left out: it does not apply to this target.", "facts": {}}
            await self._journal.end_step(claim, record.number, state=StepState.SKIPPED, outcome=outcome)
            return True
        runner = StepRunner(journal=self._journal, session=session, timeouts=self._configuration.engine.step_timeouts)
        try:
            ended = await runner.perform(step, record, context, scope)
        except Interrupted:
            return False  # the intent stays open; the next carrier reconciles it
        if ended.state in (StepState.DONE, StepState.WARNING):
            return True
        run = await self._journal.run(run.id)
        if ended.state is StepState.CANCELLED:
            await self._cancel(session, run)
        else:
            await self._after_failure(session, run, next(s for s in run.steps if s.number == record.number), step)
        return False

    async def _after_failure(
        self, session: Session, run: RunRecord, record: StepRecord, step: Step | None = None
    ) -> None:
        if step is None:
            facts = run.plan.facts if run.plan else {}
            runbook = self._runbooks.expand(self._runbooks.parse(run.runbook_text), facts)
            step = next(found for found in runbook.steps if found.id == record.id)
        note = f"{record.title}: {record.summary}"
        if (record.state is StepState.UNKNOWN and step.kind.mutates) or step.on_failure is OnFailure.ASK:
            await self._journal.move(session.claim, RunState.RUNNING, RunState.NEEDS_ATTENTION, note=note)
            return
        child = self._way_back(run) if step.on_failure is OnFailure.ROLLBACK else None
        await self._journal.move(session.claim, RunState.RUNNING, RunState.FAILED, note=note, child=child)

    def _way_back(self, run: RunRecord) -> NewRun | None:
        """The rollback that the approved runbook text asks for; it needs no second approval."""
        back = way_back(run)
        if back is None:
            return None
        return NewRun(
            id=new_id(),
            key=f"rollback-of:{run.id}",
            target=run.target,
            runbook=ROLLBACK,
            runbook_text=self._runbooks.text(ROLLBACK),
            inputs=self._runbooks.inputs(ROLLBACK, {"revision": str(back[0])}),
            mutates=True,
            requested_by=run.requested_by,
            channel=run.channel,
            approvals_needed=1,
            exclude_requester=False,
            parent=run.id,
            pre_approved=True,
        )

    async def _cancel(self, session: Session, run: RunRecord) -> None:
        who = f"<@{run.cancel_requested_by}>" if run.cancel_requested_by else "somebody"
        how = f"Pre-empted by the emergency {run.preempted_by} of" if run.preempted_by else "Cancelled by"
        done = [step for step in run.steps if step.state in (StepState.DONE, StepState.WARNING)]
        last = f" after {done[-1].title!r}" if done else " before anything was changed"
        note = f"{how} {who}{last}."
        await self._journal.move(session.claim, RunState.RUNNING, RunState.CANCELLED, note=note)

    async def _succeed(self, session: Session, run: RunRecord) -> None:
        if run.parent is not None and run.runbook == ROLLBACK:
            await self._journal.mark_rolled_back(run.parent, by=run.id)
        last = next((step for step in reversed(run.steps) if step.state is not StepState.SKIPPED), None)
        note = last.summary if last else ""
        await self._journal.move(session.claim, RunState.RUNNING, RunState.SUCCEEDED, note=note)


def _rows(runbook: Runbook) -> list[tuple[str, str, str]]:
    """The steps as the journal lays them out."""
    return [(step.id, step.kind.name, step.title) for step in runbook.steps]


def _wanted(run: RunRecord, runbook: Runbook, plan: PlanRecord) -> list[Step]:
    """The steps that the plan leads to. What only a later outcome decides is among them."""
    scope = {"inputs": run.inputs, "plan": plan.facts, "outcomes": {}}
    wanted = []
    for step in runbook.steps:
        try:
            skipped = step.skipped(scope)
        except BotError:  # it asks for what an earlier step will have found
            skipped = False
        if not skipped:
            wanted.append(step)
    return wanted


def _scope(run: RunRecord) -> dict[str, Any]:
    """What expressions in a runbook see."""
    outcomes = {step.id: (step.outcome or {}).get("facts", {}) for step in run.steps if step.state in _ENDED}
    return {"inputs": run.inputs, "plan": run.plan.facts if run.plan else {}, "outcomes": outcomes}
