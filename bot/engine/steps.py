"""One step, from its intent to its outcome: deadline, interruption, retries, reconcile.

The intent is committed before the step starts. After a crash the step is never simply repeated: ``reconcile`` looks first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from pydantic import BaseModel

from bot.engine.contract import Done, Facts, NotStarted, Outcome, Reconciled, Repeat, Step, StepContext, Unknown
from bot.engine.session import Session, Stop
from bot.errors import BotError, OutcomeUnknown, Permanent, Temporary
from bot.store.journal import Journal
from bot.store.records import StepRecord, StepState

log = logging.getLogger(__name__)
PROGRESS_EVERY = 1.5  # seconds; a card is not edited more often anyway


class Interrupted(Exception):
    """The step was stopped from outside; ``stop`` says why, ``None`` means its deadline."""

    def __init__(self, stop: Stop | None) -> None:
        super().__init__(str(stop))
        self.stop = stop


@dataclass(frozen=True)
class Ended:
    """How a step ended, as it stands in the journal. ``error`` is there when it failed."""

    state: StepState
    summary: str
    error: BotError | None = None


class StepRunner:
    """Runs one step of one claimed run."""

    def __init__(self, *, journal: Journal, session: Session, timeouts: Mapping[str, timedelta]) -> None:
        self._journal = journal
        self._session = session
        self._timeouts = timeouts

    async def perform(self, step: Step, record: StepRecord, context: StepContext, scope: Facts) -> Ended:
        """Brings the step from where the journal left it to an outcome, and writes that.

        Raises ``Interrupted`` when this process should let go of the run (the intent then stays open for the next carrier).
        """
        claim, number = self._session.claim, record.number
        try:
            params = step.parameters(scope)
            if record.state is StepState.RUNNING:
                intended = record.intent or {}
                async with self._progress(number, context) as reporting:
                    found = await self._patiently(step, lambda: step.kind.reconcile(reporting, params, intended))
                if isinstance(found, Done):
                    return await self._write(number, StepState.DONE, found.outcome)
                if isinstance(found, Unknown):
                    raise OutcomeUnknown(found.why, evidence=found.evidence)
            intent = await self._patiently(step, lambda: step.kind.intend(context, params))
            await self._journaled(lambda: self._journal.begin_step(claim, number, intent=intent))
            outcome = await self._run(step, context, params, intent, number)
        except Interrupted as interruption:
            if interruption.stop is Stop.CANCEL:
                return await self._cancelled(step, context, scope, record)
            raise
        except BotError as error:
            return await self._failed(step, number, error)
        except Exception:
            reference = secrets.token_hex(4)
            log.exception("step %s of run %s failed unexpectedly (reference %s)", step.id, claim.run, reference)
            text = f"The step failed unexpectedly (reference {reference} in the bot's log)."
            return await self._failed(step, number, Permanent(text))
        return await self._write(number, StepState.WARNING if outcome.warning else StepState.DONE, outcome)

    async def _run(self, step: Step, context: StepContext, params: BaseModel, intent: Facts, number: int) -> Outcome:
        """Runs it under its deadline, and again after temporary errors where the kind allows that."""
        deadline = asyncio.get_running_loop().time() + self._timeout(step).total_seconds()
        pause = 0.5
        async with self._progress(number, context) as reporting:
            while True:
                try:
                    return cast(Outcome, await self._watched(step, step.kind.run(reporting, params, intent), deadline))
                except Temporary as error:
                    wait = error.retry_after or pause
                    if asyncio.get_running_loop().time() + wait >= deadline or step.kind.repeat is Repeat.NEVER:
                        raise
                    reporting.progress(f"Trying again: {error.message}")
                    await self._watched(step, asyncio.sleep(wait), deadline)
                    pause = min(pause * 2, 10.0)
                    if step.kind.repeat is Repeat.CHECK_FIRST:
                        seen = await self._watched(step, step.kind.reconcile(context, params, intent), deadline)
                        if isinstance(seen, Done):
                            return seen.outcome
                        if isinstance(seen, Unknown):
                            raise OutcomeUnknown(seen.why, evidence=seen.evidence) from error

    def _leaving(self) -> bool:
        """Whether this process has to let go, whatever is under way."""
        return self._session.stop in (Stop.HANDOVER, Stop.NOW, Stop.LOST)

    async def _watched(self, step: Step, work: Coroutine[Any, Any, Any], deadline: float) -> Any:
        """Awaits ``work``, unless the deadline or a reason to stop comes first and the kind may be interrupted."""
        kind, loop = step.kind, asyncio.get_running_loop()
        task = asyncio.create_task(work, name=f"step:{step.id}")
        known: Stop | None = None
        try:
            while not task.done():
                if self._session.interrupts(mutates=kind.mutates, interruptible=kind.interruptible):
                    return await self._interrupt(task, self._session.stop)
                known = self._session.stop
                stop = asyncio.create_task(self._session.wait(known))
                left = max(0.0, deadline - loop.time()) if kind.interruptible else None
                await asyncio.wait({task, stop}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                stop.cancel()
                if not task.done() and kind.interruptible and loop.time() >= deadline:
                    return await self._interrupt(task, None, limit=self._timeout(step))
            return task.result()
        finally:
            task.cancel()  # no effect on one that is done; ends it when this process is torn down
            await asyncio.wait({task})

    @staticmethod
    async def _interrupt(task: asyncio.Task[Any], stop: Stop | None, *, limit: timedelta = timedelta()) -> Any:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            return task.result()  # it came to its end all the same, or failed on the way
        if stop is None:
            raise Permanent(
                f"It did not come to its end within {_spoken(limit)}.", way_out="Look at what it waited for."
            )
        raise Interrupted(stop)

    async def _unless_leaving(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Awaits ``work`` that only reads. A cancel does not interrupt it: what is true has to be known first."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                if self._leaving():
                    return await self._interrupt(task, self._session.stop)
                stop = asyncio.create_task(self._session.wait(self._session.stop))
                await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
                stop.cancel()
            return task.result()
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _patiently(self, step: Step, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Read-only work around a step (intend, reconcile), again after temporary errors, up to the step's timeout."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._timeout(step).total_seconds(), 0.5
        while True:
            try:
                return await self._unless_leaving(work())
            except Temporary as error:
                if self._session.stop is not None:
                    raise Interrupted(self._session.stop) from error
                if loop.time() + pause >= deadline:
                    raise
                await asyncio.sleep(error.retry_after or pause)
                pause = min(pause * 2, 10.0)

    async def _cancelled(self, step: Step, context: StepContext, scope: Facts, record: StepRecord) -> Ended:
        """After a cancel: looks what is true now, and says it."""
        current = await self._journal.run(self._session.claim.run)
        intent = next(found.intent for found in current.steps if found.number == record.number) or {}
        if not step.kind.mutates:
            return await self._write(record.number, StepState.CANCELLED, Outcome("Interrupted."))
        try:
            seen: Reconciled = await self._unless_leaving(step.kind.reconcile(context, step.parameters(scope), intent))
        except BotError as error:
            seen = Unknown(f"It was interrupted, and its effect could not be read: {error.message}")
        match seen:
            case Done(outcome):
                return await self._write(record.number, StepState.DONE, outcome)
            case NotStarted(seen=part):
                text = part or "Interrupted; nothing of it is there."
                return await self._write(record.number, StepState.CANCELLED, Outcome(text))
            case Unknown(why, evidence):
                return await self._write(record.number, StepState.CANCELLED, Outcome(why, evidence=evidence))

    async def _failed(self, step: Step, number: int, error: BotError) -> Ended:
        state = StepState.UNKNOWN if isinstance(error, OutcomeUnknown) else StepState.FAILED
        outcome = {"summary": error.message, "way_out": error.way_out, "facts": {}}
        message = {
            "text": f"{step.title}: {error}",
            "evidence": [{"title": item.title, "text": item.text} for item in error.evidence],
        }
        await self._end(number, state, outcome, message)
        return Ended(state, error.message, error)

    async def _write(self, number: int, state: StepState, outcome: Outcome) -> Ended:
        stored = {"summary": outcome.summary, "facts": dict(outcome.facts)}
        message: dict[str, Any] | None = None
        report = outcome.facts.get("report")  # whoever shows it knows how much of it fits on the card
        if outcome.evidence or report:
            evidence = [{"title": item.title, "text": item.text} for item in outcome.evidence]
            message = {"text": outcome.summary, "evidence": evidence, **({"report": report} if report else {})}
        await self._end(number, state, stored, message)
        return Ended(state, outcome.summary)

    async def _end(
        self, number: int, state: StepState, outcome: Mapping[str, Any], message: Mapping[str, Any] | None
    ) -> None:
        claim = self._session.claim
        await self._journaled(
            lambda: self._journal.end_step(claim, number, state=state, outcome=outcome, message=message)
        )

    async def _journaled(self, write: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A write of the journal, again while the database is away, for as long as the lease holds.

        That the database was away is no outcome of a step. Each of these writes may be made twice.
        """
        while True:
            try:
                return await write()
            except Temporary as error:
                if self._session.stop is Stop.LOST:
                    raise Interrupted(Stop.LOST) from error
                await asyncio.sleep(error.retry_after or 0.5)

    def _timeout(self, step: Step) -> timedelta:
        return self._timeouts.get(step.kind.name, step.timeout)

    @contextlib.asynccontextmanager
    async def _progress(self, number: int, context: StepContext) -> Any:
        """A context whose ``progress`` is written to the journal at most every ``PROGRESS_EVERY`` seconds."""
        latest: dict[str, str] = {}
        said = asyncio.Event()

        def progress(text: str) -> None:
            latest["text"] = text
            said.set()

        async def report() -> None:
            while True:
                await said.wait()
                said.clear()
                try:
                    await self._journal.progress(self._session.claim, number, latest["text"])
                except BotError as error:  # it is only the line under a step; the step itself goes on
                    log.debug("progress of run %s not written: %s", self._session.claim.run, error)
                await asyncio.sleep(PROGRESS_EVERY)

        task = asyncio.create_task(report(), name=f"progress:{self._session.claim.run}")
        try:
            yield _with_progress(context, progress)
        finally:
            task.cancel()
            await asyncio.wait({task})


def _with_progress(context: StepContext, progress: Callable[[str], None]) -> StepContext:
    return StepContext(**{**{f: getattr(context, f) for f in context.__dataclass_fields__}, "progress": progress})


def _spoken(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} min"
