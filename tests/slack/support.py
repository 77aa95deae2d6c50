"""A bot without a cluster: the real journal, desk, worker, poster and Slack entry points, with scripted runbooks.

``Script`` decides what a run finds and does; steps wait for the test where it says so.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import BaseModel, SecretStr

from bot.engine.clients import TargetClients
from bot.engine.contract import (
    ApprovalPolicy,
    CheckResult,
    Done,
    Facts,
    Finding,
    Level,
    OnFailure,
    Outcome,
    OverrideRule,
    PlanContext,
    Reconciled,
    Repeat,
    Runbook,
    StepContext,
)
from bot.engine.desk import Desk
from bot.engine.executor import Executor
from bot.engine.planner import Planner
from bot.engine.worker import Worker
from bot.errors import BotError, Evidence, UserMistake
from bot.settings import Configuration, Secrets, Settings
from bot.slack.client import SlackClients, slack_clients
from bot.slack.connection import SocketConnection
from bot.slack.poster import Poster
from bot.slack.sender import Sender
from bot.store.database import Database
from bot.store.journal import Journal
from bot.store.outbox import Outbox
from dev.slack import Message, SlackWorkspace
from handlers.buttons import buttons
from handlers.intake import Work
from handlers.registration import Entrance, register


class NoParams(BaseModel):
    """A scripted step takes nothing."""


@dataclass
class ScriptedStep:
    """A step and its kind in one. It waits for ``go`` and then fails, or ends with ``outcome``."""

    id: str
    title: str
    outcome: Outcome = field(default_factory=lambda: Outcome("done"))
    failure: BotError | None = None
    go: asyncio.Event | None = None
    progress: Sequence[str] = ()
    on_failure: OnFailure = OnFailure.ASK
    mutates: bool = True
    timeout: timedelta = timedelta(seconds=60)
    name: ClassVar[str] = "scripted"
    repeat: ClassVar[Repeat] = Repeat.CHECK_FIRST
    interruptible: ClassVar[bool] = True
    params: ClassVar[type[BaseModel]] = NoParams

    @property
    def kind(self) -> Any:
        return self

    def skipped(self, scope: Facts) -> bool:
        return False

    def parameters(self, scope: Facts) -> BaseModel:
        return NoParams()

    async def intend(self, context: StepContext, params: BaseModel) -> Facts:
        return {}

    async def run(self, context: StepContext, params: BaseModel, intent: Facts) -> Outcome:
        for line in self.progress:
            context.progress(line)
        if self.go is not None:
            await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return self.outcome

    async def reconcile(self, context: StepContext, params: BaseModel, intent: Facts) -> Reconciled:
        return Done(self.outcome)


@dataclass
class ScriptedCheck:
    """A check that finds what the script says."""

    result: CheckResult
    name: ClassVar[str] = "scripted"

    async def check(self, context: PlanContext) -> CheckResult:
        return self.result


@dataclass
class Script:
    """The runbooks of a test. The text of a runbook is its name, so that ``parse`` finds it again."""

    steps: list[ScriptedStep] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(
        default_factory=lambda: {"rollback_to": {"revision": 3, "version": "0.2.0"}, "new_version": "0.2.1"}
    )
    report: Outcome = field(default_factory=lambda: Outcome("Healthy", facts={"report": []}))
    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    overrides: tuple[OverrideRule, ...] = ()
    files: tuple[Evidence, ...] = ()

    def names(self) -> Sequence[str]:
        return ("upgrade", "rollback", "status", "plan", "changelog", "diff")

    def text(self, name: str) -> str:
        if name not in self.names():
            raise UserMistake(f"There is no runbook {name!r}.")
        return name

    def parse(self, text: str) -> Runbook:
        check = ScriptedCheck(CheckResult(findings=tuple(self.findings), facts=self.facts, files=self.files))
        if text == "upgrade":
            steps = tuple(self.steps)
            return Runbook(text, "a new version", "upgrade", (check,), steps, self.approval, overrides=self.overrides)
        if text == "rollback":
            back = ScriptedStep("rollback", "Roll back")
            quick = ApprovalPolicy(exclude_requester=False)
            return Runbook(text, "the version before", "rollback", (ScriptedCheck(CheckResult()),), (back,), quick)
        if text == "plan":
            return Runbook(text, "what an upgrade would do", "plan", (check,), (), None)
        look = ScriptedStep("look", "Look", outcome=self.report, mutates=False)
        return Runbook(text, "how it is", "view", (), (look,), None, report=True)

    def expand(self, runbook: Runbook, facts: Facts) -> Runbook:
        return runbook

    def inputs(self, name: str, given: Mapping[str, str]) -> dict[str, Any]:
        allowed = {
            "upgrade": ("version",),
            "plan": ("version",),
            "rollback": ("revision",),
            "changelog": ("range",),
            "diff": ("version", "part"),
        }.get(name, ())
        for key in given:
            if key not in allowed:
                raise UserMistake(f"The runbook {name} has no input {key!r}.")
        if "version" in allowed:
            version = given.get("version")
            if version is None:
                raise UserMistake("The version is missing.", way_out="A version looks like 0.2.1.")
            if version.count(".") != 2:
                raise UserMistake(f"{version!r} is not a version.", way_out="A version looks like 0.2.1.")
        return dict(given)


def upgrade_steps(**last: Any) -> list[ScriptedStep]:
    """Backup, upgrade and proof; ``last`` changes the upgrade."""
    return [
        ScriptedStep("backup", "Back up the database", outcome=Outcome("backup aeterna-20260102 is complete")),
        ScriptedStep("upgrade", "Upgrade the release", **{"outcome": Outcome("revision 4 is deployed"), **last}),
        ScriptedStep("verify", "Prove that it is healthy", outcome=Outcome("all 3 server pods ready, version 0.2.1")),
    ]


ROLES: dict[str, Any] = {
    "release": {
        "users": ["U0ALICE"],
        "permissions": ["view", "plan", "upgrade", "rollback", "approve"],
    },
    "approvers": {"groups": ["S0APPROVE"], "permissions": ["view", "approve"]},
    "leads": {"users": ["U0CAROL"], "permissions": ["override"]},
    "on-call": {"groups": ["S0ONCALL"], "permissions": ["view", "approve", "upgrade", "rollback"]},
}


def settings_for(slack: SlackWorkspace, folder: Path, **changes: Any) -> Settings:
    """Two targets: prod answers in #ops, staging has no channel of its own."""
    chart = {"name": "aeterna", "repo": "http://charts.invalid"}
    common = {"namespace": "aeterna", "release": "aeterna", "chart": chart}
    config = {
        "slack": {"mode": changes.pop("mode", "socket")},
        "targets": [
            {"name": "prod", "channels": ["C0OPS"], "incident_channels": ["inc-*"], **common},
            {"name": "staging", **common},
        ],
        "roles": ROLES,
        "state": str(folder / "state"),
        **changes,
    }
    return Settings(
        file=folder / "aeterna-bot.yaml",
        config=Configuration.model_validate(config),
        secrets=Secrets(
            bot_token=SecretStr(slack.bot_token),
            app_token=SecretStr(slack.app_token),
            signing_secret=SecretStr(slack.signing_secret),
        ),
        slack_api_url=slack.api_url,
        database_url=SecretStr(f"sqlite+aiosqlite:///{folder}/bot.sqlite"),
        kubeconfig=None,
    )


