"""What every stand-in shares: find out who is meant, wait if told so, answer, and write it down."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from dev.standins.directory import NobodyMeantError, Pod, PodDirectory, find_pod
from dev.standins.state import NamespaceState, World

NAMESPACE_HEADER: Final = "X-Standin-Namespace"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Call:
    """The pod that a request meant and what is known of its namespace."""

    pod: Pod
    state: NamespaceState


_CALL: Final = web.RequestKey("call", Call)


def call_of(request: web.Request) -> Call:
    """Who is meant by ``request``; set for every request that reaches a handler."""
    return request[_CALL]


def application(
    port: int, directory: PodDirectory, world: World, *, not_found: Callable[[], web.Response] | None = None
) -> web.Application:
    """An application that plays every pod's ``port``; ``not_found`` answers unknown paths."""

    @web.middleware
    async def play(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            pod = await find_pod(
                directory, port=port, host=request.host, namespace=request.headers.get(NAMESPACE_HEADER)
            )
        except NobodyMeantError as error:
            return web.json_response({"error": "standin_nobody_meant", "message": str(error)}, status=502)
        state = world[pod.namespace]
        request[_CALL] = Call(pod, state)
        began = time.perf_counter()
        await asyncio.sleep(state.switches.slow)
        response = await _answer(request, handler, not_found)
        if port == SERVER_PORT:
            path = _pattern(request)
            state.metrics.count(request.method, path, response.status, (time.perf_counter() - began) * 1000)
        state.note(
            port=port,
            pod=pod.name,
            method=request.method,
            path=request.path,
            status=response.status,
            body=await _body(request),
        )
        return response

    return web.Application(middlewares=[play])


SERVER_PORT: Final = 8080


async def _answer(
    request: web.Request, handler: Handler, not_found: Callable[[], web.Response] | None
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return not_found() if not_found else web.Response(status=404)
    except web.HTTPMethodNotAllowed as error:
        return web.Response(status=405, headers={"Allow": error.headers["Allow"]})


def _pattern(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else request.path


async def _body(request: web.Request) -> object:
    text = await request.text() if request.body_exists else ""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
