"""One run of a program: an argument list, its own process group, a deadline, bounded output.

The program writes into nameless temporary files, not into pipes: should this process die, the program does
not die with it of a broken pipe in the middle of a rollback, and leaves nothing behind. What a stop may do to
it is the caller's choice, see `Stop`.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bot.errors import OutcomeUnknown, Permanent, Temporary

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
STDOUT_LIMIT = 32 * MIB  # a release of 2,000 objects renders to 5 MiB
STDERR_LIMIT = 64 * MIB
STDERR_HEAD = 16 * 1024
STDERR_TAIL = 64 * 1024

LineSink = Callable[[str], None]


class Stop(enum.Enum):
    """What a cancellation, or the deadline, may do to the program."""

    KILL = "SIGTERM, and SIGKILL soon after: for whatever only reads"
    ASK = "SIGTERM and much patience; a SIGKILL at the end makes the outcome unknown"
    NEVER = "no signal ever: a cancellation waits for the end, a deadline leaves it running"


@dataclass(frozen=True)
class Patience:
    """Seconds that a program gets to end after SIGTERM, by `Stop`."""

    kill: float = 2.0
    ask: float = 120.0


@dataclass(frozen=True)
class Finished:
    """How the program ended. ``stderr`` is its beginning and its end; a line says what was left out."""

    exit_code: int
    stdout: bytes
    stderr: str
    timed_out: bool = False


class ProgramMissing(Permanent):
    """The program is not there, or may not be started."""


async def run_program(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    deadline: float,
    stop: Stop,
    on_line: LineSink | None = None,
    stdout_limit: int = STDOUT_LIMIT,
    patience: Patience | None = None,
) -> Finished:
    """Run ``argv`` to its end, at most ``deadline`` seconds, and say how it ended.

    ``on_line`` gets each line of stderr within a fifth of a second. Raises `ProgramMissing`; `Permanent` when
    it prints more than ``stdout_limit`` bytes; `OutcomeUnknown` when it had to be killed though it changes
    things, or was left running (`Stop.NEVER`).
    """
    run = _Run(argv, env, cwd, stop, on_line, stdout_limit, patience or Patience())
    task = asyncio.create_task(run.until_end(), name=f"program {Path(argv[0]).name} {' '.join(argv[1:2])}")
    try:
        done, _ = await asyncio.wait({task}, timeout=deadline)
    except asyncio.CancelledError as cancelled:
        await run.stopped(task)
        if run.killed and stop is Stop.ASK:
            raise run.unknown("was cancelled, did not end when asked to and was killed") from cancelled
        raise
    if not done:
        run.timed_out = True
        if stop is Stop.NEVER:
            run.leave(task)
            raise run.unknown(f"is still going on after {deadline:.0f} s and was left to finish")
        await run.stopped(task)
        if run.killed and stop is Stop.ASK:
            raise run.unknown(f"did not end in {deadline:.0f} s, nor when asked to, and was killed")
    return task.result()


class _Run:
    """The state of one run. ``until_end`` is never cancelled; only signals end the program early."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        stop: Stop,
        on_line: LineSink | None,
        stdout_limit: int,
        patience: Patience,
    ) -> None:
        self._argv = list(argv)
        self._env = dict(env)
        self._cwd = cwd
        self._stop = stop
        self._stdout_limit = stdout_limit
        self._patience = patience
        self._lines = _Lines(on_line) if on_line else None
        self._process: asyncio.subprocess.Process | None = None
        self._stop_wanted = False
        self._too_long = False
        self.killed = False
        self.timed_out = False

    async def until_end(self) -> Finished:
        with tempfile.TemporaryFile(dir=self._cwd) as out, tempfile.TemporaryFile(dir=self._cwd) as err:
            self._process = await self._spawn(out, err)
            if self._stop_wanted:
                self._signal(signal.SIGTERM)
            await self._watch(self._process, out, err)
            return self._finished(self._process, out, err)

    async def _spawn(self, out: BinaryIO, err: BinaryIO) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            raise ProgramMissing(
                f"`{self._argv[0]}` cannot be started: {error.strerror}.",
                way_out="Install it, or name its place in the configuration.",
            ) from error
        except OSError as error:
            raise Temporary(f"`{self._argv[0]}` could not be started: {error.strerror}.") from error

    async def _watch(self, process: asyncio.subprocess.Process, out: BinaryIO, err: BinaryIO) -> None:
        """Wait for the end; meanwhile hand on new lines and guard the size of the output."""
        ended = asyncio.ensure_future(process.wait())
        while not ended.done():
            await asyncio.wait({ended}, timeout=0.2 if self._lines else 0.5)
            if self._lines:
                self._lines.feed(err)
            if not self._too_long and (_size(out) > self._stdout_limit or _size(err) > STDERR_LIMIT):
                self._too_long = True
                if self._stop is not Stop.NEVER:
                    self._signal(signal.SIGTERM if self._stop is Stop.ASK else signal.SIGKILL)
        if self._lines:
            self._lines.feed(err, last=True)

    def _finished(self, process: asyncio.subprocess.Process, out: BinaryIO, err: BinaryIO) -> Finished:
        stderr = _head_and_tail(err)
        if self._too_long or _size(out) > self._stdout_limit:
            raise Permanent(
                f"`{self._named()}` printed more than {self._stdout_limit / MIB:.0f} MiB, which is not read.",
                way_out="Look at it by hand: something in the chart or the release is far larger than usual.",
            )
        exit_code = process.returncode
        assert exit_code is not None  # noqa: S101 — wait() has returned
        return Finished(exit_code, os.pread(out.fileno(), self._stdout_limit, 0), stderr, self.timed_out)

    async def stopped(self, task: asyncio.Task[Finished]) -> None:
        """End the program as `Stop` allows, and wait until it has ended, whoever cancels meanwhile.

        Raises nothing: the task's own exception is looked at by whoever asks for its result.
        """
        self._stop_wanted = self._stop is not Stop.NEVER
        if self._stop_wanted:
            self._signal(signal.SIGTERM)
        grace = {Stop.KILL: self._patience.kill, Stop.ASK: self._patience.ask, Stop.NEVER: None}[self._stop]
        while not await _ended(task, grace):
            self.killed = True
            self._signal(signal.SIGKILL)
            grace = None
        if not task.cancelled():
            task.exception()  # seen, so that the loop does not complain about it

    def leave(self, task: asyncio.Task[Finished]) -> None:
        """Let it go on without us; its end is logged when it comes."""
        self._lines = None

        def log(task: asyncio.Task[Finished]) -> None:
            if task.cancelled() or task.exception() is not None:
                logger.warning("%s was left running and its end was not seen", self._named())
            else:
                logger.info("%s, left running, ended with %s", self._named(), task.result().exit_code)

        task.add_done_callback(log)

    def unknown(self, what: str) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"`{self._named()}` {what}.",
            way_out="Look at the release's history before anything else is done.",
        )

    def _named(self) -> str:
        return " ".join([Path(self._argv[0]).name, *(a for a in self._argv[1:4] if not a.startswith("-"))])

    def _signal(self, number: signal.Signals) -> None:
        """Signal the whole group, as long as its leader has not been waited for (afterwards the number may be
        another's).
        """
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            logger.debug("process group %s had already ended", process.pid)


