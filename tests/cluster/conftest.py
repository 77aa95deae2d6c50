"""A connected cluster for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.kube import Cluster
from dev.controlplane import Running


@pytest.fixture
async def cluster(control_plane: Running) -> AsyncIterator[Cluster]:
    """The run's control plane, by the bot's own client."""
    async with await Cluster.connect(kubeconfig=control_plane.kubeconfig, context=None) as cluster:
        yield cluster
