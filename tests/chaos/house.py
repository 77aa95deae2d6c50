"""Everything around a bot that dies: a release, a workspace, a journal, people who ask and approve, and a look at the end.

A house can be used for one story after another, as long as each ended well; its bot processes come and go.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from bot.errors import Temporary
from bot.kube import Cluster
from bot.kube.holding import ANNOTATION, Held
from bot.kube.objects import annotations_of, ref_of
from bot.store import audit, reading
from bot.store.database import Database
from bot.store.records import RunRecord, RunState
from dev import configuration, release
from dev.charts import ChartRepository, light_values
from dev.controlplane import Api, Running
from dev.slack import Limits, Message, SlackWorkspace
from dev.toolchain import Toolchain
from tests.chaos.nursery import Bot, Nursery

OLD, NEW = "0.2.0", "0.2.1"
PATIENCE = 90.0
LEASE = "1.5s"
Ask = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Ground:
    """What all houses stand on."""

    toolchain: Toolchain
    control_plane: Running
    api: Api
    charts: ChartRepository
    nursery: Nursery


@dataclass(frozen=True)
class Revision:
    """One revision of the release, as Helm stored it."""

    number: int
    status: str
    version: str


@dataclass(frozen=True)
class Story:
    """What was there before somebody asked."""

    revisions: list[Revision]
    runs: frozenset[str]
    messages: frozenset[str]


@dataclass
class House:
    """One namespace with a release, and the processes that look after it. ``bots`` are those that were started."""

    ground: Ground
    slack: SlackWorkspace
    namespace: str
    directory: Path
    database_url: str
    bots: list[Bot] = field(default_factory=list)
    target: dict[str, Any] = field(default_factory=dict)  # more of the target's configuration
    engine: dict[str, Any] = field(default_factory=dict)  # more of the engine's
    upgraded: str | None = None  # the card of the last upgrade, if it can still be taken back

    # -- the bot --------------------------------------------------------------------------------------------

    @property
    def bot(self) -> Bot:
        return self.bots[-1]

    @property
    def orders(self) -> Path:
        return self.directory / "orders"

    @property
    def writes(self) -> list[str]:
        """Every write of the journal that was committed, oldest first."""
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / "writes").read_text(encoding="utf-8").splitlines()
        return []

    def order(self, number: str, moment: str, label: str) -> None:
        """Whichever bot comes to this write first gets the signal, right before or right after its commit."""
        draft = self.directory / "orders.draft"
        draft.write_text(f"{number} {moment} {label}", encoding="utf-8")
        draft.rename(self.orders)

    async def hit(self) -> Bot:
        """The bot that the order hit, as soon as it has."""
        files = await self.until(lambda: list(self.directory.glob("orders.[0-9]*")), "the moment of the order")
        return next(bot for bot in self.bots if str(bot.pid) == files[0].suffix[1:])

    async def start_bot(self, *, apart: bool = False) -> Bot:
        """Another process of the bot on the same database; returns when Slack is connected.

        It finds the files of the one before it, unless it is ``apart``.
        """
        home = self.directory / f"bot-{len(self.bots)}" if apart else self.directory
        home.mkdir(exist_ok=True)
        target = {**configuration.LIGHT, **self.target}
        file = configuration.write(
            home,
            targets=[configuration.target(namespace=self.namespace, repository=self.ground.charts.url, **target)],
            helm=self.ground.toolchain.path("helm"),
            engine={"lease": LEASE, "grace": "20s", "max_attempts": 20, **self.engine},
            slack={"update_interval": "0.5s"},
        )
        environment = configuration.environment(
            slack=self.slack,
            kubeconfig=self.ground.control_plane.kubeconfig,
            file=file,
            database_url=self.database_url,
        )
        before = sum(bot.alive for bot in self.bots)
        bot = await self.ground.nursery.start(
            environment=environment, directory=home, orders=self.orders, writes=self.directory / "writes"
        )
        self.bots.append(bot)
        connected = asyncio.create_task(self.slack.connected(before + 1, timeout=PATIENCE))
        died = asyncio.create_task(bot.wait())
        await asyncio.wait({connected, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        assert bot.alive, self.told()
        await connected
        return bot

    async def close(self) -> None:
        for bot in self.bots:
            await bot.kill()
        for helm in self.helms():
            with contextlib.suppress(psutil.NoSuchProcess):
                helm.kill()

    # -- people ---------------------------------------------------------------------------------------------

    async def asks_upgrade(self) -> None:
        await self.slack.command("alice", "ops", f"upgrade {NEW}", wait_for_ack=False)

    async def asks_to_take_it_back(self) -> None:
        assert self.upgraded is not None
        await self.slack.click("alice", "ops", self.upgraded, "run_roll_back", wait_for_ack=False)

    async def asks_to_unlock(self) -> None:
        await self.slack.command("carol", "ops", "unlock", wait_for_ack=False)

    async def asks_to_disable(self) -> None:
        await self.slack.command("carol", "ops", "emergency disable server", wait_for_ack=False)

    async def asks_to_enable(self) -> None:
        await self.slack.command("carol", "ops", "emergency enable server", wait_for_ack=False)

    async def begin(self) -> Story:
        """What is there now, before somebody asks."""
        runs = await self.runs()
        messages = frozenset(message.ts for message in await self.slack.messages("ops"))
        return Story(self.revisions(), frozenset(run.id for run in runs), messages)

    async def see_through(self, story: Story, ask: Ask) -> Message:
        """Asks, approves when the card asks for it, starts the bot again when it died, until the card shows an end.

        People do again what had no effect: the command when there is no run, the click when it was not recorded.
        """
        await ask()
        wanted = asks_or_ended
        while True:
            card = await self.look(story, wanted)
            if card is None:
                await self.start_bot()
                run = await self.run(story)
                if run is None:
                    await ask()
                elif run.state is RunState.AWAITING_APPROVAL:
                    wanted = asks_or_ended
                continue
            if ended(card):
                return card
            wanted = ended
            await self._yes(story, card)

    async def _yes(self, story: Story, card: Message) -> None:
        """Bob approves: by the button, or by typing where that opens a dialog."""
        if "Approve" in card.buttons:
            await self.slack.click("bob", "ops", card.ts, "run_approve", wait_for_ack=False)
        elif run := await self.run(story):
            await self.slack.command("bob", "ops", f"approve {run.id}", wait_for_ack=False)

    async def approved(self, story: Story, ask: Ask) -> Message:
        """Asks and approves; the card as it was then."""
        await ask()
        card = await self.look(story, lambda found: "Approve" in found.buttons)
        assert card is not None, self.told()
        await self.slack.click("bob", "ops", card.ts, "run_approve", wait_for_ack=False)
        return card

    async def look(self, story: Story, wanted: Callable[[Message], bool]) -> Message | None:
        """The story's card as soon as it is as wanted; None when no bot is alive any more."""

        def fits(message: Message) -> bool:
            return is_card(message) and message.ts not in story.messages and wanted(message)

        seen = asyncio.create_task(self.slack.wait_for("ops", fits, PATIENCE))
        died = asyncio.create_task(self._all_dead())
        try:
            await asyncio.wait({seen, died}, return_when=asyncio.FIRST_COMPLETED)
            return seen.result() if seen.done() else None
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.told()}") from None
        finally:
            for task in (seen, died):
                task.cancel()
            await asyncio.gather(seen, died, return_exceptions=True)

    async def _all_dead(self) -> None:
        for bot in self.bots:
            await bot.wait()

    async def until(self, true: Callable[[], Any], what: str) -> Any:
        """What ``true`` gives, as soon as it gives something; for things that cannot be waited for."""
        end = asyncio.get_running_loop().time() + PATIENCE
        while asyncio.get_running_loop().time() < end:
            if found := true():
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"{what} did not come\n{self.told()}")

    # -- what is true ---------------------------------------------------------------------------------------

    def revisions(self) -> list[Revision]:
        """The release's revisions, oldest first."""
        found = self.ground.api.get(f"/api/v1/namespaces/{self.namespace}/secrets?labelSelector=owner%3Dhelm")["items"]
        return sorted((_revision(secret) for secret in found), key=lambda one: one.number)

    def leave_pending(self) -> None:
        """A revision more, as a helm leaves it that was killed in the middle of an upgrade."""
        path = f"/api/v1/namespaces/{self.namespace}/secrets"
        newest = max(self.ground.api.get(f"{path}?labelSelector=owner%3Dhelm")["items"], key=_number)
        content, number = _content(newest), _number(newest) + 1
        content["version"] = number
        content["info"] |= {"status": "pending-upgrade", "description": "Preparing upgrade"}
        packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(content).encode()))).decode()
        labels = {**newest["metadata"]["labels"], "status": "pending-upgrade", "version": str(number)}
        name = f"{newest['metadata']['name'].rpartition('.v')[0]}.v{number}"
        secret = {"metadata": {"name": name, "labels": labels}, "type": newest["type"], "data": {"release": packed}}
        self.ground.api.call("POST", path, {"apiVersion": "v1", "kind": "Secret", **secret})

    def server(self) -> Mapping[str, Any]:
        """The Deployment of the server."""
        found: Mapping[str, Any] = self.ground.api.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/aeterna")
        return found

    def new_revisions(self, story: Story) -> list[Revision]:
        known = {one.number for one in story.revisions}
        return [one for one in self.revisions() if one.number not in known]

    def helms(self) -> list[psutil.Process]:
        """Helm processes that change the release now."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if f"--namespace={self.namespace}" in words and words[1] in ("upgrade", "rollback", "test"):
                found.append(process)
        return found

    async def runs(self) -> list[RunRecord]:
        """Every run, newest first."""
        database = Database(self.database_url)
        try:
            return await self._patiently(lambda: reading.latest(database, None, limit=500))
        finally:
            await database.close()

    @staticmethod
    async def _patiently(read: Callable[[], Awaitable[list[RunRecord]]]) -> list[RunRecord]:
        """A bot that dies in the middle of a write leaves its database busy for a moment."""
        for _ in range(20):
            try:
                return await read()
            except Temporary:
                await asyncio.sleep(0.25)
        return await read()

    async def run(self, story: Story) -> RunRecord | None:
        """The run of the story, if there is one."""
        return next((run for run in await self.runs() if run.id not in story.runs), None)

    async def trail(self) -> list[audit.AuditRow]:
        """The audit trail; its chain holds."""
        database = Database(self.database_url)
        try:
            count, problem = await audit.verify(database)
            assert problem is None, problem
            rows = [row async for row in audit.rows(database)]
            assert count == len(rows)
            return rows
        finally:
            await database.close()

    def told(self) -> str:
        """What happened, for the message of a failed assertion."""
        logs = {bot.log: bot.said() for bot in self.bots}
        said = "\n".join(f"--- {log}\n{text[-5000:]}" for log, text in logs.items())
        return f"{self.slack.transcript('ops')[-3000:]}\nwrites: {self.writes[-40:]}\n{said}"

    async def ended_well(
        self, story: Story, version: str, *, revisions: Sequence[str] = ("deployed",), voices: int = 1
    ) -> RunRecord:
        """Asserts everything that has to be true after a run, however it came about.

        ``revisions`` are the states of the new ones, oldest first; ``voices`` are the approvals.
        """
        new = self.new_revisions(story)
        assert [one.status for one in new] == list(revisions), (new, self.told())
        assert not new or new[-1].version == version, (new, self.told())
        made = [run for run in await self.runs() if run.id not in story.runs]
        assert len(made) == 1, self.told()
        run = made[0]
        assert run.state is RunState.SUCCEEDED, self.told()
        assert not [step for step in run.steps if step.state not in ("done", "warning", "skipped")], self.told()
        # one card, and nothing else at the top of the channel
        top = [m for m in await self.slack.messages("ops") if is_card(m) and m.ts not in story.messages]
        assert len(top) == 1, self.told()
        await self.look(story, ended)
        replies = [m.text for m in await self.slack.thread("ops", top[0].ts) if not m.files]
        assert len(replies) == len(set(replies)), self.told()
        # the lock is free
        assert not [one.id for one in await self.runs() if not one.state.over], self.told()
        # the approval was asked for and given once
        assert len(run.approvals) == voices, self.told()
        trail = [row.what for row in await self.trail() if row.run == run.id]
        once = ("run.asked", "run.planned", "run.approved", "run.succeeded")
        assert [trail.count(what) for what in once] == [1, 1, voices, 1], (trail, self.told())
        # nothing is left over
        assert self.left_over() == [], self.told()
        assert self.helms() == [], self.told()
        return run

    def left_over(self) -> list[str]:
        """Files that a dead process left where runs are worked on, and where another came after it."""
        works = {bot.log.parent / "state" / "work" for bot in self.bots if bot.alive}
        return [str(path) for work in works for path in work.rglob("*") if path.is_file() and path.name != "lock"]

    async def at_old(self) -> None:
        """The release stands at the old version with everything up, whatever was before."""
        await self._lift()
        if self.revisions()[-1].version != OLD:
            await self.install()
        self.upgraded = None

    async def _lift(self) -> None:
        """Gives back what another story's emergency holds down, as a person would by hand."""
        cluster = await Cluster.connect(kubeconfig=self.ground.control_plane.kubeconfig, context=None)
        async with cluster:
            for obj in await cluster.list("apps/v1", "Deployment", self.namespace):
                if note := Held.read(annotations_of(obj).get(ANNOTATION, "")):
                    await cluster.scale(ref_of(obj), note.replicas)
                    await cluster.patch(ref_of(obj), {"metadata": {"annotations": {ANNOTATION: None}}})

    async def at_new(self) -> None:
        """The last thing that happened is an upgrade by the bot, so that its card can take it back."""
        if self.upgraded is None:
            await self.at_old()
            story = await self.begin()
            self.upgraded = (await self.see_through(story, self.asks_upgrade)).ts

    async def install(self, values: Mapping[str, Any] | None = None) -> None:
        """The release at the old version, installed by somebody else."""
        await release.install(
            self.ground.toolchain.path("helm"),
            self.ground.control_plane.kubeconfig,
            namespace=self.namespace,
            repository=self.ground.charts.url,
            version=OLD,
            values=values or light_values(),
            wait=False,
        )

    # -- a Helm that does not come to its end -----------------------------------------------------------------

    def hold_upgrades(self) -> None:
        """From the next bot on, upgrades wait in their hook: its image cannot be pulled."""
        file = self.directory / "held.yaml"
        file.write_text(yaml.safe_dump({"migration": {"enabled": True, "image": {"tag": "held-nopull"}}}))
        self.target = {"values": [str(file)]}

    async def in_the_hook(self, *, after: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """The hook's pod, another than ``after``, as soon as it is there: Helm is in the middle of the upgrade."""
        old = after["metadata"]["uid"] if after else None
        path = f"/api/v1/namespaces/{self.namespace}/pods?labelSelector=app.kubernetes.io%2Fcomponent%3Dmigration"

        def pod() -> Mapping[str, Any] | None:
            found = [one for one in self.ground.api.get(path)["items"] if _waits(one) and one["metadata"]["uid"] != old]
            return found[0] if found else None

        found: Mapping[str, Any] = await self.until(pod, "the hook's pod")
        return found

    def let_go(self, pod: Mapping[str, Any]) -> None:
        """The hook's pod comes to its good end."""
        name = pod["metadata"]["name"]
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}/status"
        status = {"status": {"phase": "Succeeded"}}
        self.ground.api.call("PATCH", path, status, "application/merge-patch+json")


