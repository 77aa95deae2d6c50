"""A connected cluster for each test, and a release to plan and change with the runbooks' own parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.kube import Cluster
from dev.controlplane import Running
from tests.cluster.runbook_world import World, world_of


@pytest.fixture
async def cluster(control_plane: Running) -> AsyncIterator[Cluster]:
    """The run's control plane, by the bot's own client."""
    async with await Cluster.connect(kubeconfig=control_plane.kubeconfig, context=None) as cluster:
        yield cluster


@pytest.fixture
async def world(
    cluster: Cluster, control_plane: Running, helm_program: Path, namespace: str, tmp_path: Path
) -> AsyncIterator[World]:
    """One namespace for a release; modules that are about something else bring a world of their own."""
    async with world_of(
        cluster=cluster, control_plane=control_plane, helm_program=helm_program, namespace=namespace, directory=tmp_path
    ) as world:
        yield world
