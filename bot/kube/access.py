"""The way to a pod's or a Service's port: directly inside the cluster, by port-forward from outside.

Both give the same aiohttp session with the same URL and ``Host``. Outside, every connection goes through a
private Unix socket and a WebSocket of its own to the API server; a forward that fails answers like a
gateway, with 502.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from bot.errors import BotError, Temporary, UserMistake
from bot.kube.cluster import Cluster
from bot.kube.failures import NotFound
from bot.kube.objects import Json, condition_of, is_true, name_of

DATA, ERROR = 0, 1
CHUNK = 64 * 1024


class ServiceAccess:
    """Opens sessions with the services of a release."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @asynccontextmanager
    async def session(
        self,
        *,
        namespace: str,
        port: int | str,
        pod: str | None = None,
        service: str | None = None,
        seconds: float = 30.0,
    ) -> AsyncIterator[aiohttp.ClientSession]:
        """An HTTP session whose base URL is the pod (``http://<pod IP>:<port>``) or the Service
        (``http://<service>.<namespace>.svc:<port>``); ``port`` may be a name and
        ``seconds`` bounds each request.

        Raises NotFound without such a pod or Service, Temporary when no pod behind it is ready, and Refused
        when port-forwarding is not allowed.
        """
        if (pod is None) == (service is None):
            raise UserMistake("Name either a pod or a service to connect to.")
        if pod is not None:
            target = await self._pod(namespace, pod, port)
        else:
            assert service is not None  # noqa: S101 - for the type checker; guarded above
            target = await self._service(namespace, service, port)
        limit = aiohttp.ClientTimeout(total=seconds)
        if self._cluster.in_cluster:
            async with aiohttp.ClientSession(target.url, timeout=limit) as http:
                yield http
            return
        async with (
            _Forward(self._cluster, namespace, target) as path,
            aiohttp.ClientSession(
                target.url,
                timeout=limit,
                # The end of a forwarded stream is not signalled, so a connection is never used twice; and the
                # server must not be told, or it may end its answer by closing, which we would not see.
                connector=aiohttp.UnixConnector(str(path), force_close=True),
                headers={"Connection": "keep-alive"},
            ) as http,
        ):
            yield http

    async def _pod(self, namespace: str, pod: str, port: int | str) -> _Target:
        found = await self._cluster.get("v1", "Pod", pod, namespace)
        if found is None:
            raise NotFound(f"There is no pod {pod} in namespace {namespace}.")
        address = str((found.get("status") or {}).get("podIP") or "")
        if not address:
            raise Temporary(f"Pod {pod} has no address yet.")
        number = port if isinstance(port, int) else _container_port(found, port)
        host = f"[{address}]" if ":" in address else address
        return _Target(f"http://{host}:{number}", pod, number)

    async def _service(self, namespace: str, service: str, port: int | str) -> _Target:
        found = await self._cluster.get("v1", "Service", service, namespace)
        if found is None:
            raise NotFound(f"There is no Service {service} in namespace {namespace}.")
        entry = _service_port(found, port)
        url = f"http://{service}.{namespace}.svc:{entry['port']}"
        if self._cluster.in_cluster:
            return _Target(url, "", int(entry["port"]))
        slices = await self._cluster.list(
            "discovery.k8s.io/v1", "EndpointSlice", namespace, f"kubernetes.io/service-name={service}"
        )
        behind = ready_endpoint(slices, str(entry.get("name") or ""))
        if behind is None:
            raise Temporary(f"No pod behind Service {service} in namespace {namespace} is ready.")
        return _Target(url, *behind)


class _Target:
    """Where a session leads: its base URL, and the pod and port that a forward goes to."""

    def __init__(self, url: str, pod: str, port: int) -> None:
        self.url = url
        self.pod = pod
        self.port = port


