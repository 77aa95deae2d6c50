"""The composition root: settings → store → clients → engine → Slack. Nobody else builds a client.

``App.serve`` runs named, supervised tasks. One that ends by itself ends the process, because a bot that is half alive is worse
than one that its supervisor restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp

from bot.engine.clients import TargetClients
from bot.engine.desk import Desk
from bot.engine.executor import Executor
from bot.engine.leading import lead
from bot.engine.planner import Planner
from bot.engine.schedule import Scheduler
from bot.engine.worker import Worker
from bot.engine.workspace import own_workspace
from bot.fingerprints import Fingerprints
from bot.helm.charts import ChartSource
from bot.helm.client import Helm
from bot.helm.environment import HelmSettings
from bot.helm.releases import ReleaseStore
from bot.helm.repository import chart_repository
from bot.kube.access import ServiceAccess
from bot.kube.cluster import Cluster
from bot.kube.probejob import Probes
from bot.redaction import Redactor
from bot.services.release_notes import ReleaseNotes
from bot.settings import Settings, Target
from bot.slack.client import SlackClients, slack_clients
from bot.slack.connection import SocketConnection
from bot.slack.poster import Poster
from bot.slack.sender import Sender
from bot.slack.web import Probe, serving, web_app
from bot.store.database import Database
from bot.store.journal import Journal
from bot.store.leases import Leases
from bot.store.outbox import Outbox
from bot.store.schedules import Schedules
from handlers.buttons import buttons
from handlers.registration import Entrance, register
from runbooks.library import RunbookLibrary
from runbooks.registry import note_folders, shipped_registry

log = logging.getLogger(__name__)


class ClientFactory:
    """The clients of each target, made when they are first needed and kept; closed all together."""

    def __init__(self, settings: Settings, http: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._http = http
        self._made: dict[str, TargetClients] = {}
        self._making = asyncio.Lock()

    async def __call__(self, target: Target) -> TargetClients:
        """Raises ``BotError`` when the credentials cannot be read; the cluster itself is asked only by the first call."""
        async with self._making:
            if target.name not in self._made:
                self._made[target.name] = await self._make(target)
            return self._made[target.name]

    async def _make(self, target: Target) -> TargetClients:
        config = self._settings.config
        cluster = await Cluster.connect(kubeconfig=self._settings.kubeconfig, context=target.cluster.context)
        helm = Helm(
            HelmSettings(
                program=config.helm.program,
                home=config.state / "helm",
                kubeconfig=self._settings.kubeconfig,
                context=target.cluster.context,
                passed_on=config.helm.environment,
            )
        )
        chart = target.chart
        probe = target.probe or config.probe
        source = ChartSource(name=chart.name or "", repo=chart.repo, oci=chart.oci, path=chart.path)
        return TargetClients(
            helm=helm,
            releases=ReleaseStore(cluster, namespace=target.namespace, release=target.release),
            repository=chart_repository(source, http=self._http, helm=helm),
            cluster=cluster,
            access=ServiceAccess(cluster),
            charts=config.state / "charts",
            fingerprints=Fingerprints(self._settings.secrets.bot_token.get_secret_value(), scope=target.name),
            probes=Probes(
                cluster,
                target.namespace,
                image=probe.image,
                pull_secrets=probe.pull_secrets,
                deadline=probe.deadline.total_seconds(),
            ),
            notes=ReleaseNotes(chart.release_notes, http=self._http) if chart.release_notes else None,
        )

    async def close(self) -> None:
        for clients in self._made.values():
            await clients.cluster.close()


@dataclass(frozen=True)
class Parts:
    """What a running bot is made of."""

    settings: Settings
    database: Database
    outbox: Outbox
    journal: Journal
    desk: Desk
    worker: Worker
    scheduler: Scheduler
    leases: Leases


@contextlib.asynccontextmanager
async def assemble(settings: Settings) -> AsyncIterator[Parts]:
    """Everything but Slack, connected to its database, not running yet. Raises ``BotError`` for what is wrong."""
    config = settings.config
    config.state.mkdir(parents=True, exist_ok=True)
    registry = shipped_registry(migrations=note_folders(config.runbooks))
    runbooks = RunbookLibrary(registry, users=config.runbooks, command=config.slack.command)
    database = Database(settings.database_url.get_secret_value())
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(Redactor(config.redaction.patterns).in_use())
        stack.push_async_callback(database.close)
        await database.ready()
        http = await stack.enter_async_context(aiohttp.ClientSession(trust_env=True))
        clients = ClientFactory(settings, http)
        stack.push_async_callback(clients.close)
        outbox = Outbox(database)
        woken: list[Callable[[str], None]] = []

        def changed(run_id: str) -> None:
            for wake in woken:
                wake(run_id)

        journal = Journal(database, outbox, changed=changed)
        workspace = stack.enter_context(own_workspace(config.state / "work"))
        planner = Planner(configuration=config, clients=clients, workspace=workspace, journal=journal)
        executor = Executor(
            journal=journal,
            runbooks=runbooks,
            planner=planner,
            clients=clients,
            configuration=config,
            workspace=workspace,
        )
        owner = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        worker = Worker(journal=journal, executor=executor, owner=owner, lease=config.engine.lease)
        scheduler = Scheduler(journal=journal, schedules=Schedules(database), keep_runs=config.engine.keep_runs)
        woken += [worker.wake, scheduler.wake]
        yield Parts(
            settings=settings,
            database=database,
            outbox=outbox,
            journal=journal,
            desk=Desk(journal=journal, database=database, runbooks=runbooks, configuration=config, worker=worker),
            worker=worker,
            scheduler=scheduler,
            leases=Leases(database, owner=owner, length=config.engine.lease),
        )


async def serve(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Runs the bot until SIGTERM, SIGINT or ``stop``; then hands its runs over within ``engine.grace``.

    Raises ``BotError`` when it cannot start, and whatever ended one of its tasks.
    """
    stop = stop or asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with assemble(settings) as parts, slack_clients(settings) as clients:
        entrance = register(settings=settings, clients=clients, desk=parts.desk)
        await _supervise(parts, clients, entrance, stop)


