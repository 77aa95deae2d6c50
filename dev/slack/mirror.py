"""What the workspace shows, kept up to date from the page's own websocket, and a way to wait for a change.

The Web API part puts its answers in as well: a message is here before the bot hears that it was posted.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import TypeVar

import aiohttp

from dev.slack.modals import Modals
from dev.slack.model import Happening, Json, Message

Found = TypeVar("Found")

_LOG = '{"t":"log"'  # every call of the bot is logged on the page; we have our own record


class Changes:
    """Wakes those who wait whenever something was reported."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def report(self) -> None:
        """Something changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, found: Callable[[], Found | None], *, within: float) -> Found:
        """Waits until ``found`` gives something. Raises TimeoutError after ``within`` seconds."""
        async with asyncio.timeout(within):
            while (result := found()) is None:
                await self._changed.wait()
            return result


class Mirror:
    """Users, channels, messages, modals and Home tabs as the page has them."""

    def __init__(self, *, upstream: str, public: str, changes: Changes) -> None:
        self._upstream = upstream
        self._public = public
        self._changes = changes
        self._messages: dict[str, dict[str, Message]] = {}
        self._order = itertools.count()
        self._seen: dict[tuple[str, str], int] = {}
        self._page: aiohttp.ClientWebSocketResponse | None = None
        self.users: dict[str, Json] = {}
        self.channels: dict[str, Json] = {}
        self.modals = Modals()
        self.modal_errors: dict[str, str] = {}
        self.homes: dict[str, Json] = {}
        self.happenings: list[Happening] = []

    async def connect(self, session: aiohttp.ClientSession) -> None:
        """Opens the page's websocket and takes the first state."""
        self._page = await session.ws_connect(f"{self._upstream}/ui", max_msg_size=0)
        self._take(json.loads(self._local(await self._page.receive_str())))

    async def follow(self) -> None:
        """Takes every change until the page's websocket closes."""
        assert self._page is not None
        async for frame in self._page:
            if frame.type == aiohttp.WSMsgType.TEXT and not frame.data.startswith(_LOG):
                self._take(json.loads(self._local(frame.data)))

    async def say(self, frame: Json) -> None:
        """Does something as the page does it (``view_submit``, ``view_close`` …)."""
        assert self._page is not None
        await self._page.send_json(frame)

    def happened(self, *, channel: str, user: str, text: str) -> None:
        """Notes what a person did, for the transcript."""
        self.happenings.append(Happening(next(self._order), channel, user, text))

    def put(self, raw: Json) -> None:
        """Takes a message in its newest form."""
        channel, ts = raw["channel"], raw["ts"]
        self._seen.setdefault((channel, ts), next(self._order))
        self._messages.setdefault(channel, {})[ts] = Message.of(raw)
        self._changes.report()

    def drop(self, channel: str, ts: str) -> None:
        """Takes a message away."""
        self._messages.get(channel, {}).pop(ts, None)
        self._changes.report()

    def message(self, channel: str, ts: str) -> Message | None:
        """The message with this ts, if it is there."""
        return self._messages.get(channel, {}).get(ts)

    def messages(self, channel: str) -> list[Message]:
        """Everything in the channel and its threads, ephemerals too, oldest first."""
        return list(self._messages.get(channel, {}).values())

    def order(self, message: Message) -> int:
        """Where the message stands among messages and happenings."""
        return self._seen[message.channel, message.ts]

    def channel_id(self, name: str) -> str | None:
        """The id of a channel given by id, name or #name."""
        if name in self.channels:
            return name
        bare = name.removeprefix("#")
        return next((c["id"] for c in self.channels.values() if c["name"] == bare), None)

    def user_id(self, name: str) -> str | None:
        """The id of a user given by id or name."""
        if name in self.users:
            return name
        return next((u["id"] for u in self.users.values() if u["name"] == name), None)

    def _local(self, text: str) -> str:
        return text.replace(self._upstream, self._public)

    def _take(self, frame: Json) -> None:
        match frame["t"]:
            case "init":
                self._begin(frame["state"])
            case "message" | "message_update":
                self.put(frame["message"])
            case "message_delete":
                self.drop(frame["channel"], frame["ts"])
            case "channel":
                self.channels[frame["channel"]["id"]] = frame["channel"]
            case "view":
                self.modals.shown(frame["stack"])
                self.modal_errors = {}
            case "view_errors":
                self.modal_errors = dict(frame["errors"] or {})
            case "home":
                self.homes[frame["user"]] = frame["view"]
            case _:
                return
        self._changes.report()

    def _begin(self, state: Json) -> None:
        self.users = {user["id"]: user for user in state["users"]}
        self.channels = {channel["id"]: channel for channel in state["channels"]}
        self.modals.shown(state["modalStack"])
        self._messages.clear()
        for messages in state["messages"].values():
            for message in messages:
                self.put(message)
