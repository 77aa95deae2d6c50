"""Where everything is measured: one control plane with stand-ins, one chart repository, a workspace for each bot.

Both bots are processes, started the same way. The workspaces know no rate limits, for Slack's are not what is measured.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import yaml

from dev import configuration, release
from dev.botprocess import BotProcess
from dev.charts import GOOD_VERSIONS, ChartRepository, light_values, many
from dev.controlplane import ControlPlane, Running
from dev.slack import DEFAULT_USERS, Limits, SlackChannel, SlackWorkspace
from dev.toolchain import Toolchain
from runbooks.library import RunbookLibrary
from runbooks.registry import shipped_registry
from tests.bench.guide import Guide
from tests.bench.journal import JournalFile

BEFORE, AFTER = "0.2.0", "0.2.1"
FULL = ("bench-a", "bench-b")
"""Two whole releases, each a target in a channel of its own name."""
LIGHT = "light"
"""A small release, in the channels ``crowd-…``."""
FEW, MANY = "few", "many"
"""Releases of 50 and of 2,000 objects that run nothing, each a target in a channel of its own name."""
GENERATED = {FEW: 50, MANY: 2000}
CROWD = tuple(f"crowd-{number}" for number in range(20))
BARE = ("-m", "tests.bench.bare")
OURS = ("-m", "bot.cli", "serve")
_CONNECTS_WITHIN = 60.0


def say(text: str) -> None:
    """A line of progress, with the seconds since this process began; stdout belongs to the figures."""
    age = time.time() - psutil.Process().create_time()
    print(f"bench {age:5.1f}: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Side:
    """One bot's workspace and how to start that bot there."""

    slack: SlackWorkspace
    environment: dict[str, str]
    directory: Path
    arguments: tuple[str, ...]

    def doing(self, arguments: tuple[str, ...]) -> Side:
        """The same bot, started otherwise."""
        return replace(self, arguments=arguments)

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[BotProcess]:
        """The bot, connected to Slack. Raises TimeoutError with its log when it does not connect."""
        bot = await BotProcess.start(environment=self.environment, directory=self.directory, arguments=self.arguments)
        try:
            try:
                await self.slack.connected(timeout=_CONNECTS_WITHIN)
            except TimeoutError:
                raise TimeoutError(f"the bot did not connect; it said:\n{bot.said()[-3000:]}") from None
            yield bot
        finally:
            await bot.stop()
            await self.slack.wait_until(lambda slack: slack.connections == 0)


@dataclass(frozen=True)
class Place:
    """All of it, running."""

    directory: Path
    toolchain: Toolchain
    cluster: Running
    charts: ChartRepository
    generated: Mapping[str, ChartRepository]
    """The charts of ``FEW`` and ``MANY``."""
    ours: Side
    bare: Side

    @property
    def journal(self) -> JournalFile:
        """Our bot's; it is there from the first start on."""
        return JournalFile(self.ours.directory / "state" / "aeterna-bot.sqlite")

    def guide(self, repository: str) -> Guide:
        """The commands of the guide, typed by a script, for the charts of a repository."""
        return Guide(
            helm=self.toolchain.path("helm"),
            kubectl=self.toolchain.path("kubectl"),
            kubeconfig=self.cluster.kubeconfig,
            home=self.directory / "guide",
            repository=repository,
        )

    async def install(self, namespace: str, version: str = BEFORE) -> None:
        """Brings the whole release to ``version`` and waits until it is ready."""
        await release.install(
            self.toolchain.path("helm"),
            self.cluster.kubeconfig,
            namespace=namespace,
            repository=self.charts.url,
            version=version,
        )

    async def install_generated(self) -> None:
        """The releases ``FEW`` and ``MANY`` at the older of their versions."""
        for namespace, charts in self.generated.items():
            await release.install(
                self.toolchain.path("helm"),
                self.cluster.kubeconfig,
                namespace=namespace,
                repository=charts.url,
                version=many.BEFORE,
                wait=False,
            )

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls) -> AsyncIterator[Place]:
        """Starts all of it, installs the releases, and removes all of it. Neither bot runs yet."""
        toolchain = Toolchain()
        async with contextlib.AsyncExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aeterna-bench-")))
            cluster = stack.enter_context(ControlPlane(toolchain, directory / "cluster", standins=True))
            charts = await stack.enter_async_context(ChartRepository.running(versions=GOOD_VERSIONS))
            generated = {
                name: await stack.enter_async_context(ChartRepository.running(versions=())) for name in GENERATED
            }
            for name, objects in GENERATED.items():
                for package in many.many(objects):
                    generated[name].publish(package)
            names = (*FULL, *GENERATED, *CROWD)
            channels = [SlackChannel(f"C0{name.upper().replace('-', '')}", name) for name in names]
            urls = {**dict.fromkeys((*FULL, LIGHT), charts.url), **{name: one.url for name, one in generated.items()}}

            async def side(name: str, arguments: tuple[str, ...]) -> Side:
                slack = await stack.enter_async_context(
                    SlackWorkspace.running(
                        program=toolchain.path("local-slack"), channels=channels, limits=Limits.unhurried()
                    )
                )
                home = directory / name
                home.mkdir()
                file = configuration.write(
                    home,
                    targets=_targets(channels, urls),
                    helm=toolchain.path("helm"),
                    runbooks=str(_runbooks(home / "runbooks")),
                )
                environment = configuration.environment(slack=slack, kubeconfig=cluster.kubeconfig, file=file)
                return Side(slack, environment, home, arguments)

            place = cls(
                directory,
                toolchain,
                cluster,
                charts,
                generated,
                ours=await side("ours", OURS),
                bare=await side("bare", BARE),
            )
            await release.install(
                toolchain.path("helm"),
                cluster.kubeconfig,
                namespace=LIGHT,
                repository=charts.url,
                version=BEFORE,
                values=light_values(),
            )
            for namespace in FULL:
                await place.install(namespace)
            yield place


def _targets(channels: list[SlackChannel], urls: Mapping[str, str]) -> list[dict[str, object]]:
    ids = {channel.name: channel.id for channel in channels}
    places = {**{name: [ids[name]] for name in (*FULL, *GENERATED)}, LIGHT: [ids[name] for name in CROWD]}
    return [
        configuration.target(
            name=name,
            namespace=name,
            repository=urls[name],
            channels=where,
            **({} if name in FULL else deepcopy(configuration.LIGHT)),  # written as they are, not as YAML's aliases
        )
        for name, where in places.items()
    ]


def plan_checks() -> list[str]:
    """The checks of the shipped runbook ``plan``, by name."""
    library = RunbookLibrary(shipped_registry())
    return [check.name for check in library.parse(library.text("plan")).checks]


def alone(check: str) -> str:
    """The runbook that does this check and nothing else."""
    return f"only-{check.replace('.', '-').replace('_', '-')}"


def _runbooks(folder: Path) -> Path:
    folder.mkdir()
    for check in plan_checks():
        runbook = {
            "name": alone(check),
            "summary": f"Only {check}",
            "permission": "plan",
            "report": True,
            "inputs": {"version": {"type": "chart_version", "required": True}},
            "plan": [{"check": check}],
        }
        (folder / f"{alone(check)}.yaml").write_text(yaml.safe_dump(runbook, sort_keys=False), encoding="utf-8")
    return folder


ALICE, BOB = (next(user for user in DEFAULT_USERS if user.name == name) for name in ("alice", "bob"))
