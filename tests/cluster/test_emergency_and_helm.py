"""What Helm makes of a workload that is held down, and that the plan says so beforehand."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.engine.contract import Level
from bot.helm.flags import ServerSide, Wait
from bot.kube import Cluster
from dev.charts import light_values
from dev.controlplane import Running
from tests.cluster.runbook_world import MINUTE, RELEASE, World, world_of


@pytest.fixture
async def world(
    cluster: Cluster, control_plane: Running, helm_program: Path, namespace: str, tmp_path: Path
) -> AsyncIterator[World]:
    async with world_of(
        cluster=cluster, control_plane=control_plane, helm_program=helm_program, namespace=namespace, directory=tmp_path
    ) as world:
        yield world


async def _upgrade(world: World, version: str, server_side: ServerSide) -> None:
    chart = await world.clients.repository.pull(version, world.clients.charts)
    file = world.directory / "values.json"
    file.write_text(json.dumps(light_values()), encoding="utf-8")
    await world.clients.helm.upgrade(
        release=RELEASE,
        namespace=world.namespace,
        chart=chart.path,
        values=file,
        timeout=MINUTE,
        wait=Wait.HOOKS_ONLY,
        install=True,
        server_side=server_side,
    )


async def _replicas(world: World) -> int:
    obj = await world.clients.cluster.get("apps/v1", "Deployment", RELEASE, world.namespace)
    assert obj is not None
    return int(obj["spec"]["replicas"])


@pytest.mark.parametrize("server_side", ["true", "false"])
async def test_helm_sets_the_number_of_what_is_held_again_as_the_plan_says(
    world: World, server_side: ServerSide
) -> None:
    await _upgrade(world, "0.2.0", server_side)
    world.asking("emergency-disable", component="server")
    held = await world.do("components.hold", world.context(await world.facts("components.hold")))
    seen = await world.do("components.settle", world.context(outcomes={"hold": held.facts}))
    assert "All pods that had to go are gone" in seen.summary
    world.asking("upgrade", version="0.2.1")
    (finding,) = (await world.check("held.down")).findings
    assert finding.level is Level.BLOCKER
    assert finding.text.endswith("Helm would set it to the chart's 1 again.")
    await _upgrade(world, "0.2.1", server_side)
    assert await _replicas(world) == 1
    world.asking("upgrade", version="0.3.0")
    assert (await world.check("held.down")).findings == ()


async def test_an_upgrade_that_turns_the_component_off_for_good_is_not_stopped(world: World) -> None:
    await _upgrade(world, "0.2.0", "true")
    world.asking("emergency-disable", component="server")
    await world.do("components.hold", world.context(await world.facts("components.hold")))
    world.asking("upgrade", version="0.2.0")
    world.run = replace(world.run, supplied={"aeterna.enabled": False})
    (finding,) = (await world.check("held.down")).findings
    assert finding.level is Level.INFO


async def test_status_says_what_is_held_down_since_when_and_by_whom(world: World) -> None:
    await _upgrade(world, "0.2.0", "true")
    world.asking("emergency-disable", component="server")
    await world.do("components.hold", world.context(await world.facts("components.hold")))
    world.asking("status")
    outcome = await world.do("report.status")
    assert outcome.summary.endswith(", held down: server.")
    (section,) = [one for one in outcome.facts["report"] if one["title"] == "Held down"]
    said = rf"`server` Deployment aeterna 1 → 0, since 20\S+ \S+ UTC \(\d+ s\) by <@U1> \(run {world.run.id}\)"
    assert re.fullmatch(said, section["text"]), section
