"""The bot as a process of its own, as it runs in a pod; for the demo, the benchmark and the tests that kill it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent


class BotProcess:
    """One process. ``log`` is where its stdout and stderr go."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self.log = log

    @classmethod
    async def start(
        cls,
        *,
        environment: Mapping[str, str],
        directory: Path,
        arguments: Sequence[str] = ("-m", "bot.cli", "serve"),
    ) -> BotProcess:
        """Starts it in ``directory`` with nothing of our environment but PATH."""
        log = directory / "bot.log"
        passed_on = {name: os.environ[name] for name in ("PATH", "LANG", "VIRTUAL_ENV") if name in os.environ}
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                cwd=directory,
                env={**passed_on, "PYTHONPATH": str(_CHECKOUT), "HOME": str(directory), **environment},
                stdout=file,
                stderr=file,
            )
        return cls(process, log)

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, *, environment: Mapping[str, str], directory: Path, arguments: Sequence[str] = ("-m", "bot.cli", "serve")
    ) -> AsyncIterator[BotProcess]:
        """Runs for as long as the block; ended in an orderly way, or by force if it does not end."""
        bot = await cls.start(environment=environment, directory=directory, arguments=arguments)
        try:
            yield bot
        finally:
            await bot.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def stop(self, *, patience: float = 40) -> int:
        """SIGTERM, and SIGKILL after ``patience`` seconds; the exit code."""
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(patience):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
        return await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL: what a node that loses power does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def wait(self) -> int:
        """The exit code, when it has ended by itself."""
        return await self._process.wait()

    def said(self) -> str:
        """Everything it logged."""
        return self.log.read_text(errors="replace")
