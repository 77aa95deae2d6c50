"""What Helm makes of a workload that is held down, and that the plan says so beforehand."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from bot.engine.contract import Level
from bot.helm.flags import ServerSide, Wait
from bot.kube.cluster import JSON_PATCH
from bot.kube.objects import ObjectRef
from dev.charts import light_values
from runbooks.library import RunbookLibrary
from runbooks.registry import shipped_registry
from tests.cluster.runbook_world import MINUTE, RELEASE, World


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


async def test_what_an_emergency_set_is_told_once_in_the_plan_of_a_way_back(world: World) -> None:
    await world.install("0.2.0", settled=False)
    await world.install("0.2.1")
    world.asking("emergency-disable", component="server")
    await world.do("components.hold", world.context(await world.facts("components.hold")))
    world.asking("rollback", revision=None)
    compared = await world.check("rollback.changes")
    drifted = [(one.level, one.text) for one in compared.findings if one.code == "objects.drifted"]
    assert drifted == [(Level.INFO, "Deployment/aeterna has the numbers that an emergency gave it.")]
    (held,) = (await world.check("held.down")).findings
    assert (held.level, held.subject) == (Level.WARNING, "Deployment/aeterna")
    ref = ObjectRef("apps/v1", "Deployment", RELEASE, world.namespace)
    image = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "elsewhere/aeterna:9"}]
    await world.clients.cluster.patch(ref, image, JSON_PATCH)
    (other,) = [one for one in (await world.check("rollback.changes")).findings if one.code == "objects.drifted"]
    assert other.level is Level.WARNING, "what somebody changed besides is told with it"
    assert "elsewhere/aeterna:9" in other.text


async def test_an_unlock_says_what_is_held_down_too(world: World) -> None:
    await world.install("0.2.0")
    world.asking("emergency-disable", component="server")
    await world.do("components.hold", world.context(await world.facts("components.hold")))
    await world.leave_pending("pending-upgrade", description="Preparing upgrade")
    library = RunbookLibrary(shipped_registry())
    assert "held.down" in [check.name for check in library.parse(library.text("unlock")).checks]
    world.asking("unlock")
    (held,) = (await world.check("held.down")).findings
    assert (held.level, held.subject) == (Level.WARNING, "Deployment/aeterna")
    assert "Helm would set it to the chart's 1 again." in held.text
