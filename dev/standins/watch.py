"""The table of pods, kept by one watch on the API server.

Plain aiohttp with the kubeconfig's certificates: the Kubernetes client would cost more memory than all stand-ins
together. Lives through a lost API server and through 410 Gone by listing again.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import yaml

from dev.standins.directory import Pod

_log = logging.getLogger(__name__)
WATCH_SECONDS: Final = 300
RETRY_SECONDS: Final = 0.3


@dataclass(frozen=True)
class Access:
    """How an API server is reached."""

    server: str
    tls: ssl.SSLContext | bool
    headers: Mapping[str, str]

    def session(self) -> aiohttp.ClientSession:
        """For calls by path, watches among them."""
        return aiohttp.ClientSession(
            self.server,
            connector=aiohttp.TCPConnector(ssl=self.tls),
            headers=self.headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=WATCH_SECONDS + 30),
            read_bufsize=2**20,  # One watch event is one line.
        )


class WatchedPods:
    """A PodDirectory of a real API server; see ``watching``."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._pods: dict[str, Pod] = {}
        self._change = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def watching(cls, kubeconfig: Path) -> AsyncIterator[Self]:
        """Watch all namespaces by the current context of ``kubeconfig`` until the block ends.

        Does not wait for the first list: the API server may come up later.
        """
        watched = cls(read_kubeconfig(kubeconfig))
        task = asyncio.create_task(watched._follow(), name="standins: watch pods")
        try:
            yield watched
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def pods(self) -> Sequence[Pod]:
        return tuple(self._pods.values())

    async def changed(self) -> None:
        await self._change.wait()

    def _announce(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    async def _follow(self) -> None:
        async with self._access.session() as session:
            while True:
                try:
                    await self._watch(session, await self._list(session))
                except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                    _log.info("watch of pods lost, listing again: %s", error)
                    await asyncio.sleep(RETRY_SECONDS)

    async def _list(self, session: aiohttp.ClientSession) -> str:
        async with session.get("/api/v1/pods") as response:
            response.raise_for_status()
            listed = await response.json()
        self._pods = {item["metadata"]["uid"]: _pod(item) for item in listed["items"]}
        self._announce()
        return str(listed["metadata"]["resourceVersion"])

    async def _watch(self, session: aiohttp.ClientSession, version: str) -> None:
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS)}
        async with session.get("/api/v1/pods", params=query) as response:
            response.raise_for_status()
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ValueError(event["object"].get("message", "watch error"))
                uid = event["object"]["metadata"]["uid"]
                if event["type"] == "DELETED":
                    self._pods.pop(uid, None)
                else:
                    self._pods[uid] = _pod(event["object"])
                self._announce()


def _pod(item: Mapping[str, Any]) -> Pod:
    status, metadata = item.get("status", {}), item["metadata"]
    tags = {
        port["containerPort"]: container.get("image", "").rpartition(":")[2]
        for container in item["spec"]["containers"]
        for port in container.get("ports", ())
    }
    conditions = {entry["type"]: entry["status"] for entry in status.get("conditions", ())}
    ended = status.get("phase") in ("Succeeded", "Failed") or "deletionTimestamp" in metadata
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        ip=status.get("podIP", ""),
        tags=tags,
        created=metadata["creationTimestamp"],
        ready=conditions.get("Ready") == "True",
        alive=not ended,
    )


def read_kubeconfig(path: Path) -> Access:
    """By the current context."""
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    named = {
        kind: {entry["name"]: entry[kind] for entry in config[f"{kind}s"]} for kind in ("context", "cluster", "user")
    }
    context = named["context"][config["current-context"]]
    cluster, user = named["cluster"][context["cluster"]], named["user"][context["user"]]
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    if not cluster["server"].startswith("https"):
        return Access(cluster["server"], False, headers)
    authority = _pem(cluster, "certificate-authority", path.parent)
    tls = ssl.create_default_context(cadata=authority)
    certificate, key = (_pem(user, name, path.parent) for name in ("client-certificate", "client-key"))
    if certificate and key:
        # OpenSSL takes a client certificate from a file only.
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as chain:
            chain.write(f"{certificate}\n{key}")
            chain.flush()
            tls.load_cert_chain(chain.name)
    return Access(cluster["server"], tls, headers)


def _pem(section: Mapping[str, str], name: str, base: Path) -> str | None:
    if f"{name}-data" in section:
        return base64.b64decode(section[f"{name}-data"]).decode()
    return (base / section[name]).read_text(encoding="utf-8") if name in section else None
