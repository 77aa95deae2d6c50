"""Faults on demand: which call gets which fault.

Only chooses; the Web API part carries a fault out. A dropped socket with no method happens at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dev.slack.model import Fault, FaultKind


@dataclass
class _Pending:
    fault: Fault
    skip: int
    left: int


class Faults:
    """The faults waiting for their call."""

    def __init__(self, *, drop_sockets: Callable[[], None]) -> None:
        self._drop_sockets = drop_sockets
        self._pending: list[_Pending] = []

    def add(
        self,
        kind: FaultKind,
        method: str = "*",
        *,
        times: int = 1,
        retry_after: int = 1,
        delay: float = 3600.0,
        after: int = 0,
    ) -> None:
        """Arms a fault; see ``Fault`` for the meaning of each part."""
        if kind == "drop_socket" and method == "*":
            self._drop_sockets()
            return
        fault = Fault(kind, method, times, retry_after, delay, after)
        self._pending.append(_Pending(fault, skip=after, left=times))

    def clear(self) -> None:
        """Forgets all of them."""
        self._pending.clear()

    def take(self, method: str) -> Fault | None:
        """The fault that this call gets, if any; of several, the one armed first."""
        for pending in self._pending:
            if pending.fault.method not in (method, "*"):
                continue
            if pending.skip:
                pending.skip -= 1
                continue
            pending.left -= 1
            if not pending.left:
                self._pending.remove(pending)
            if pending.fault.kind == "drop_socket":
                self._drop_sockets()
            return pending.fault
        return None
