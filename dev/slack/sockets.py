"""Socket Mode towards the bot: one connection an envelope, and the same envelope again until it is acked.

local-slack sends every envelope to every connection and never again, so we hold one connection to it and
share out. An envelope that finds no bot connected waits for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from dev.slack.inbound import Inbound, ack_with_default_type
from dev.slack.mirror import Changes
from dev.slack.model import APP_ID, APP_TOKEN, Delivery, Json

TRIES = 3


@dataclass
class _Connection:
    number: int
    socket: web.WebSocketResponse
    request: web.Request
    closed: asyncio.Event


class Sockets:
    """The bot's WebSockets and the envelopes under way."""

    def __init__(self, *, inbound: Inbound, changes: Changes, redeliver_after: float) -> None:
        self._inbound = inbound
        self._changes = changes
        self._redeliver_after = redeliver_after
        self._tickets: set[str] = set()
        self._connections: list[_Connection] = []
        self._count = 0
        self._turn = 0
        self._waiting: dict[str, tuple[str, asyncio.Event]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tell_upstream: Callable[[str], Awaitable[None]] | None = None
        self.deliveries: list[Delivery] = []

    @property
    def connected(self) -> int:
        """How many of the bot's WebSockets are open."""
        return len(self._connections)

    @property
    def listening(self) -> bool:
        """Whether our own connection to local-slack is open."""
        return self._tell_upstream is not None

    def ticket(self) -> str:
        """The single-use last part of a WebSocket URL for apps.connections.open."""
        ticket = secrets.token_hex(8)
        self._tickets.add(ticket)
        return ticket

    def drop_all(self) -> None:
        """Aborts the bot's WebSockets without a closing handshake."""
        for connection in self._connections:
            if connection.request.transport is not None:
                connection.request.transport.abort()

    async def follow_upstream(self, session: aiohttp.ClientSession, upstream: str) -> None:
        """Opens the one connection to local-slack and shares out what comes, until it closes."""
        headers = {"Authorization": f"Bearer {APP_TOKEN}"}
        async with session.post(f"{upstream}/api/apps.connections.open", headers=headers) as answer:
            url = (await answer.json())["url"]
        async with session.ws_connect(url, max_msg_size=0) as socket:
            self._tell_upstream = socket.send_str
            self._changes.report()
            async for frame in socket:
                if frame.type == aiohttp.WSMsgType.TEXT and "envelope_id" in (envelope := json.loads(frame.data)):
                    task = asyncio.create_task(self._deliver(envelope))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Ends what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.drop_all()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One WebSocket of the bot, from hello to its end."""
        ticket = request.match_info["ticket"]
        if ticket not in self._tickets:
            return web.Response(status=404, text="unknown or used WebSocket URL")
        self._tickets.discard(ticket)
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        self._count += 1
        connection = _Connection(self._count, socket, request, asyncio.Event())
        hello = {
            "type": "hello",
            "num_connections": len(self._connections) + 1,
            "connection_info": {"app_id": APP_ID},
            "debug_info": {"host": "throwaway", "approximate_connection_time": 3600},
        }
        await socket.send_json(hello)
        self._connections.append(connection)
        self._changes.report()
        try:
            async for frame in socket:
                if frame.type == aiohttp.WSMsgType.TEXT:
                    await self._acked(json.loads(frame.data))
        finally:
            self._connections.remove(connection)
            connection.closed.set()
            self._changes.report()
        return socket

    async def _deliver(self, envelope: Json) -> None:
        envelope["payload"] = self._inbound.prepare(envelope["type"], envelope["payload"])
        acked = asyncio.Event()
        envelope_id = envelope["envelope_id"]
        self._waiting[envelope_id] = (envelope["type"], acked)
        for attempt in range(TRIES):
            envelope |= {"retry_attempt": attempt, "retry_reason": "timeout" if attempt else ""}
            connection = await self._next_connection()
            self._note(envelope, connection)
            with contextlib.suppress(ConnectionError, RuntimeError):  # it just closed: the next attempt follows
                await connection.socket.send_json(envelope)
            if await _first(acked, connection.closed, within=self._redeliver_after) and acked.is_set():
                return

    async def _next_connection(self) -> _Connection:
        while not self._connections:
            await self._changes.until(lambda: self._connections or None, within=3600)
        self._turn += 1
        return self._connections[self._turn % len(self._connections)]

    def _note(self, envelope: Json, connection: _Connection) -> None:
        self.deliveries.append(
            Delivery(
                envelope_id=envelope["envelope_id"],
                type=envelope["type"],
                attempt=envelope["retry_attempt"],
                connection=connection.number,
                time=time.monotonic(),
                payload=envelope["payload"],
            )
        )
        self._changes.report()

    async def _acked(self, frame: Json) -> None:
        kind, acked = self._waiting.pop(frame.get("envelope_id", ""), (None, None))
        if kind is None or acked is None:
            return
        acked.set()
        for delivery in self.deliveries:
            if delivery.envelope_id == frame["envelope_id"] and delivery.acked is None:
                delivery.acked = time.monotonic()
        self._changes.report()
        if self._tell_upstream is not None:
            answer = ack_with_default_type(kind, frame.get("payload"))
            await self._tell_upstream(json.dumps({**frame, "payload": answer}))


async def _first(*events: asyncio.Event, within: float) -> bool:
    """True as soon as one of the events is set, False after ``within`` seconds."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waits, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for wait in waits:
            wait.cancel()
