"""How long a helper process lives: until it is told to stop, or until whoever started it is gone."""

from __future__ import annotations

import asyncio
import os
import signal

_LOOK_EVERY = 0.5
"""Seconds between looks at the parent; nothing portable reports its end."""


class Lifetime:
    """Listens for SIGTERM and Ctrl-C from its making on: make it in the loop, before telling anybody of the process."""

    def __init__(self) -> None:
        self._stopped = asyncio.Event()
        self._parent = os.getppid()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stopped.set)

    async def over(self) -> None:
        """Return when the process was told to stop or its parent has ended, even by SIGKILL."""
        while not self._stopped.is_set() and os.getppid() == self._parent:
            try:
                await asyncio.wait_for(self._stopped.wait(), _LOOK_EVERY)
            except TimeoutError:
                continue