@contextlib.asynccontextmanager
async def built(
    ground: Ground, directory: Path, *, database_url: str | None = None, limits: Limits | None = None
) -> AsyncIterator[House]:
    """A house with a release at the old version and no bot yet."""
    namespace = f"chaos-{secrets.token_hex(5)}"
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    ground.api.apply(document)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}}
    ground.api.apply(account)
    async with SlackWorkspace.running(
        program=ground.toolchain.path("local-slack"), limits=limits or Limits.unhurried()
    ) as slack:
        url = database_url or f"sqlite:///{directory}/journal.sqlite"
        house = House(ground, slack, namespace, directory, url)
        try:
            await house.install()
            yield house
        finally:
            await house.close()
            ground.api.delete(document)


def is_card(message: Message) -> bool:
    """Whether it stands at the top of the channel, for everybody."""
    return message.user == SlackWorkspace.bot_user_id and not message.ephemeral_to and not message.thread_ts


def ended(message: Message) -> bool:
    """Whether the card shows a run that goes on no more by itself."""
    text = json.dumps(message.blocks, ensure_ascii=False)
    return any(f"*{word}*" in text for word in ("Done", "Failed", "Needs a decision", "Cannot go ahead", "Cancelled"))


def asks_or_ended(message: Message) -> bool:
    """Whether the card waits for somebody."""
    return not {"Approve", "Approve…"}.isdisjoint(message.buttons) or ended(message)


def _waits(pod: Mapping[str, Any]) -> bool:
    return bool(pod["status"].get("containerStatuses")) and "deletionTimestamp" not in pod["metadata"]


def _number(secret: Mapping[str, Any]) -> int:
    return int(secret["metadata"]["labels"]["version"])


def _content(secret: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))
    return found


def _revision(secret: Mapping[str, Any]) -> Revision:
    stored = _content(secret)
    return Revision(int(stored["version"]), str(stored["info"]["status"]), str(stored["chart"]["metadata"]["version"]))
