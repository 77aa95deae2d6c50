"""Services that several processes share: whoever needs one first starts it, and it ends with the process it follows.

Made for a test run on several workers: the run's first process owns the directory, its workers find the services by
it. A service is a module of ours that prints one line of JSON when it is ready and knows `--follow PID`.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from filelock import FileLock

_CHECKOUT = Path(__file__).resolve().parent.parent


class ServiceError(Exception):
    """A shared service ended before it was ready; the text is what it said."""


class Services:
    """The services of the run whose first process is OWNER, known to all its processes by DIRECTORY."""

    def __init__(self, directory: Path, owner: int) -> None:
        self.directory = directory
        self.owner = owner

    @classmethod
    def create(cls, parent: Path) -> Services:
        """A directory under PARENT for a run that this process owns; what dead runs left there is removed."""
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.iterdir():
            if left.name.isdigit() and not psutil.pid_exists(int(left.name)):
                shutil.rmtree(left, ignore_errors=True)
        directory = parent / str(os.getpid())
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        return cls(directory, os.getpid())

    def want(self, module: str, *options: str) -> None:
        """Have MODULE started if nobody has yet; does not wait for it."""
        pid = self._file(module, "pid")
        with FileLock(self._file(module, "lock")):
            if not pid.exists():
                pid.write_text(str(self._spawn(module, *options)))

    def get(self, module: str, *options: str) -> str:
        """MODULE's line, as soon as it has said it. Raises ServiceError if it ended instead."""
        self.want(module, *options)
        process = int(self._file(module, "pid").read_text())
        while True:
            running = _is_running(process)
            said = self._file(module, "out").read_text()
            if said.endswith("\n"):
                return said
            if not running:
                raise ServiceError(f"{module}: {self._file(module, 'err').read_text()[-3000:]}")
            time.sleep(0.05)

    def close(self) -> None:
        """End every service, wait until they are gone, and remove the directory. Only the owner calls it."""
        processes = [int(file.read_text()) for file in self.directory.glob("*.pid")]
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        deadline = time.monotonic() + 15
        for process in processes:
            while _is_running(process) and time.monotonic() < deadline:
                time.sleep(0.02)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _spawn(self, module: str, *options: str) -> int:
        """Start it in a process group of its own (Ctrl-C is not for it), with its output in files."""
        source = (
            f"import sys, runpy; sys.path.insert(0, {str(_CHECKOUT)!r}); runpy.run_module({module!r}, None, '__main__')"
        )
        write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self._file(module, "out")), write, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, str(self._file(module, "err")), write, 0o600),
        ]
        command = [sys.executable, "-c", source, f"--follow={self.owner}", *options]
        return os.posix_spawn(sys.executable, command, os.environ, file_actions=actions, setpgroup=0)

    def _file(self, module: str, kind: str) -> Path:
        return self.directory / f"{module}.{kind}"


def _is_running(process: int) -> bool:
    """Whether PROCESS still runs; one that ended and was not yet reaped does not."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