class _Forward:
    """A Unix socket whose every connection is one port-forward to the target."""

    def __init__(self, cluster: Cluster, namespace: str, target: _Target) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._target = target
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._server: asyncio.Server | None = None
        self._first: aiohttp.ClientWebSocketResponse | None = None
        self._pipes: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Path:
        # The first forward is opened at once, so that a missing right is said here and by its name.
        self._first = await self._open()
        self._directory = tempfile.TemporaryDirectory(prefix="aeterna-bot-")
        path = Path(self._directory.name) / "forward"
        self._server = await asyncio.start_unix_server(self._accept, str(path), limit=CHUNK)
        return path

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)
        if self._first is not None:
            await self._first.close()
        if self._directory is not None:
            self._directory.cleanup()

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        return await self._cluster.port_forward(self._namespace, self._target.pod, self._target.port)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pipe(reader, writer), name=f"port-forward to {self._target.pod}")
        self._pipes.add(task)
        task.add_done_callback(self._pipes.discard)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._carry(reader, writer)
        except (BotError, ConnectionError) as error:
            if not writer.is_closing():
                writer.write(_gateway_error(str(error)))
        finally:
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        socket, self._first = (self._first or await self._open()), None
        up = asyncio.create_task(_upward(reader, socket))
        down = asyncio.create_task(_downward(socket, writer))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            _, ended = await asyncio.gather(up, down, return_exceptions=True)
            await socket.close()
        if isinstance(ended, Exception):
            raise ended


async def _upward(reader: asyncio.StreamReader, socket: aiohttp.ClientWebSocketResponse) -> None:
    """Local bytes to the pod, until our side closes."""
    while chunk := await reader.read(CHUNK):
        await socket.send_bytes(bytes([DATA]) + chunk)


async def _downward(socket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
    """The pod's bytes to us; the first frame of either channel is the port, not data."""
    announced: set[int] = set()
    answered = False
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel not in announced:
            announced.add(channel)
        elif channel == DATA:
            answered = True
            writer.write(data)
            await writer.drain()
        elif channel == ERROR and data and not answered:
            raise ConnectionError(data.decode(errors="replace").strip())
    if not answered:
        raise ConnectionError("the forward ended without an answer")


def ready_endpoint(slices: list[Json], port_name: str) -> tuple[str, int] | None:
    """A ready pod behind a Service and the port it listens on, from its EndpointSlices (named ports are
    resolved).
    """
    for piece in slices:
        numbers = [p["port"] for p in piece.get("ports") or [] if (p.get("name") or "") == port_name and p.get("port")]
        for endpoint in piece.get("endpoints") or []:
            pod = endpoint.get("targetRef") or {}
            # Absent means unknown, which consumers are to read as ready (EndpointConditions).
            ready = (endpoint.get("conditions") or {}).get("ready", True)
            if numbers and ready and pod.get("kind") == "Pod":
                return str(pod["name"]), int(numbers[0])
    return None


def ready_pods(pods: list[Json]) -> list[Json]:
    """Those whose Ready condition is true and which are not on their way out."""
    return [
        pod
        for pod in pods
        if is_true(condition_of(pod, "Ready")) and not (pod.get("metadata") or {}).get("deletionTimestamp")
    ]


def _container_port(pod: Json, name: str) -> int:
    for container in (pod.get("spec") or {}).get("containers") or []:
        for port in container.get("ports") or []:
            if port.get("name") == name:
                return int(port["containerPort"])
    raise NotFound(f"Pod {name_of(pod)} has no port named {name}.")


def _service_port(service: Json, port: int | str) -> Json:
    ports = (service.get("spec") or {}).get("ports") or []
    for entry in ports:
        if port in (entry.get("port"), entry.get("name")):
            return dict(entry)
    offered = ", ".join(f"{entry.get('name') or '-'} ({entry.get('port')})" for entry in ports)
    raise NotFound(f"Service {name_of(service)} has no port {port}.", way_out=f"It has: {offered or 'none'}.")


def _gateway_error(message: str) -> bytes:
    body = json.dumps({"error": "port_forward_failed", "message": message}).encode()
    head = f"HTTP/1.1 502 Bad Gateway\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