@dataclass
class Bot:
    """A running bot, and ways to talk with it through the workspace."""

    slack: SlackWorkspace
    script: Script
    settings: Settings
    journal: Journal
    outbox: Outbox
    desk: Desk
    clients: SlackClients
    entrance: Entrance
    connection: SocketConnection | None

    @property
    def work(self) -> Work:
        return self.entrance.work

    async def says_to(self, user: str, *parts: str, channel: str = "ops") -> Message:
        """The newest ephemeral answer to the person that has all of these parts."""
        return await self.slack.wait_for(
            channel, lambda m: m.ephemeral_to == user and all(part in everything(m) for part in parts)
        )

    async def card(self, *parts: str, channel: str = "ops", within: float = 15.0) -> Message:
        """The newest card (it has buttons or a run's id) that shows all of these parts."""
        return await self.slack.wait_for(
            channel,
            lambda m: (
                m.ephemeral_to is None and m.thread_ts in (None, m.ts) and all(part in everything(m) for part in parts)
            ),
            within,
        )

    async def upgrade_waiting(self, user: str = "alice") -> Message:
        """The card of an upgrade that waits for approval."""
        await self.slack.command(user, "ops", "upgrade 0.2.1")
        return await self.card("Waiting for approval")


def everything(message: Message) -> str:
    """All texts of a message, for looking up parts of it."""
    found = [message.text]

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("text"), str):
                found.append(node["text"])
            for value in node.values():
                walk(value)
        elif isinstance(node, list | tuple):
            for value in node:
                walk(value)

    walk(list(message.blocks))
    return "\n".join(found)


