"""Processes of the bot that start in no time: each is a fork of one process that has imported everything and done nothing.

``python -m tests.chaos.nursery`` is that process; ``Nursery`` is its owner's side. A child is a process like any other: it
has files, connections and children of its own, and dies alone. All of them die with their owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from bot import cli

_CHECKOUT = Path(__file__).resolve().parents[2]


class Bot:
    """One process of the bot. ``log`` is where its stdout and stderr go."""

    def __init__(self, pid: int, log: Path, code: asyncio.Future[int]) -> None:
        self.pid = pid
        self.log = log
        self._code = code

    @property
    def alive(self) -> bool:
        return not self._code.done()

    async def wait(self) -> int:
        """The exit code, or the negative number of the signal that ended it."""
        return await asyncio.shield(self._code)

    def signal(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.pid, number)

    async def kill(self) -> None:
        """What a node that loses power does."""
        self.signal(signal.SIGKILL)
        await self.wait()

    def said(self) -> str:
        """Everything that it logged."""
        return self.log.read_text(errors="replace")


class Nursery:
    """Starts bots."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._of = process.stdin, process.stdout
        self._process = process
        self._born: asyncio.Queue[int] = asyncio.Queue()
        self._codes: dict[int, asyncio.Future[int]] = {}
        self._one = asyncio.Lock()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls) -> AsyncIterator[Nursery]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.chaos.nursery"),
            cwd=_CHECKOUT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        nursery = cls(process)
        if not await nursery._of.readline():
            raise RuntimeError("the bot cannot be imported; see stderr")
        listening = asyncio.create_task(nursery._listen())
        try:
            yield nursery
        finally:
            nursery._to.close()
            await listening
            await process.wait()

    async def start(self, *, environment: Mapping[str, str], directory: Path, orders: Path, writes: Path) -> Bot:
        """A bot in ``directory``, with nothing of our environment but PATH."""
        log = directory / "bot.log"
        passed_on = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        wish = {
            "environment": {**passed_on, "HOME": str(directory), **environment},
            "directory": str(directory),
            "log": str(log),
            "orders": str(orders),
            "writes": str(writes),
        }
        async with self._one:
            self._to.write(json.dumps(wish).encode() + b"\n")
            pid = await self._born.get()
        return Bot(pid, log, self._codes[pid])

    async def _listen(self) -> None:
        while line := await self._of.readline():
            what, pid, code = line.split()
            if what == b"born":
                self._codes[int(pid)] = asyncio.get_running_loop().create_future()
                self._born.put_nowait(int(pid))
            else:
                self._codes[int(pid)].set_result(int(code))


# -- the other side -------------------------------------------------------------------------------------------


def _serve() -> None:
    """Forks a bot for each line on stdin, tells of births and deaths on stdout, and ends with its owner."""
    import slack_bolt.adapter.socket_mode.aiohttp  # noqa: F401 - what a bot would import when it starts
    from alembic import command  # noqa: F401

    import bot.app  # noqa: F401

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(theirs.fileno())
    os.write(1, b"ready\n")
    children: set[int] = set()
    pending = b""
    while True:
        ready, _, _ = select.select([0, ours.fileno()], [], [])
        if ours.fileno() in ready:
            ours.recv(1024)
            for pid in list(children):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    children.remove(pid)
                    _tell("dead", pid, os.waitstatus_to_exitcode(status))
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    ours.close()
                    theirs.close()
                    _be(json.loads(line))
                children.add(pid)
                _tell("born", pid, 0)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _tell(what: str, pid: int, code: int) -> None:
    os.write(1, f"{what} {pid} {code}\n".encode())


def _be(wish: dict[str, Any]) -> NoReturn:
    """Becomes a bot."""
    from tests.chaos.victim import Fate, watch

    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(wish["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for descriptor, file in ((0, nothing), (1, log), (2, log)):
        os.dup2(file, descriptor)
    os.environ.clear()
    os.environ.update(wish["environment"])
    os.chdir(wish["directory"])
    watch(Fate(Path(wish["orders"]), Path(wish["writes"])))
    code = 1
    try:
        cli.main(["serve"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
