"""local-slack as a child process on a free port, ended with its parent.

local-slack binds every interface and has no option against it; its state is in memory only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dev.slack.model import Json

_STARTS_WITHIN = 30.0
_ADDRESS = re.compile(rb"Web UI:\s+(http://\S+)")

# Becomes local-slack by exec after asking Linux for a SIGKILL when the parent ends. preexec_fn would do the
# same but is unsafe next to threads.
_LAUNCH = """
import os, sys
if sys.platform == "linux":
    import ctypes, signal
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent ended first")
os.execv(sys.argv[2], sys.argv[2:])
"""


@asynccontextmanager
async def running_program(program: Path, config: Json, directory: Path) -> AsyncIterator[str]:
    """Runs local-slack with this configuration and yields its base URL. Files go below ``directory``.

    Raises RuntimeError with what it printed if it does not start.
    """
    file = directory / "workspace.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    options = [
        "--config",
        str(file),
        "--port",
        "0",
        "--base-host",
        "127.0.0.1",
        "--files-dir",
        str(directory / "files"),
    ]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), str(program), *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        url = await _address(process.stdout)
        drain = asyncio.create_task(_drain(process.stdout), name="local-slack output")
        try:
            yield url
        finally:
            drain.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _address(output: asyncio.StreamReader) -> str:
    said = b""
    try:
        async with asyncio.timeout(_STARTS_WITHIN):
            while line := await output.readline():
                said += line
                if match := _ADDRESS.search(line):
                    return match[1].decode()
    except TimeoutError:
        pass
    raise RuntimeError(f"local-slack did not start; it said: {said.decode(errors='replace').strip() or 'nothing'}")


async def _drain(output: asyncio.StreamReader) -> None:
    """Keeps the pipe empty, or local-slack would block on its own log."""
    while await output.read(65536):
        pass
