"""The throwaway workspace for tests and the demo: people type and click, the bot's messages are read back.

Runs in one asyncio process with the test; the bot may run there too or in a process of its own. Nothing
outlives ``running``: no process, no port, no file.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp

from dev.slack import model
from dev.slack.faults import Faults
from dev.slack.model import Call, Delivery, Json, Limits, Message, SlackChannel, SlackUser, SlackUserGroup
from dev.slack.proxy import Proxy, running_proxy
from dev.slack.transcript import shown, transcript


class SlackWorkspace:
    """One workspace with one app. Channels and users are given by id or name, users also as ``SlackUser``."""

    bot_token = model.BOT_TOKEN
    app_token = model.APP_TOKEN
    signing_secret = model.SIGNING_SECRET
    team_id = model.TEAM_ID
    app_id = model.APP_ID
    bot_user_id = model.BOT_USER_ID

    def __init__(self, proxy: Proxy, session: aiohttp.ClientSession) -> None:
        self._proxy = proxy
        self._session = session
        self._under_way: set[asyncio.Task[Json]] = set()

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        *,
        program: Path,
        users: Sequence[SlackUser] = model.DEFAULT_USERS,
        channels: Sequence[SlackChannel] = model.DEFAULT_CHANNELS,
        user_groups: Sequence[SlackUserGroup] = model.DEFAULT_USER_GROUPS,
        scopes: Sequence[str] = model.DEFAULT_SCOPES,
        limits: Limits | None = None,
        redeliver_after: float = 3.0,
        mode: Literal["socket", "events"] = "socket",
        request_url: str | None = None,
        port: int = 0,
    ) -> AsyncIterator[SlackWorkspace]:
        """Starts the workspace and ends it on the way out.

        ``program`` is the local-slack executable. ``limits`` default to ``Limits.strict()``.
        ``redeliver_after``: seconds until an unacked envelope is sent again. ``mode="events"`` posts to the
        bot's ``request_url`` instead of its WebSocket. ``port`` 0 takes a free one.
        """
        if (mode == "events") != (request_url is not None):
            raise ValueError("request_url belongs to mode='events', and mode='events' needs it")
        with tempfile.TemporaryDirectory(prefix="aeterna-slack-") as directory:
            async with (
                running_proxy(
                    program=program,
                    config=_config(users, channels, mode),
                    directory=Path(directory),
                    port=port,
                    events=mode == "events",
                    limits=limits or Limits.strict(),
                    scopes=tuple(scopes),
                    user_groups=tuple(user_groups),
                    redeliver_after=redeliver_after,
                    request_url=request_url,
                ) as proxy,
                # local-slack closes idle connections: one that is used again may just be gone
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session,
            ):
                workspace = cls(proxy, session)
                try:
                    yield workspace
                finally:
                    await workspace._end()

    @property
    def url(self) -> str:
        """The page for a browser."""
        return self._proxy.public

    @property
    def api_url(self) -> str:
        """The Web API's base, ending in ``/api/``, as slack_sdk wants it."""
        return f"{self._proxy.public}/api/"

    @property
    def calls(self) -> list[Call]:
        """Every Web API call by the bot so far, oldest first."""
        return self._proxy.api.calls

    @property
    def deliveries(self) -> list[Delivery]:
        """Every attempt to hand the bot a command, click or event, oldest first."""
        return self._proxy.sockets.deliveries

    @property
    def faults(self) -> Faults:
        """Faults to inject: ``faults.add("ratelimited", "chat.update", retry_after=2)``."""
        return self._proxy.faults

    @property
    def limits(self) -> Limits:
        """How strict the workspace is now; may be replaced while it runs."""
        return self._proxy.api.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._proxy.api.limits = limits

    @property
    def user_groups(self) -> dict[str, SlackUserGroup]:
        """The user groups by id; may be changed."""
        return self._proxy.api.user_groups

    @property
    def modal(self) -> Json | None:
        """The view on top of the open modals."""
        stack = self._proxy.mirror.modals.stack
        return stack[-1] if stack else None

    @property
    def modal_errors(self) -> dict[str, str]:
        """What the open modal says is wrong, by block id."""
        return self._proxy.mirror.modal_errors

    @property
    def connections(self) -> int:
        """How many WebSockets of the bot are open."""
        return self._proxy.sockets.connected

    def home(self, user: str | SlackUser) -> Json | None:
        """The person's Home tab as last published."""
        return self._proxy.mirror.homes.get(self._user(user))

    async def command(
        self,
        user: str | SlackUser,
        channel: str,
        text: str,
        command: str = "/aeterna",
        *,
        wait_for_ack: bool = True,
    ) -> None:
        """Types a slash command; returns when the bot acked it, or after 5 s without ack."""
        said = {"user": self._user(user), "channel": self._channel(channel), "command": command, "text": text}
        await self._do("command", said, wait=wait_for_ack)

    async def click(
        self,
        user: str | SlackUser,
        channel: str,
        message_ts: str,
        action_id: str,
        *,
        value: str | None = None,
        block_id: str | None = None,
        wait_for_ack: bool = True,
    ) -> None:
        """Presses the button (or chooses ``value`` in the select) that the message really has.

        Raises LookupError, saying what is there, if there is no such element or it is not for this person.
        """
        who, where = self._user(user), self._channel(channel)
        message = self._proxy.mirror.message(where, message_ts)
        if message is None:
            raise LookupError(f"no message {message_ts} in {channel}")
        if message.ephemeral_to not in (None, who):
            raise LookupError(f"only {message.ephemeral_to} sees message {message_ts}")
        action = _action(message, action_id, value, block_id)
        await self._do(
            "interact",
            {"user": who, "channel": where, "messageTs": message_ts, "action": action},
            wait=wait_for_ack,
        )

    async def messages(self, channel: str) -> list[Message]:
        """Everything in the channel, its threads and ephemerals included, oldest first."""
        url = f"{self.url}/_control/messages/{self._channel(channel)}"
        async with self._session.get(url) as answer:
            return [Message.of(raw) for raw in (await answer.json())["messages"]]

    async def thread(self, channel: str, ts: str) -> list[Message]:
        """The replies to a message, oldest first."""
        return [m for m in await self.messages(channel) if m.thread_ts == ts and m.ts != ts]

    async def wait_for(
        self,
        channel: str,
        predicate: Callable[[Message], bool],
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> Message:
        """The newest message (threads and ephemerals included) that fits, now or as soon as one does.

        Raises TimeoutError with the channel's transcript after ``timeout`` seconds.
        """
        where = self._channel(channel)

        def fitting() -> Message | None:
            return next((m for m in reversed(self._proxy.mirror.messages(where)) if predicate(m)), None)

        try:
            return await self._proxy.changes.until(fitting, within=timeout)
        except TimeoutError:
            raise TimeoutError(f"no such message within {timeout} s; #{channel}:\n{self.transcript(channel)}") from None

    async def wait_until(
        self,
        condition: Callable[[SlackWorkspace], bool],
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> None:
        """Waits for anything that calls, deliveries, connections, modals or messages show; no polling."""
        await self._proxy.changes.until(lambda: condition(self) or None, within=timeout)

    async def connected(self, count: int = 1, timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Waits until the bot has this many WebSockets open."""
        await self.wait_until(lambda workspace: workspace.connections >= count, timeout)

    async def file_text(self, file: Mapping[str, Any]) -> str:
        """The content of a message's file."""
        async with self._session.get(file["permalink"]) as answer:
            answer.raise_for_status()
            return await answer.text()

    async def open_home(self, user: str | SlackUser) -> None:
        """Opens the app's Home tab."""
        await self._do("open-home", {"user": self._user(user)}, wait=True)

    async def submit_view(self, user: str | SlackUser, values: Json) -> None:
        """Submits the modal on top. ``values``: block_id → action_id → state, as in ``view.state.values``."""
        if self.modal is None:
            raise LookupError("no modal is open")
        self._proxy.mirror.modals.submitted()
        await self._proxy.mirror.say({"t": "view_submit", "user": self._user(user), "values": values})

    async def close_view(self, user: str | SlackUser) -> None:
        """Closes the open modals."""
        await self._proxy.mirror.say({"t": "view_close", "user": self._user(user)})

    def transcript(self, channel: str) -> str:
        """The channel as plain text: who said and did what, cards with [Buttons], threads indented."""
        return transcript(self._proxy.mirror, self._channel(channel))

    def shown(self, blocks: Sequence[Json]) -> str:
        """A message's or a modal's blocks as plain text, as they are now."""
        return shown(self._proxy.mirror, blocks)

    async def _do(self, what: str, body: Json, *, wait: bool) -> None:
        task = asyncio.create_task(self._control(what, body))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        if wait:
            await task

    async def _control(self, what: str, body: Json) -> Json:
        async with self._session.post(f"{self._proxy.upstream}/_control/{what}", json=body) as answer:
            answer.raise_for_status()
            said: Json = await answer.json()
            return said

    async def _end(self) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _channel(self, name: str) -> str:
        if (channel := self._proxy.mirror.channel_id(name)) is None:
            raise LookupError(f"no channel {name}")
        return channel

    def _user(self, user: str | SlackUser) -> str:
        name = user.id if isinstance(user, SlackUser) else user
        if (found := self._proxy.mirror.user_id(name)) is None:
            raise LookupError(f"no user {name}")
        return found


def _action(message: Message, action_id: str, value: str | None, block_id: str | None) -> Json:
    """What the page would send for this element of the message."""
    for element in message.elements:
        if element["action_id"] != action_id or block_id not in (None, element["block_id"]):
            continue
        action: Json = {
            key: element[key] for key in ("type", "action_id", "block_id", "value", "text") if key in element
        }
        if element["type"] == "button":
            if value in (None, element.get("value")):
                return action
            continue
        for option in element.get("options", ()):
            if option["value"] == value:
                return {**action, "selected_option": option}
    there = [f"{e['action_id']}={e.get('value')!r}" for e in message.elements]
    raise LookupError(
        f"message {message.ts} has no {action_id} with value {value!r}; it has {', '.join(there) or 'none'}"
    )


def _config(users: Sequence[SlackUser], channels: Sequence[SlackChannel], mode: str) -> Json:
    everybody = [user.id for user in users]
    return {
        "workspace": {"name": "Aeterna", "domain": "aeterna", "teamId": model.TEAM_ID},
        "apps": [
            {
                "appId": model.APP_ID,
                "botUserId": model.BOT_USER_ID,
                "botName": model.BOT_NAME,
                "botToken": model.BOT_TOKEN,
                "appToken": model.APP_TOKEN,
                "signingSecret": model.SIGNING_SECRET,
                "mode": mode,
            }
        ],
        "users": [
            {"id": u.id, "name": u.name, "real_name": u.real_name, "email": f"{u.name}@aeterna.example"} for u in users
        ],
        "channels": [
            {
                "id": c.id,
                "name": c.name,
                "members": [
                    *(everybody if c.members is None else c.members),
                    *([model.BOT_USER_ID] if c.bot else []),
                ],
            }
            for c in channels
        ],
    }
