"""Who is meant by a request: the table of pods, and how a Host header leads to one of them.

kwok's port-forward leads every pod's port to the same process, so the pod's address is lost on the way; the Host
header brings it back. Of a pod only what the answers depend on is kept.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

_SERVICE: Final = re.compile(r"[a-z0-9-]+\.(?P<namespace>[a-z0-9-]+)\.svc(\..*)?")
_PATIENCE: Final = 3.0
"""Seconds in which a pod that nobody has heard of yet may still turn up; watches run a little behind."""


@dataclass(frozen=True)
class Pod:
    """A pod: ``tags`` is the image tag by container port, ``created`` RFC 3339, ``alive`` not ending or ended."""

    namespace: str
    name: str
    ip: str
    tags: Mapping[int, str] = field(default_factory=dict)
    created: str = ""
    ready: bool = True
    alive: bool = True


class PodDirectory(Protocol):
    """The pods that exist now."""

    def pods(self) -> Sequence[Pod]:
        """All pods known at this moment, in any order."""
        ...

    async def changed(self) -> None:
        """Return after the next change."""
        ...


class FixedPods:
    """A table of pods kept by hand, for tests without a cluster."""

    def __init__(self, pods: Iterable[Pod] = ()) -> None:
        self._pods = list(pods)
        self._change = asyncio.Event()

    def pods(self) -> Sequence[Pod]:
        return tuple(self._pods)

    async def changed(self) -> None:
        await self._change.wait()

    def add(self, pod: Pod) -> None:
        """Let a pod appear; requests that wait for it go on."""
        self._pods.append(pod)
        self._change.set()
        self._change = asyncio.Event()


class NobodyMeantError(Exception):
    """No pod fits what the request's headers say."""


async def find_pod(
    directory: PodDirectory, *, port: int, host: str, namespace: str | None, patience: float = _PATIENCE
) -> Pod:
    """The pod meant by ``host`` (``<podIP>``, ``<service>.<namespace>.svc`` or anything else) on ``port``.

    Anything else, such as ``localhost`` behind ``kubectl port-forward``, means ``namespace``, or without one the
    namespace of the newest pod with that port. Raises NobodyMeantError after ``patience`` seconds without a match.
    """
    try:
        async with asyncio.timeout(patience):
            while True:
                change = asyncio.ensure_future(directory.changed())
                try:
                    await asyncio.sleep(0)  # Lets the waiter subscribe before the table is read.
                    found = _choose(directory.pods(), port=port, host=host, namespace=namespace)
                    if found is not None:
                        return found
                    await change
                finally:
                    change.cancel()
    except TimeoutError:
        raise NobodyMeantError(f"no pod with port {port} for Host {host!r}, namespace {namespace!r}") from None


def _choose(pods: Iterable[Pod], *, port: int, host: str, namespace: str | None) -> Pod | None:
    name = host.rsplit(":", 1)[0]
    service = _SERVICE.fullmatch(name)
    if _is_pod_address(name):
        fitting = [pod for pod in pods if pod.ip == name]
    elif service is not None:
        fitting = [pod for pod in pods if pod.namespace == service["namespace"] and port in pod.tags]
    else:
        fitting = [pod for pod in pods if port in pod.tags and namespace in (None, pod.namespace)]
    # Addresses are given out again, and a rollout has old and new pods side by side.
    return max(fitting, key=lambda pod: (pod.alive, pod.ready, pod.created), default=None)


def _is_pod_address(name: str) -> bool:
    try:
        return not ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