class _Lines:
    """Hands on the lines that have been added to a growing file."""

    def __init__(self, sink: LineSink) -> None:
        self._sink = sink
        self._offset = 0
        self._rest = b""

    def feed(self, file: BinaryIO, *, last: bool = False) -> None:
        while chunk := os.pread(file.fileno(), MIB, self._offset):
            self._offset += len(chunk)
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._sink(line.decode(errors="replace"))
        if last and self._rest:
            self._sink(self._rest.decode(errors="replace"))


async def _ended(task: asyncio.Task[Finished], grace: float | None) -> bool:
    """Wait for the task, not minding cancellations of the waiter: it has one thing left to do, and that is to
    wait.
    """
    loop = asyncio.get_running_loop()
    until = None if grace is None else loop.time() + grace
    while not task.done():
        left = None if until is None else until - loop.time()
        if left is not None and left <= 0:
            return False
        try:
            await asyncio.wait({task}, timeout=left)
        except asyncio.CancelledError:
            logger.debug("cancelled again while waiting for a program to end")
    return True


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _head_and_tail(file: BinaryIO) -> str:
    size = _size(file)
    if size <= STDERR_HEAD + STDERR_TAIL:
        return os.pread(file.fileno(), size, 0).decode(errors="replace")
    head = os.pread(file.fileno(), STDERR_HEAD, 0).decode(errors="replace")
    tail = os.pread(file.fileno(), STDERR_TAIL, size - STDERR_TAIL).decode(errors="replace")
    return f"{head}\n… {size - STDERR_HEAD - STDERR_TAIL} bytes left out …\n{tail}"
