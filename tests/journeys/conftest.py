"""The worlds of journeys: each test has its own namespace, workspace, chart repository and bot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bot.kube import Cluster
from dev import configuration
from dev.charts import ChartRepository, light_values
from dev.controlplane import Api, Running
from dev.slack import Limits, SlackWorkspace
from dev.standins import StandinControl, Standins
from dev.toolchain import Toolchain
from runbooks.library import SHIPPED
from tests.journeys.journey import Journey

Start = Callable[..., Awaitable[Journey]]
INSTALLED = "0.2.0"
_OURS = ("bot", "handlers", "runbooks", "asyncio", "apscheduler", "slack_bolt", "aiohttp")


@pytest.fixture
async def world(
    toolchain: Toolchain,
    control_plane: Running,
    standins: Standins,
    api: Api,
    namespace: str,
    helm_program: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> AsyncIterator[Journey]:
    """Everything but the release and the bot, which `Journey.install` and `Journey.start_bot` bring.

    Fails when the bot logged an unexpected failure: whatever is foreseen has an answer, not a reference in a log.
    """
    async with AsyncExitStack() as stack:
        charts, slack = await asyncio.gather(
            stack.enter_async_context(ChartRepository.running()),
            stack.enter_async_context(
                SlackWorkspace.running(program=toolchain.path("local-slack"), limits=Limits.unhurried())
            ),
        )
        control = await stack.enter_async_context(StandinControl(standins.control_url))
        cluster = await stack.enter_async_context(
            await Cluster.connect(kubeconfig=control_plane.kubeconfig, context=None)
        )
        journey = Journey(
            namespace=namespace,
            directory=tmp_path,
            helm_program=helm_program,
            kubeconfig=control_plane.kubeconfig,
            slack=slack,
            charts=charts,
            standins=control,
            api=api,
            cluster=cluster,
        )
        stack.push_async_callback(journey.stop_bot)
        yield journey
    failed = [
        record.getMessage()
        for record in caplog.get_records("call")
        if record.levelno >= logging.ERROR and record.name.partition(".")[0] in _OURS
    ]
    assert not failed, failed


@pytest.fixture
def start(world: Journey) -> Start:
    """`await start()`: the light release at 0.2.0, and the bot. Sections of the configuration by keyword."""

    async def begin(
        *,
        version: str = INSTALLED,
        values: dict[str, Any] | None = None,
        target: dict[str, Any] | None = None,
        **more: Any,
    ) -> Journey:
        world.target = {**configuration.LIGHT, **(target or {})}
        # both to their end, whatever becomes of the other: a Helm must not outlive its test
        ended = await asyncio.gather(
            world.install(version, light_values() if values is None else values),
            world.start_bot(**more),
            return_exceptions=True,
        )
        for error in ended:
            if error is not None:
                raise error
        return world

    return begin


@pytest.fixture
def impatient(tmp_path: Path) -> Path:
    """Our own upgrade, but it gives up on hopeless pods after a second and on unhealthy servers at once."""
    text = (SHIPPED / "upgrade.yaml").read_text(encoding="utf-8")
    for uses, given in (
        ("rollout.watch", "{give_up_after: 1s, deadline: 6s}"),
        ("verify.release", "{patience: 0s}"),
    ):
        assert f"uses: {uses}," in text
        text = text.replace(f"uses: {uses},", f"uses: {uses}, with: {given},")
    folder = tmp_path / "runbooks"
    folder.mkdir()
    (folder / "upgrade.yaml").write_text(text, encoding="utf-8")
    return folder
