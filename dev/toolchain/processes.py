"""Runs the programs that find and build other programs: short questions, and long builds with signs of life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

SIGN_OF_LIFE_SECONDS = 30.0


def output_of(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> str | None:
    """What COMMAND prints on stdout, or None if it cannot be run, fails, or takes more than 20 s."""
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def interruptible(
    command: Sequence[str], *, directory: Path, environment: Mapping[str, str], say: Callable[[str], None]
) -> int:
    """Run COMMAND in a process group of its own and return its status, with a line now and then while it runs.

    Its output goes to our stderr. When we are interrupted the whole group is killed, so no compiler is left behind.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
    )
    try:
        while True:
            try:
                return process.wait(SIGN_OF_LIFE_SECONDS)
            except subprocess.TimeoutExpired:
                say(f"still at it after {(time.monotonic() - started) / 60:.1f} min")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
