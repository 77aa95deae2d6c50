"""A throwaway Redis server on the loopback: a real one, where Dragonfly's protocol is meant."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from dev.controlplane.children import Children
from dev.controlplane.plane import ProgramFinder
from dev.controlplane.ports import free_port
from dev.throwaway import ThrowawayServer

START_SECONDS = 30.0


class RedisError(Exception):
    """The server did not come up; the text ends with its last lines."""


class RedisServer(ThrowawayServer[int]):
    """One server as a context manager, which gives its port. Nothing is kept on disk. Enter it on the main thread."""

    def __init__(self, toolchain: ProgramFinder, *, password: str | None = None) -> None:
        super().__init__("redis")
        self._program = toolchain.path("redis-server")
        self._password = password

    def _start(self, directory: Path, children: Children) -> int:
        port = free_port()
        settings = {"bind": "127.0.0.1", "port": port, "save": '""', "appendonly": "no", "dir": directory}
        if self._password is not None:
            settings["requirepass"] = self._password
        file = directory / "redis.conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        children.start("redis", [self._program, file])
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError as error:
                if ended := children.ended():
                    raise RedisError(ended) from error
                if time.monotonic() > deadline:
                    raise RedisError(f"no answer in {START_SECONDS:.0f} s: {error}") from error
                time.sleep(0.02)
            else:
                return port
