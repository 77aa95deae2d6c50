"""The reverse proxy in front of local-slack: one HTTP server that joins the parts.

The bot's paths go to their parts; everything else (the page, its websocket, files, ``/_control``) passes
through, so that a person can open the proxy's address in a browser.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from dev.slack.api import WebApi
from dev.slack.faults import Faults
from dev.slack.hooks import Hooks
from dev.slack.http_mode import HttpMode
from dev.slack.inbound import Inbound
from dev.slack.mirror import Changes, Mirror
from dev.slack.model import Json, Limits, SlackUserGroup
from dev.slack.program import running_program
from dev.slack.sockets import Sockets

_HOP = {
    "connection",
    "content-encoding",
    "content-length",
    "host",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
}
_CLOSES_WITHIN = 0.5
_DATE = re.compile(r"<!date\^[^<>|]*\|([^<>|]*)>")


class Proxy:
    """Everything that stands in front of one local-slack."""

    def __init__(self, *, session: aiohttp.ClientSession, public: str) -> None:
        self._session = session
        self.public = public
        self.upstream = ""
        self.changes = Changes()
        self.mirror: Mirror
        self.sockets: Sockets
        self.faults: Faults
        self.api: WebApi
        self._hooks: Hooks
        self._http_mode: HttpMode | None = None

    def attach(
        self,
        *,
        upstream: str,
        limits: Limits,
        scopes: tuple[str, ...],
        user_groups: tuple[SlackUserGroup, ...],
        redeliver_after: float,
        request_url: str | None,
    ) -> None:
        """Builds the parts once local-slack's address is known."""
        self.upstream = upstream
        self.mirror = Mirror(upstream=upstream, public=self.public, changes=self.changes)
        inbound = Inbound(upstream=upstream, public=self.public, mirror=self.mirror)
        self.sockets = Sockets(inbound=inbound, changes=self.changes, redeliver_after=redeliver_after)
        self.faults = Faults(drop_sockets=self.sockets.drop_all)
        self.api = WebApi(
            session=self._session,
            upstream=upstream,
            public=self.public,
            limits=limits,
            scopes=scopes,
            user_groups=user_groups,
            mirror=self.mirror,
            inbound=inbound,
            sockets=self.sockets,
            faults=self.faults,
            changes=self.changes,
        )
        self._hooks = Hooks(
            session=self._session,
            upstream=upstream,
            inbound=inbound,
            limits=lambda: self.api.limits,
            post=self.api.forward,
        )
        if request_url is not None:
            self._http_mode = HttpMode(
                session=self._session,
                inbound=inbound,
                changes=self.changes,
                request_url=request_url,
                redeliver_after=redeliver_after,
                deliveries=self.sockets.deliveries,
            )

    def routes(self) -> list[web.RouteDef]:
        """Our own paths first, the rest passes through."""
        return [
            web.route("*", "/api/{method}", self._web_api),
            web.get("/socket/{ticket}", self._bot_socket),
            web.post("/_hooks/response/{id}", self._response_url),
            web.post("/_deliver", self._deliver),
            web.post("/_faults", self._add_fault),
            web.delete("/_faults", self._clear_faults),
            web.get("/_calls", self._show_calls),
            web.get("/ui", self._page_socket),
            web.route("*", "/{path:.*}", self._pass),
        ]

    # The routes are made before the parts: the port must be known before local-slack starts.

    async def _web_api(self, request: web.Request) -> web.Response:
        return await self.api.handle(request)

    async def _bot_socket(self, request: web.Request) -> web.StreamResponse:
        return await self.sockets.serve(request)

    async def _response_url(self, request: web.Request) -> web.Response:
        return await self._hooks.handle(request)

    async def _deliver(self, request: web.Request) -> web.Response:
        if self._http_mode is None:
            raise web.HTTPNotFound
        return await self._http_mode.handle(request)

    async def _add_fault(self, request: web.Request) -> web.Response:
        self.faults.add(**await request.json())
        return web.json_response({"ok": True})

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self.faults.clear()
        return web.json_response({"ok": True})

    async def _show_calls(self, _request: web.Request) -> web.Response:
        return web.json_response({"calls": [call.as_json() for call in self.api.calls]})

    async def _pass(self, request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = f"{self.upstream}{request.rel_url}"
        body = await request.read()
        async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
            content = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            if answer.content_type == "application/json":
                content = content.replace(self.upstream.encode(), self.public.encode())
            return web.Response(status=answer.status, body=content, headers=kept)

    async def _page_socket(self, request: web.Request) -> web.StreamResponse:
        browser = web.WebSocketResponse(max_msg_size=0)
        await browser.prepare(request)
        async with self._session.ws_connect(f"{self.upstream}/ui", max_msg_size=0) as page:
            up = asyncio.create_task(self._pump(browser, page))
            down = asyncio.create_task(self._pump(page, browser, shown=True))
            try:
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        await browser.close()
        return browser

    async def _pump(self, source: _Socket, sink: _Socket, *, shown: bool = False) -> None:
        async for frame in source:
            if frame.type == aiohttp.WSMsgType.TEXT:
                text = frame.data.replace(self.upstream, self.public)
                await sink.send_str(_as_drawn(text) if shown else text)


def _as_drawn(frame: str) -> str:
    """What the page cannot draw, in a form that it can: a time as its fallback, a number as a field for text."""
    return _DATE.sub(r"\1", frame).replace('"type":"number_input"', '"type":"plain_text_input"')


_Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


@asynccontextmanager
async def running_proxy(
    *, program: Path, config: Json, directory: Path, port: int, events: bool, **parts: Any
) -> AsyncIterator[Proxy]:
    """local-slack with its proxy on 127.0.0.1; ``parts`` go to ``Proxy.attach``."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        proxy = Proxy(session=session, public="")
        server = web.Application(client_max_size=1 << 30)
        server.add_routes(proxy.routes())
        runner = web.AppRunner(server, access_log=None, shutdown_timeout=_CLOSES_WITHIN)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        proxy.public = f"http://127.0.0.1:{runner.addresses[0][1]}"
        if events:
            config["apps"][0]["requestUrl"] = f"{proxy.public}/_deliver"
        tasks: list[asyncio.Task[None]] = []
        try:
            async with running_program(program, config, directory) as upstream:
                proxy.attach(upstream=upstream, **parts)
                await proxy.mirror.connect(session)
                tasks.append(asyncio.create_task(proxy.mirror.follow(), name="slack mirror"))
                if not events:
                    tasks.append(
                        asyncio.create_task(proxy.sockets.follow_upstream(session, upstream), name="slack envelopes")
                    )
                    await proxy.changes.until(lambda: proxy.sockets.listening or None, within=10)
                try:
                    yield proxy
                finally:
                    proxy.api.stop()
                    await proxy.sockets.stop()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await runner.cleanup()
