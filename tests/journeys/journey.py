"""One journey: a release in a namespace of its own, a Slack workspace, a chart repository, and the bot in this process.

The bot is served as it is in a pod, by `bot.app.serve`; only its settings are a test's. Everything is waited for by what
Slack or the API server says.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bot
from bot import settings
from bot.app import serve
from bot.kube import Cluster
from dev import configuration, release
from dev.charts import ChartRepository
from dev.controlplane import Api
from dev.slack import Message, SlackWorkspace
from dev.standins import StandinControl
from tests.slack.support import everything

ALICE, BOB, CAROL, MALLORY = "U0ALICE", "U0BOB", "U0CAROL", "U0MALLORY"
JOB = "batch.kubernetes.io/job-name"
_CHECKOUT = Path(bot.__file__).resolve().parent.parent
_OURS = tuple(str(_CHECKOUT / folder) for folder in ("bot", "handlers", "runbooks"))
_THEIRS = ("slack_sdk", "slack_bolt", "apscheduler", "kubernetes")
PATIENCE = 60.0


@dataclass(frozen=True)
class Stored:
    """One revision, as Helm's own Secret holds it."""

    revision: int
    status: str
    version: str
    description: str


@dataclass
class Journey:
    """The world of one test, and what people do in it."""

    namespace: str
    directory: Path
    helm_program: Path
    kubeconfig: Path
    slack: SlackWorkspace
    charts: ChartRepository
    standins: StandinControl
    api: Api
    cluster: Cluster
    target: dict[str, Any] = field(default_factory=dict)
    """What the target says beyond its names; `configuration.LIGHT` for a release with light values."""
    bot_kubeconfig: Path | None = None
    """Another way to the API server, for the bot alone."""
    _served: asyncio.Task[None] | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    # -- the world ------------------------------------------------------------------------------------------

    async def install(self, version: str, values: Mapping[str, Any], *, wait: bool = True) -> None:
        """Install or upgrade by hand, past the bot."""
        await release.install(
            self.helm_program,
            self.kubeconfig,
            namespace=self.namespace,
            repository=self.charts.url,
            version=version,
            values=values,
            wait=wait,
        )

    async def helm(self, *arguments: str) -> str:
        """Helm by hand, in the release's namespace."""
        return await release.helm(self.helm_program, self.kubeconfig, *arguments, f"--namespace={self.namespace}")

    async def start_bot(self, **more: Any) -> None:
        """Serve it. ``more`` are sections of the configuration (`engine`, `slack`, `helm`, `runbooks`)."""
        target = configuration.target(namespace=self.namespace, repository=self.charts.url, **self.target)
        file = configuration.write(
            self.directory,
            targets=[target],
            **{
                "helm": self.helm_program,
                **more,
                "slack": {"update_interval": "0.2s", **more.get("slack", {})},
                "engine": {"lease": "3s", "grace": "5s", **more.get("engine", {})},
            },
        )
        environment = configuration.environment(
            slack=self.slack, kubeconfig=self.bot_kubeconfig or self.kubeconfig, file=file
        )
        self._stop = asyncio.Event()
        self._served = asyncio.create_task(serve(settings.load(environment), stop=self._stop), name="the bot")
        connected = asyncio.create_task(self.slack.connected(timeout=30))
        await asyncio.wait({self._served, connected}, return_when=asyncio.FIRST_COMPLETED)
        if self._served.done():
            connected.cancel()
            served, self._served = self._served, None
            await served  # raises what went wrong
        await connected

    async def stop_bot(self) -> None:
        """An orderly end. Fails when the bot failed, or left a task of its own behind."""
        if self._served is None:
            return
        self._stop.set()
        async with asyncio.timeout(30):
            await self._served
        self._served = None
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and _is_the_bots(task)]
        assert not left, left

    # -- people ---------------------------------------------------------------------------------------------

    async def ask(self, text: str, *, user: str = "alice") -> None:
        """Somebody types `/aeterna TEXT` in #ops."""
        await self.slack.command(user, "ops", text)

    async def press(self, card: Message, button: str, *, user: str = "alice") -> None:
        """Somebody presses the button with this label, as the card has it now."""
        now = await self.card(ts=card.ts)
        element = next((one for one in now.elements if one["text"]["text"] == button), None)
        assert element is not None, f"the card has {now.buttons}, not {button!r}"
        await self.slack.click(user, "ops", card.ts, element["action_id"])

    async def approve(self, card: Message, *, user: str = "bob") -> None:
        """The second pair of eyes says yes."""
        await self.slack.click(user, "ops", card.ts, "run_approve")

    async def planned(self, text: str) -> Message:
        """Alice asks, and the plan waits for approval."""
        await self.ask(text)
        return await self.card("Waiting for approval")

    async def under_way(self, text: str) -> Message:
        """Alice asks, Bob approves. The card."""
        card = await self.planned(text)
        await self.approve(card)
        return card

    async def attention(self, card: Message, *parts: str) -> Message:
        """The card, once it asks for a decision."""
        return await self.card("🆘 *Needs a decision*", *parts, ts=card.ts)

    # -- what Slack shows -----------------------------------------------------------------------------------

    async def card(self, *parts: str, ts: str | None = None, within: float = PATIENCE) -> Message:
        """The newest card (or the one at ``ts``) that shows all of these parts, now or as soon as it does."""

        def fits(message: Message) -> bool:
            root = message.ephemeral_to is None and message.thread_ts in (None, message.ts)
            return root and ts in (None, message.ts) and all(part in everything(message) for part in parts)

        return await self.slack.wait_for("ops", fits, within)

    async def private(self, user: str, *parts: str) -> Message:
        """What only this person sees."""
        return await self.slack.wait_for(
            "ops", lambda m: m.ephemeral_to == user and all(part in everything(m) for part in parts), 20
        )

    async def in_thread(self, card: Message, *parts: str) -> Message:
        """A reply to the card with all of these parts."""
        return await self.slack.wait_for(
            "ops",
            lambda m: m.thread_ts == card.ts and m.ts != card.ts and all(part in everything(m) for part in parts),
            20,
        )

    async def file(self, card: Message, name: str) -> str:
        """The text of a file in the card's thread whose name has this part."""

        def named(file: Mapping[str, Any]) -> bool:
            return name in str(file["name"])

        message = await self.slack.wait_for("ops", lambda m: m.thread_ts == card.ts and any(map(named, m.files)), 20)
        return await self.slack.file_text(next(filter(named, message.files)))

    @staticmethod
    def run_id(card: Message) -> str:
        """The run that a card tells of."""
        return next(word.strip("`") for word in everything(card).split() if word.startswith("`r-"))

    # -- what the cluster holds -----------------------------------------------------------------------------

    async def revisions(self) -> list[Stored]:
        """Every revision, oldest first."""
        path = f"/api/v1/namespaces/{self.namespace}/secrets?labelSelector=owner%3Dhelm,name%3D{release.RELEASE}"
        found = await asyncio.to_thread(self.api.get, path)
        return sorted((_stored(one) for one in found["items"]), key=lambda one: one.revision)

    async def statuses(self) -> list[str]:
        """`0.2.0 superseded`, `0.2.1 deployed`, …"""
        return [f"{one.version} {one.status}" for one in await self.revisions()]

    async def resource_versions(self) -> dict[str, str]:
        """The version of every object in the namespace that somebody could have changed, by kind and name."""
        kinds = {
            "/api/v1": ("configmaps", "secrets", "services", "serviceaccounts"),
            "/apis/apps/v1": ("deployments",),
            "/apis/batch/v1": ("jobs",),
            "/apis/postgresql.cnpg.io/v1": ("backups",),
        }
        found: dict[str, str] = {}
        for root, plurals in kinds.items():
            for plural in plurals:
                listed = await asyncio.to_thread(self.api.get, f"{root}/namespaces/{self.namespace}/{plural}")
                for item in listed["items"]:
                    found[f"{plural}/{item['metadata']['name']}"] = item["metadata"]["resourceVersion"]
        return found

    async def pod(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """A pod of the namespace that fits, now or as soon as there is one."""
        async with asyncio.timeout(PATIENCE), aclosing(self.cluster.watch("v1", "Pod", self.namespace)) as events:
            async for event in events:
                if event.type in ("ADDED", "MODIFIED") and fits(event.object):
                    return event.object
        raise AssertionError("the watch ended")

    async def set_pod(self, pod: Mapping[str, Any], **status: Any) -> None:
        """Says of a pod what its kubelet would say."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/status"
        await asyncio.to_thread(
            self.api.call, "PATCH", path, {"status": status}, "application/strategic-merge-patch+json"
        )


def waits_for_image(pod: Mapping[str, Any]) -> bool:
    """Whether a pod cannot start, because its image cannot be pulled."""
    states = (pod.get("status") or {}).get("containerStatuses") or []
    return any("Image" in str(((one.get("state") or {}).get("waiting") or {}).get("reason")) for one in states)


def _stored(secret: Mapping[str, Any]) -> Stored:
    packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
    content = json.loads(gzip.decompress(packed))
    info, chart = content["info"], content["chart"]["metadata"]
    return Stored(content["version"], info["status"], chart["version"], info.get("description", ""))


def _is_the_bots(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    path = str(getattr(code, "co_filename", ""))
    return path.startswith(_OURS) or any(f"/{name}/" in path for name in _THEIRS)
