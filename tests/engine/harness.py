"""A whole engine on a real database, without Slack and without a cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from bot.engine.asking import Ask, new_id
from bot.engine.clients import TargetClients
from bot.engine.desk import Desk
from bot.engine.executor import Executor
from bot.engine.leading import lead
from bot.engine.planner import Planner
from bot.engine.schedule import Scheduler
from bot.engine.worker import Worker
from bot.settings import ChartSection, Configuration, EngineSection, Target
from bot.store.database import Database
from bot.store.journal import Journal
from bot.store.leases import Leases
from bot.store.outbox import Outbox
from bot.store.records import RunRecord, RunState
from bot.store.schedules import Schedules
from tests.engine.scripted import ScriptedRunbooks

ALICE, BOB, CAROL = "U0ALICE", "U0BOB", "U0CAROL"


def configuration(**engine: Any) -> Configuration:
    """Two targets whose clients are never reached."""
    chart = ChartSection(name="aeterna", repo="http://127.0.0.1:1/")
    targets = tuple(
        Target(name=name, namespace=name, release="aeterna", chart=chart, channels=("C0OPS",))
        for name in ("prod", "staging")
    )
    return Configuration(targets=targets, engine=EngineSection(**engine))


async def no_clients(_target: Target) -> TargetClients:
    return cast(TargetClients, None)


@dataclass
class Replica:
    """One replica's engine."""

    database: Database
    journal: Journal
    outbox: Outbox
    desk: Desk
    worker: Worker
    scheduler: Scheduler
    configuration: Configuration

    async def ask(
        self,
        runbook: str = "upgrade",
        *,
        user: str = ALICE,
        key: str | None = None,
        incident: bool = False,
        dry_run: bool = False,
        **inputs: str,
    ) -> RunRecord:
        """Asks for a run on prod."""
        given = inputs or {"version": "0.2.1"}
        key = key or new_id()
        return await self.desk.ask(Ask(runbook, "prod", given, user, "C0OPS", key, incident=incident, dry_run=dry_run))

    async def until(self, run_id: str, *states: RunState) -> RunRecord:
        """Waits until the run is in one of ``states``."""
        return await self.when(run_id, lambda run: run.state in states, f"in {states}")

    async def when(self, run_id: str, true: Callable[[RunRecord], bool], what: str = "as expected") -> RunRecord:
        """Waits until ``true`` of the run."""
        run = await self.journal.run(run_id)
        try:
            async with asyncio.timeout(20):
                while not true(run):
                    await self.outbox.wait(0.2)
                    run = await self.journal.run(run_id)
        except TimeoutError:
            raise AssertionError(f"run is {run.state} ({run.note}), not {what}: {run}") from None
        return run


def build(
    database: Database,
    runbooks: ScriptedRunbooks,
    workspace: Path,
    *,
    owner: str = "replica-a",
    settings: Configuration | None = None,
) -> Replica:
    """An engine that does not run yet."""
    settings = settings or configuration(lease=timedelta(seconds=3))
    outbox = Outbox(database)
    woken: list[Callable[[str], None]] = []

    def changed(run_id: str) -> None:
        for wake in woken:
            wake(run_id)

    journal = Journal(database, outbox, changed=changed)
    planner = Planner(configuration=settings, clients=no_clients, workspace=workspace, journal=journal)
    executor = Executor(
        journal=journal,
        runbooks=runbooks,
        planner=planner,
        clients=no_clients,
        configuration=settings,
        workspace=workspace,
    )
    lease = settings.engine.lease
    worker = Worker(journal=journal, executor=executor, owner=owner, lease=lease, look_every=0.2)
    scheduler = Scheduler(journal=journal, schedules=Schedules(database), keep_runs=timedelta(days=1), look_every=0.2)
    woken += [worker.wake, scheduler.wake]
    desk = Desk(journal=journal, database=database, runbooks=runbooks, configuration=settings, worker=worker)
    return Replica(database, journal, outbox, desk, worker, scheduler, settings)


@contextlib.asynccontextmanager
async def running(url: str, runbooks: ScriptedRunbooks, workspace: Path, **options: Any) -> AsyncIterator[Replica]:
    """An engine that carries runs until the end of the block, then hands over within a moment."""
    database = Database(url)
    await database.ready()
    replica = build(database, runbooks, workspace, **options)
    leases = Leases(database, owner="replica-a", length=timedelta(seconds=3))
    tasks = [
        asyncio.create_task(replica.worker.serve()),
        asyncio.create_task(lead(leases, "scheduler", replica.scheduler.serve, every=0.2)),
    ]
    try:
        yield replica
    finally:
        await replica.worker.stop(grace=timedelta(seconds=0.2))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await leases.release()
        await database.close()


def states(run: RunRecord) -> Mapping[str, str]:
    """Each step's state by its id."""
    return {step.id: step.state.value for step in run.steps}