@asynccontextmanager
async def running_bot(
    slack: SlackWorkspace, folder: Path, *, script: Script | None = None, connect: bool = True, **changes: Any
) -> AsyncIterator[Bot]:
    """The bot on this workspace and a fresh SQLite file, connected by Socket Mode."""
    settings = settings_for(slack, folder, **changes)
    script = script or Script(steps=upgrade_steps())
    database = Database(settings.database_url.get_secret_value())
    await database.ready()
    outbox = Outbox(database)
    workers: list[Worker] = []

    def changed(run_id: str) -> None:
        for one in workers:
            one.wake(run_id)

    journal = Journal(database, outbox, changed=changed)
    config = settings.config

    async def no_clients(_target: object) -> TargetClients:
        return cast(TargetClients, None)

    workspace = folder / "work"
    planner = Planner(configuration=config, clients=no_clients, workspace=workspace, journal=journal)
    executor = Executor(
        journal=journal,
        runbooks=script,
        planner=planner,
        clients=no_clients,
        configuration=config,
        workspace=workspace,
    )
    worker = Worker(journal=journal, executor=executor, owner=secrets.token_hex(4), lease=config.engine.lease)
    workers.append(worker)
    desk = Desk(journal=journal, database=database, runbooks=script, configuration=config, worker=worker)
    async with slack_clients(settings) as clients:
        entrance = register(settings=settings, clients=clients, desk=desk)
        poster = Poster(
            outbox=outbox,
            journal=journal,
            sender=Sender(clients.web),
            buttons=buttons,
            update_interval=config.slack.update_interval.total_seconds(),
        )
        connection = SocketConnection(app=entrance.app, clients=clients, ping_interval=0.5) if connect else None
        tasks = [asyncio.create_task(loop) for loop in (worker.serve(), entrance.work.run(), poster.run())]
        if connection is not None:
            tasks.append(asyncio.create_task(connection.run()))
        try:
            if connection is not None:
                await slack.connected()
                await asyncio.wait_for(connection.wait_connected(), 10)
            yield Bot(slack, script, settings, journal, outbox, desk, clients, entrance, connection)
        finally:
            await worker.stop(grace=timedelta(seconds=1))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await database.close()


def blocker(text: str, way_out: str = "", *, code: str = "", subject: str = "") -> Finding:
    return Finding(Level.BLOCKER, text, way_out, code, subject)


def warning(text: str) -> Finding:
    return Finding(Level.WARNING, text)


def info(text: str) -> Finding:
    return Finding(Level.INFO, text)


async def posted(slack: SlackWorkspace, channel: str = "ops") -> list[Message]:
    """What stands in the channel itself for everybody: no threads, nothing that only one person sees."""
    found = await slack.messages(channel)
    return [one for one in found if not one.ephemeral_to and one.thread_ts in (None, one.ts)]
