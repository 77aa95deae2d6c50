"""Child processes that do not outlive us: killed at the end, by the kernel if we are killed, never waited for long."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1


class Children:
    """Started programs with a log each in DIRECTORY."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._before_exec = _die_with_parent()

    def start(self, name: str, command: Sequence[str | Path], *, user: int | None = None) -> subprocess.Popen[bytes]:
        """Start COMMAND as NAME, as the unix user (and group) USER if that is given.

        Call it from the main thread: the kernel's death signal goes by the thread that started the child.
        """
        with (self._directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                start_new_session=True,
                preexec_fn=self._before_exec,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        self._processes[name] = process
        return process

    def ended(self) -> str | None:
        """A sentence about a child that ended by itself, with its last lines; None while all run."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                lines = self.output(name).splitlines()
                last = "\n".join(lines[-8:])
                return f"{name} ended with {process.returncode}:\n{last}"
        return None

    def output(self, name: str) -> str:
        """What the child NAME has written so far."""
        return (self._directory / f"{name}.log").read_text(errors="replace")

    def identifiers(self) -> dict[str, int]:
        """Name and process id of each, for tests that stop or kill one."""
        return {name: process.pid for name, process in self._processes.items()}

    def kill(self) -> None:
        """Kill all with everything they started. Nothing here has anything to save."""
        for process in self._processes.values():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._processes.values():
            process.wait()
        self._processes.clear()


def _die_with_parent() -> Callable[[], None] | None:
    """What a child does before its exec so that it gets SIGKILL when we die; only Linux knows that."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def before_exec() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec
