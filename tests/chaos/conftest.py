"""A house for each story; those that end well are used again, because building one takes longer than a story."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from dev.charts import ChartRepository
from dev.controlplane import Api, Running
from dev.toolchain import Toolchain
from tests.chaos.house import NEW, OLD, Ground, House, built
from tests.chaos.nursery import Nursery


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def ground(toolchain: Toolchain, control_plane: Running, api: Api) -> AsyncIterator[Ground]:
    """The run's control plane, and a chart repository."""
    async with ChartRepository.running(versions=(OLD, NEW)) as charts, Nursery.open() as nursery:
        yield Ground(toolchain, control_plane, api, charts, nursery)


@pytest_asyncio.fixture(loop_scope="session")
async def own_house(ground: Ground, tmp_path: Path) -> AsyncIterator[House]:
    """A house of the test's own, without a bot."""
    async with built(ground, tmp_path) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="session")
async def shared_house(ground: Ground, tmp_path: Path, postgresql_database: str) -> AsyncIterator[House]:
    """One whose journal is in PostgreSQL, for more than one bot."""
    async with built(ground, tmp_path, database_url=postgresql_database) as house:
        yield house


class Estate:
    """Gives out one house to one story at a time, and builds a new one after a story that ended badly.

    ``target`` is more of the target's configuration.
    """

    def __init__(
        self, ground: Ground, factory: pytest.TempPathFactory, *, target: Mapping[str, Any] | None = None
    ) -> None:
        self._target = dict(target or {})
        self._ground = ground
        self._factory = factory
        self._stack = contextlib.AsyncExitStack()
        self._house: House | None = None

    @contextlib.asynccontextmanager
    async def house(self) -> AsyncIterator[House]:
        if self._house is None:
            house = await self._stack.enter_async_context(built(self._ground, self._factory.mktemp("house")))
            house.target = self._target
            await house.start_bot()
            self._house = house
        try:
            yield self._house
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self._house = None
        await self._stack.aclose()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def estate(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Estate]:
    estate = Estate(ground, tmp_path_factory)
    yield estate
    await estate.close()
