"""A TCP relay before the API server that can be cut, mended and slowed down, as if the server were away or overloaded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import yaml
from yarl import URL


class Relay:
    """``kubeconfig`` leads through the relay; ``cut`` drops every connection and refuses new ones.

    While ``prompt`` is not set, answers are held back.
    """

    def __init__(self, upstream: URL) -> None:
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._port = 0
        self._open: set[asyncio.Task[None]] = set()
        self.prompt = asyncio.Event()
        self.prompt.set()

    @classmethod
    @asynccontextmanager
    async def before(cls, kubeconfig: Path, copy: Path) -> AsyncIterator[Self]:
        """Relay to the API server of ``kubeconfig``; ``copy`` is written, and leads through here."""
        relay = cls(_lead(kubeconfig, copy, None))
        await relay.mend()
        _lead(kubeconfig, copy, f"https://127.0.0.1:{relay._port}")
        try:
            yield relay
        finally:
            await relay.cut()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = int(self._server.sockets[0].getsockname()[1])

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(self._upstream.host, self._upstream.port)
        try:
            both = [
                asyncio.create_task(_pump(reader, up_writer)),
                asyncio.create_task(_pump(up_reader, writer, when=self.prompt)),
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        finally:
            for end in (writer, up_writer):
                end.transport.abort()


def _lead(kubeconfig: Path, copy: Path, to: str | None) -> URL:
    """Where ``kubeconfig`` leads; with ``to``, ``copy`` is written and leads there."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    before = URL(cluster["server"])
    if to is not None:
        cluster["server"] = to
        copy.write_text(yaml.safe_dump(config))
    return before


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, when: asyncio.Event | None = None
) -> None:
    while chunk := await reader.read(1 << 16):
        if when is not None:
            await when.wait()
        writer.write(chunk)
        await writer.drain()
