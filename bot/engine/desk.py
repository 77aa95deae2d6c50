"""The desk: everything that people can do to runs. Each call is one guarded transition in the journal.

Whether a person has the permission is decided before (``bot.slack.permissions``); the policy of the run itself (distinct
people, not the requester, this plan and no other) is decided here, at the moment of the click.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from bot.engine.approvers import confirmed_alone
from bot.engine.asking import Ask, new_run
from bot.engine.contract import Runbooks
from bot.engine.held import held_by, said
from bot.engine.offers import (
    ROLLBACK,
    UPGRADE,
    chosen,
    following,
    optional,
    plan_mark,
    way_back,
)
from bot.errors import Refused, UserMistake
from bot.settings import Configuration
from bot.store import reading
from bot.store.database import Database
from bot.store.journal import Carries, Claim, Journal, NewRun, Stale
from bot.store.outbox import card_of
from bot.store.records import RunRecord, RunState

Json = Any
Written = TypeVar("Written")
_LOOK = 0.1  # seconds


class Carrying(Protocol):
    """The worker of this process, which an emergency is handed to in the moment in which it is confirmed."""

    @property
    def carries(self) -> Carries | None: ...

    def take(self, claim: Claim) -> None: ...


class Desk:
    """What handlers call."""

    def __init__(
        self,
        *,
        journal: Journal,
        database: Database,
        runbooks: Runbooks,
        configuration: Configuration,
        worker: Carrying | None = None,
    ) -> None:
        self._worker = worker
        self.runbooks = runbooks
        self._journal = journal
        self._database = database
        self._configuration = configuration

    async def ask(self, ask: Ask) -> RunRecord:
        """Makes the run. Raises ``UserMistake`` for wrong inputs and ``TargetHeld`` when another run holds the target."""
        target = self._configuration.target(ask.target)
        if target is None:
            names = ", ".join(target.name for target in self._configuration.targets)
            raise UserMistake(f"There is no target {ask.target!r}.", way_out=f"Targets: {names}.")
        new = new_run(ask, target, self.runbooks)
        known = await reading.run_by_key(self._database, ask.key)
        if known is not None:
            return known
        if new.mutates and not new.dry_run:
            await self._free(ask.target, new)
        run, _ = await self._journal.create(new)
        return run

    async def approve(
        self,
        mark: str,
        *,
        user: str,
        alone: bool = False,
        excepted: Sequence[str] = (),
        seen: RunRecord | None = None,
    ) -> None:
        """A yes to the plan that ``mark`` names (``RUN`` or ``RUN:PLAN``). Raises ``Refused`` with the reason.

        ``alone``: the person has the run's ``incident`` permission, in an incident channel; then it is enough, whoever
        asked, and the approvers are told. ``excepted`` are components that the plan calls optional. ``seen`` is the run as
        it was read a moment ago, which spares a reading; the write itself is guarded.
        """
        run = await self._waiting(mark, seen)
        alone = alone and run.incident is not None
        if run.exclude_requester and user == run.requested_by and not alone:
            raise Refused(
                "You asked for this run, so somebody else has to approve it.",
                way_out="Anybody with the permission approve can press the button.",
            )
        if wrong := sorted(set(excepted) - optional(run)):
            raise Refused(
                f"{', '.join(wrong)} cannot be left out of this plan.", way_out="Look at the card as it is now."
            )
        if open_ := run.unticked("before"):
            raise Refused(
                f"This has to be done first: {'; '.join(str(item['text']) for item in open_)}.",
                way_out="Do it, and press its button on the card.",
            )
        if any(voice.user == user for voice in run.valid_approvals):
            raise Refused("You have approved this plan already; it needs one more person.")
        told = confirmed_alone(self._configuration, run, user=user) if alone else None
        claim = await self._guarded(
            run,
            self._journal.approve(
                run.id,
                user=user,
                digest=self._digest(run),
                alone=alone,
                excepted=excepted,
                told=told,
                by=self._worker.carries if self._worker else None,
            ),
        )
        if claim is not None and self._worker is not None:
            self._worker.take(claim)

    async def reject(self, mark: str, *, user: str, reason: str = "") -> RunRecord:
        """A no to the plan that ``mark`` names; it ends the run."""
        run = await self._waiting(mark)
        return await self._guarded(
            run, self._journal.reject(run.id, user=user, digest=self._digest(run), reason=reason)
        )

    async def override(self, mark: str, *, user: str, reason: str, release: str) -> RunRecord:
        """Goes on in spite of the blockers of the plan that ``mark`` names. ``release`` is the release's name, as typed.

        Raises ``UserMistake`` when that name or the reason is wrong, ``Refused`` when a blocker may not be overridden.
        """
        run = await self._planned(mark, RunState.BLOCKED)
        target = self._configuration.target(run.target)
        if target is None or release.strip() != target.release:
            raise UserMistake("That is not the release's name.", way_out="Type it exactly, to show that you mean it.")
        if len(reason.strip()) < 5:
            raise UserMistake("A reason is needed.", way_out="Say in a few words why it is right to go on.")
        left = run.blockers
        if not left or any(not finding.override for finding in left):
            raise Refused("The plan has a blocker that nobody may override.", way_out="Put that right, and plan again.")
        policy = self.runbooks.parse(run.runbook_text).approval
        expires = (policy.expires if policy else None) or self._configuration.approvals.expires
        codes = sorted({finding.code for finding in left})
        lifted = self._journal.override(
            run.id,
            user=user,
            digest=self._digest(run),
            codes=codes,
            reason=reason.strip(),
            approvable=True,
            expires_in=expires,
        )
        return await self._guarded(run, lifted)

    async def supply(self, mark: str, *, user: str, values: Mapping[str, Json]) -> RunRecord:
        """Gives the run values by dotted path and plans it again. The caller has checked their types."""
        run = await self._planned(mark, RunState.BLOCKED, RunState.AWAITING_APPROVAL)
        return await self._guarded(run, self._journal.supply(run.id, user=user, values=values))

    async def choose(self, value: str, *, user: str) -> RunRecord:
        """``RUN:PLAN:NUMBER``: the run is planned again, to do what that choice of its plan says."""
        mark, _, number = value.rpartition(":")
        run = await self._planned(mark, RunState.BLOCKED, RunState.AWAITING_APPROVAL)
        values = chosen(run, number)
        if values is None:
            raise Refused("The plan does not offer that any more.", way_out="Look at the card as it is now.")
        return await self.supply(mark, user=user, values=values)

    async def tick(self, value: str, *, user: str) -> RunRecord:
        """``RUN:ITEM``: says that a thing on the run's checklist is done."""
        run_id, _, item = value.partition(":")
        run = await self._journal.run(run_id)
        if item not in {str(known["id"]) for known in run.checklist}:
            raise Refused("That is not on the checklist of the plan as it is now.", way_out="Look at the card again.")
        return await self._journal.tick(run.id, user=user, item=item)

    async def cancel(self, run_id: str, *, user: str) -> RunRecord:
        """Stops the run at its next safe point."""
        run = await self._journal.run(run_id)
        if run.state.over:
            raise Refused(f"Run {run.id} is over ({said(run.state)}); there is nothing to cancel.")
        if run.cancel_requested_by:
            raise Refused(f"<@{run.cancel_requested_by}> asked for that already; it stops at its next safe point.")
        return await self._guarded(run, self._journal.request_cancel(run.id, user=user))

    async def stop(self, run_id: str, *, user: str) -> RunRecord:
        """Ends a run that needs attention, leaving everything as it is."""
        run = await self._attention(run_id)
        note = f"Stopped here by <@{user}>. The release stays as it is."
        return await self._guarded(run, self._journal.decide(run.id, user=user, state=RunState.FAILED, note=note))

    async def retry(self, run_id: str, *, user: str, key: str, channel: str) -> RunRecord:
        """Tries the failed step again; of a run that is over, makes a new one with the same inputs."""
        run = await self._journal.run(run_id)
        if run.state is RunState.NEEDS_ATTENTION:
            return await self._guarded(run, self._journal.decide(run.id, user=user, state=RunState.QUEUED))
        if not run.state.over:
            raise Refused(f"Run {run.id} is {said(run.state)}; there is nothing to try again yet.")
        if run.state in (RunState.SUCCEEDED, RunState.ROLLED_BACK):
            raise Refused(f"Run {run.id} is {said(run.state)}; ask for a new run instead.")
        inputs = {name: str(value) for name, value in run.inputs.items() if value is not None}
        ask = Ask(
            run.runbook,
            run.target,
            inputs,
            user=user,
            channel=channel,
            key=key,
            incident=run.incident is not None,
            dry_run=run.dry_run,
            supplied=run.supplied,
        )
        return await self.ask(ask)

    async def roll_back(self, run_id: str, *, user: str, key: str, channel: str, incident: bool = False) -> RunRecord:
        """Starts the rollback of a finished or failed run to what was there before, confirmed by this click.

        Where the rollback's approval excludes who asks, the click confirms it only in an incident channel (``incident``).
        Raises ``Refused`` when a later run has changed the target: then the way back is not this run's any more.
        """
        run = await self._journal.run(run_id)
        back = way_back(run)
        if back is None:
            raise Refused(f"Run {run.id} has nothing to take back.", way_out="Ask for a rollback with the revision.")
        if run.child is not None:
            return await self._journal.run(run.child)
        if not (run.state.over or run.state is RunState.NEEDS_ATTENTION):
            raise Refused(f"Run {run.id} is {said(run.state)}.", way_out="Cancel it first.")
        await self._newest(run)
        target = self._configuration.target(run.target)
        if target is None:
            raise Refused(f"The target {run.target} is no longer in the configuration.")
        inputs = {"revision": str(back[0])}
        key = f"rollback-of:{run.id}"
        ask = Ask(ROLLBACK, run.target, inputs, user=user, channel=channel, key=key, incident=incident)
        child = new_run(ask, target, self.runbooks, parent=run.id)
        if run.state is RunState.NEEDS_ATTENTION:
            note = f"<@{user}> takes it back by run {child.id}."
            decided = self._journal.decide(run.id, user=user, state=RunState.FAILED, note=note, child=child)
            await self._guarded(run, decided)
            return await self._journal.run(child.id)
        await self._free(run.target, child)
        made, _ = await self._journal.create(child)
        return made

    async def make_permanent(self, run_id: str, *, user: str, key: str, channel: str) -> RunRecord:
        """Asks for an upgrade to the version that runs, with the values that ``offers.following`` tells."""
        run = await self._journal.run(run_id)
        found = following(run)
        if found is None:
            raise Refused(
                f"Run {run.id} has no values that an upgrade could go on with now.",
                way_out="Look at its card. Of a component that was disabled they are `permanent` in its description.",
            )
        version, supplied = found
        inputs = {"version": version}
        return await self.ask(Ask(UPGRADE, run.target, inputs, user, channel, key, supplied=supplied))

    async def run(self, run_id: str) -> RunRecord:
        """One run; ``UserMistake`` when there is none with that id."""
        return await self._journal.run(run_id)

    async def runs(self, target: str | None, limit: int = 10) -> list[RunRecord]:
        """The newest runs, newest first."""
        return await reading.latest(self._database, target, limit=limit)

    async def holders(self, target: str) -> list[RunRecord]:
        """The mutating runs that hold the target: none, one, or an emergency and the change that it has stopped."""
        return await reading.holders(self._database, target)

    async def holder(self, target: str) -> RunRecord | None:
        """The mutating run that holds the target, an emergency before a change."""
        return next(iter(await self.holders(target)), None)

    async def card(self, run_id: str) -> tuple[str, str] | None:
        """Channel and ``ts`` of the run's card, once it has been posted."""
        return await card_of(self._database, run_id)

    async def planned(self, run_id: str, *, within: float) -> RunRecord:
        """The run as soon as its planning is over, or as it is after ``within`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while await reading.state(self._database, run_id) is RunState.PLANNING:  # noqa: ASYNC110 - maybe elsewhere
                    await asyncio.sleep(_LOOK)
        return await self._journal.run(run_id)

    # -- inside ---------------------------------------------------------------------------------------------

    async def _free(self, target: str, new: NewRun) -> None:
        """An emergency waits for no change, only for another emergency; a change for both."""
        holders = await self.holders(target)
        holder = next((run for run in holders if run.lane is new.lane or run.emergency), None)
        if holder is not None:
            raise held_by(holder, wanted=new.runbook)

    async def _waiting(self, mark: str, seen: RunRecord | None = None) -> RunRecord:
        run = seen or await self._journal.run(mark.partition(":")[0])
        if run.state is not RunState.AWAITING_APPROVAL:
            raise Refused(f"Run {run.id} does not wait for approval: it is {said(run.state)}.")
        return self._same(run, mark)

    async def _planned(self, mark: str, *states: RunState) -> RunRecord:
        run = await self._journal.run(mark.partition(":")[0])
        if run.state not in states:
            raise Refused(f"Run {run.id} is {said(run.state)} now.")
        return self._same(run, mark)

    @staticmethod
    def _same(run: RunRecord, mark: str) -> RunRecord:
        """The run, if the plan that the person saw is the one that it has."""
        plan = mark.partition(":")[2]
        if plan and plan_mark(run) != mark:
            raise Refused(
                "The plan has changed since this card was shown.",
                way_out="Look at the card as it is now, then decide.",
            )
        return run

    async def _attention(self, run_id: str) -> RunRecord:
        run = await self._journal.run(run_id)
        if run.state is not RunState.NEEDS_ATTENTION:
            raise Refused(f"Run {run.id} does not wait for a decision: it is {said(run.state)}.")
        return run

    async def _newest(self, run: RunRecord) -> None:
        for later in await self.runs(run.target, limit=50):
            if later.id == run.id:
                return
            if later.mutates and later.steps and later.created_at >= run.created_at:
                raise Refused(
                    f"Run {later.id} ({later.runbook}) has changed {run.target} since.",
                    way_out="Ask for a rollback with the revision that you want.",
                )

    async def _guarded(self, run: RunRecord, write: Awaitable[Written]) -> Written:
        try:
            return await write
        except Stale as error:
            now = await self._journal.run(run.id)
            raise Refused(f"Somebody was faster: run {run.id} is {said(now.state)} now.") from error

    @staticmethod
    def _digest(run: RunRecord) -> str:
        return run.plan.digest if run.plan else ""