async def _supervise(parts: Parts, clients: SlackClients, entrance: Entrance, stop: asyncio.Event) -> None:
    slack, every = parts.settings.config.slack, parts.settings.config.engine.lease.total_seconds() / 3
    poster = Poster(
        outbox=parts.outbox,
        journal=parts.journal,
        sender=Sender(clients.web),
        buttons=buttons,
        command=slack.command,
        update_interval=slack.update_interval.total_seconds(),
    )
    work: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
        "worker": parts.worker.serve,
        "scheduler": lambda: lead(parts.leases, "scheduler", parts.scheduler.serve, every=every),
        "poster": lambda: lead(parts.leases, "poster", poster.run, every=every),
        "commands": entrance.work.run,
    }
    ready: dict[str, Probe] = {"slack posts": lambda: poster.trouble}
    live: dict[str, Probe] = {}
    if slack.mode == "socket":
        connection = SocketConnection(app=entrance.app, clients=clients)
        work["slack"] = connection.run
        ready["slack"] = connection.problem
        live["slack"] = lambda: connection.problem(longer_than=120)
    tasks = {asyncio.create_task(begin(), name=name) for name, begin in work.items()}
    application = web_app(live=live, ready=ready, app=entrance.app if slack.mode == "http" else None)
    async with serving(application, host=slack.host, port=slack.port) as port:
        log.info("serving on port %d", port)
        asked = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait({asked, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            log.info("stopping: %s ended", ", ".join(task.get_name() for task in done))
            await _hear_out(tasks, entrance)
            await parts.worker.stop(grace=parts.settings.config.engine.grace)
            await _last_words(parts, poster)
        finally:
            for task in {asked, *tasks}:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await parts.leases.release()
    for error in ended:
        if isinstance(error, Exception):
            raise error


async def _hear_out(tasks: set[asyncio.Task[None]], entrance: Entrance) -> None:
    """No new command comes in; those that were acknowledged reach the journal."""
    for task in tasks:
        if task.get_name() == "slack":
            task.cancel()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3):
            await entrance.work.drain()


async def _last_words(parts: Parts, poster: Poster) -> None:
    """Gives the poster a moment for what the stop itself changed; what is left is posted by whoever starts next."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3):
            while await parts.outbox.undelivered() and poster.trouble is None:  # noqa: ASYNC110 - a database has no event
                await asyncio.sleep(0.1)
