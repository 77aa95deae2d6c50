"""What the bot needs goes away in the middle: the API server, the chart repository, Helm itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dev.charts import BadVersion
from tests.cluster.kube_cut import Relay
from tests.journeys.conftest import Start
from tests.journeys.journey import JOB, Journey, waits_for_image
from tests.slack.support import everything

AWAY = 10.0
"""Seconds that the API server is gone: the length of the bad day, not a wait for something to happen."""


async def test_an_api_server_that_is_gone_for_10_s_during_the_rollout_is_waited_for(
    start: Start, world: Journey, tmp_path: Path
) -> None:
    async with Relay.before(world.kubeconfig, tmp_path / "relayed") as relay:
        world.bot_kubeconfig = tmp_path / "relayed"
        await start()
        card = await world.under_way(f"upgrade {BadVersion.IMAGE_CANNOT_BE_PULLED}")
        await world.card("🔄 *Watch the rollout*", ts=card.ts)
        pod = await world.pod(waits_for_image)
        await relay.cut()
        await asyncio.sleep(AWAY)
        await world.card("🔄 *Running*", "🔄 *Watch the rollout*", ts=card.ts)
        await relay.mend()
        await _starts(world, pod)
        done = await world.card("✅ *Done*", "server ready at 0.2.2", ts=card.ts)
        assert "try 2" not in everything(done)
        assert await world.statuses() == ["0.2.0 superseded", "0.2.2 deployed"]
        await world.stop_bot()


async def test_an_api_server_that_is_gone_for_10_s_while_helm_upgrades_leaves_one_deployed_revision(
    start: Start, world: Journey, tmp_path: Path
) -> None:
    values = tmp_path / "stuck.yaml"
    values.write_text("migration: {enabled: true, image: {tag: 1-no-such-image}}\n", encoding="utf-8")
    async with Relay.before(world.kubeconfig, tmp_path / "relayed") as relay:
        world.bot_kubeconfig = tmp_path / "relayed"
        await start(target={"values": [str(values)]})
        card = await world.under_way("upgrade 0.2.1")
        pod = await world.pod(lambda pod: JOB in pod["metadata"]["labels"] and waits_for_image(pod))
        await relay.cut()
        await asyncio.sleep(AWAY)
        await relay.mend()
        await world.set_pod(pod, phase="Succeeded", containerStatuses=[])
        await world.card("✅ *Done*", "server ready at 0.2.1", ts=card.ts)
        assert await world.statuses() == ["0.2.0 superseded", "0.2.1 deployed"]
        await world.stop_bot()


async def _starts(world: Journey, pod: dict[str, object]) -> None:
    """The image has come after all: what the kubelet says of the pod then."""
    conditions = [{"type": name, "status": "True"} for name in ("Ready", "ContainersReady")]
    spec: dict[str, list[dict[str, str]]] = pod["spec"]  # type: ignore[assignment]
    containers = [
        {
            "name": one["name"],
            "image": one["image"],
            "imageID": "",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        }
        for one in spec["containers"]
    ]
    address = {"podIP": "10.244.0.9", "podIPs": [{"ip": "10.244.0.9"}]}
    await world.set_pod(pod, phase="Running", conditions=conditions, containerStatuses=containers, **address)


async def test_a_chart_repository_that_is_gone_stops_the_plan_and_then_the_start_of_the_run(start: Start) -> None:
    world = await start()
    before = await world.resource_versions()
    await world.charts.offline()
    await world.ask("upgrade 0.2.1")
    blocked = await world.card("⛔ *Cannot go ahead*", "The chart repository", "does not answer")
    await world.ask("versions")
    told = await world.card("🏷️ Versions for prod", "❌ *Failed*", "does not answer: the connection is refused")
    assert "try 2" not in everything(told)
    await world.charts.online()
    await world.ask("versions")
    versions = await world.card("newest upgrade 0.3.0", "more rows: `report.txt` in the thread")
    assert "\n0.1.0 " in await world.file(versions, "report.txt")
    await world.press(blocked, "Plan again")
    card = await world.card("Upgrade prod · 0.2.0 → 0.2.1", "Waiting for approval")
    assert card.ts != blocked.ts
    await world.charts.offline()
    await world.approve(card)
    stopped = await world.card("⛔ *Cannot go ahead*", "does not answer", ts=card.ts)
    assert await world.resource_versions() == before
    await world.charts.online()
    await world.press(stopped, "Plan again")
    card = await world.card("Upgrade prod · 0.2.0 → 0.2.1", "Waiting for approval")
    await world.approve(card)
    await world.card("✅ *Done*", ts=card.ts)
    assert await world.statuses() == ["0.2.0 superseded", "0.2.1 deployed"]


async def test_a_helm_that_is_missing_is_said_plainly_and_planned_again_once_it_is_there(
    start: Start, world: Journey, tmp_path: Path
) -> None:
    program = tmp_path / "helm"
    await start(helm=program)
    await world.ask("upgrade 0.2.1")
    blocked = await world.card("⛔ *Cannot go ahead*", str(program))
    program.symlink_to(world.helm_program)
    await world.press(blocked, "Plan again")
    card = await world.card("Waiting for approval")
    await world.approve(card)
    await world.card("🔄 *Running*", ts=card.ts)
    program.unlink()
    failed = await world.attention(card, str(program))
    program.symlink_to(world.helm_program)
    await world.press(failed, "Retry")
    await world.card("✅ *Done*", ts=card.ts)
    assert await world.statuses() == ["0.2.0 superseded", "0.2.1 deployed"]
