"""How long a service of the throwaway world lives: until a signal, or until the process that it follows is gone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

import psutil

_LOOK_SECONDS = 0.3


class Lifetime:
    """Install it before anything is started: from then on SIGTERM and SIGINT only ask for an orderly end.

    `follow` is the process to live with, our parent if None; nothing portable reports its end, so we look.
    """

    def __init__(self, follow: int | None = None) -> None:
        self._stopped = threading.Event()
        self._followed = _process(follow or os.getppid())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def stay(self, trouble: Callable[[], str | None]) -> str | None:
        """Come back when it is time to end; with a sentence if that is because TROUBLE has one."""
        while not self._stopped.wait(_LOOK_SECONDS):
            if self._followed is None or not self._followed.is_running():
                return None
            if self._followed.status() == psutil.STATUS_ZOMBIE:
                return None
            if sentence := trouble():
                return sentence
        return None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopped.set()


def _process(identifier: int) -> psutil.Process | None:
    try:
        return psutil.Process(identifier)
    except psutil.NoSuchProcess:
        return None
