"""The proof at the end: what is wrong with the services of a release that Kubernetes calls healthy."""

from __future__ import annotations

from pathlib import Path

from tests.journeys.conftest import Start
from tests.slack.support import everything


async def test_memory_that_was_unwired_before_is_said_and_no_failure(start: Start) -> None:
    world = await start()
    await world.standins.switch(world.namespace, memory="unwired")
    card = await world.under_way("upgrade 0.2.1")
    done = await world.card("✅ *Done*", ts=card.ts)
    assert "unwired" in everything(done)
    assert "🟨" in everything(done)


async def test_memory_that_is_unwired_only_afterwards_is_a_failure_and_a_retry_sees_it_mended(
    start: Start, impatient: Path
) -> None:
    world = await start(runbooks=str(impatient))
    card = await world.under_way("upgrade 0.2.1")
    await world.card("🔄 *Upgrade with Helm*", ts=card.ts)
    await world.standins.switch(world.namespace, memory="unwired")
    await world.attention(card, "*Why* The release is not healthy.", "unwired")
    await world.in_thread(card, "WORSE memory: works →")
    await world.standins.switch(world.namespace, memory="ok")
    await world.press(card, "Retry")
    await world.card("✅ *Done*", "memory works", ts=card.ts)
    assert await world.statuses() == ["0.2.0 superseded", "0.2.1 deployed"]
    assert await world.standins.memories(world.namespace) == []


async def test_a_server_of_the_wrong_version_is_a_failure(start: Start, impatient: Path) -> None:
    world = await start(runbooks=str(impatient))
    await world.standins.switch(world.namespace, version="0.2.0")
    card = await world.under_way("upgrade 0.2.1")
    await world.attention(card, "says 0.2.0, expected 0.2.1")
    await world.standins.switch(world.namespace, version=None)
    await world.press(card, "Retry")
    await world.card("✅ *Done*", "1 of 1 server ready at 0.2.1", ts=card.ts)


async def test_missing_metrics_are_a_failure_that_names_them(start: Start) -> None:
    world = await start()
    await world.standins.switch(world.namespace, metrics="empty")
    await world.ask("verify")
    verify = await world.card("Verify prod", "❌ *Failed*", "http_requests_total: is missing")
    assert verify.buttons == []
    await world.standins.switch(world.namespace, metrics="absent")
    await world.ask("verify")
    await world.card("Verify prod", "❌ *Failed*", "404")


async def test_a_slow_server_is_waited_for(start: Start) -> None:
    world = await start()
    await world.standins.switch(world.namespace, slow=0.7)
    await world.ask("verify")
    await world.card("Verify prod", "✅ *Healthy: 1 of 1 workload, 1 of 1 server ready at 0.2.0, memory works.*")
