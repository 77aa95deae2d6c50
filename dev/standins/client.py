"""The control port from Python, for tests and the demo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import aiohttp


class StandinControl:
    """``async with StandinControl(url) as control``; raises aiohttp.ClientResponseError for a refused switch."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(self._url, raise_for_status=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def switch(self, namespace: str, **switches: object) -> dict[str, Any]:
        """Set some of the fields of ``dev.standins.state.Switches``; the others stay. Returns all of them."""
        told: dict[str, Any] = await self._ask("POST", "/switch", body={"namespace": namespace, **switches})
        return told

    async def reset(self, namespace: str | None = None) -> None:
        """Everything healthy again, in one namespace or in all."""
        await self._ask("DELETE", "/switch", namespace)

    async def requests(self, namespace: str) -> list[dict[str, Any]]:
        """What was asked there, oldest first: time, port, pod, method, path, status, body."""
        told: list[dict[str, Any]] = await self._ask("GET", "/requests", namespace)
        return told

    async def forget_requests(self, namespace: str) -> None:
        """Start the list of requests anew."""
        await self._ask("DELETE", "/requests", namespace)

    async def memories(self, namespace: str) -> list[dict[str, Any]]:
        """Memory entries that exist there now."""
        told = await self._ask("GET", "/memories", namespace)
        return list(told["memories"])

    async def synced(self, namespace: str) -> list[dict[str, Any]]:
        """Rows of the sync API that are not deleted."""
        told = await self._ask("GET", "/memories", namespace)
        return list(told["synced"])

    async def snapshots(self, namespace: str) -> list[dict[str, Any]]:
        """Qdrant snapshots that exist there: collection (None: full storage), name, size in bytes."""
        told: list[dict[str, Any]] = await self._ask("GET", "/snapshots", namespace)
        return told

    async def pods(self) -> list[dict[str, Any]]:
        """The pods that the stand-ins know."""
        told: list[dict[str, Any]] = await self._ask("GET", "/pods")
        return told

    async def _ask(
        self, method: str, path: str, namespace: str | None = None, *, body: Mapping[str, object] | None = None
    ) -> Any:
        if self._session is None:
            raise RuntimeError("use it as `async with StandinControl(url)`")
        query = {} if namespace is None else {"namespace": namespace}
        async with self._session.request(method, path, params=query, json=body) as response:
            return await response.json()
