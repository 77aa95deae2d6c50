"""An HTTP proxy before the API server that answers some requests itself, as a server does on a bad day."""

from __future__ import annotations

import base64
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

_HOP = {"connection", "content-length", "content-encoding", "host", "keep-alive", "transfer-encoding"}
REASONS = {409: "Conflict", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}


@dataclass
class Faults:
    """``judge`` is asked for each request: a status to answer with, or None to let it through.

    With ``after`` the API server has done the request before the answer is thrown away.
    """

    kubeconfig: Path
    judge: Callable[[web.Request], int | None] = lambda _request: None
    after: bool = False
    seen: list[tuple[str, str, int]] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def before(cls, kubeconfig: Path, copy: Path) -> AsyncIterator[Faults]:
        """A proxy to the API server of ``kubeconfig``; ``copy`` is written, and leads through here."""
        config = _read(kubeconfig)
        upstream = str(config["clusters"][0]["cluster"]["server"])
        faults = cls(copy)
        async with aiohttp.ClientSession(auto_decompress=False) as http:
            context = _tls(config)

            async def answer(request: web.Request) -> web.StreamResponse:
                status = faults.judge(request)
                if status is not None and not faults.after:
                    return faults._refusal(request, status)
                headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
                data = await request.read()
                url = upstream + request.path_qs
                async with http.request(request.method, url, headers=headers, data=data, ssl=context) as got:
                    if status is not None:
                        await got.read()
                        return faults._refusal(request, status)
                    faults.seen.append((request.method, request.path, got.status))
                    given = {key: value for key, value in got.headers.items() if key.lower() not in _HOP}
                    reply = web.StreamResponse(status=got.status, headers=given)
                    await reply.prepare(request)
                    async for chunk in got.content.iter_any():
                        await reply.write(chunk)
                    return reply

            app = web.Application()
            app.router.add_route("*", "/{path:.*}", answer)
            runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            try:
                port = runner.addresses[0][1]
                _write(copy, _leading(config, f"http://127.0.0.1:{port}"))
                yield faults
            finally:
                await runner.cleanup()

    def _refusal(self, request: web.Request, status: int) -> web.Response:
        self.seen.append((request.method, request.path, status))
        said = {
            "kind": "Status",
            "status": "Failure",
            "code": status,
            "reason": REASONS[status],
            "message": "a bad day",
        }
        return web.json_response(said, status=status)


def _read(kubeconfig: Path) -> Any:
    return yaml.safe_load(kubeconfig.read_text())


def _write(copy: Path, config: dict[str, Any]) -> None:
    copy.write_text(yaml.safe_dump(config))


def _leading(config: dict[str, Any], server: str) -> dict[str, Any]:
    named = {"name": "proxy"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "proxy",
        "clusters": [{**named, "cluster": {"server": server}}],
        "users": [{**named, "user": {}}],
        "contexts": [{**named, "context": {"cluster": "proxy", "user": "proxy"}}],
    }


def _tls(config: dict[str, Any]) -> ssl.SSLContext:
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(base64.b64decode(user["client-certificate-data"]))
        file.write(base64.b64decode(user["client-key-data"]))
        file.flush()
        context.load_cert_chain(file.name)
    return context
