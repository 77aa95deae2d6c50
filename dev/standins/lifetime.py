"""How long a helper process lives: until it is told to stop, or until whoever started it is gone."""

from __future__ import annotations

import asyncio
import os
import signal

_LOOK_EVERY = 0.5
"""Seconds between looks at the parent; nothing portable reports its end."""


async def until_stopped() -> None:
    """Return on SIGTERM, on Ctrl-C, or when the parent process has ended, even by SIGKILL."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    parent = os.getppid()
    while not stopped.is_set() and os.getppid() == parent:
        try:
            await asyncio.wait_for(stopped.wait(), _LOOK_EVERY)
        except TimeoutError:
            continue
