"""Charts that fail, each in its own way: what happened, what it means, what to press; and the way back works."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.charts import BadVersion, light_values
from tests.journeys.conftest import Start
from tests.journeys.journey import ALICE, Journey
from tests.slack.support import everything

EMERGENCIES = ["Scale down…", "Disable a component…"]
DECISION = ["Retry", "Roll back to 1 (0.2.0)", "Stop here", *EMERGENCIES]


async def _taken_back(world: Journey, ts: str) -> None:
    """Presses the way back of the failed run's card, and it leads to a healthy 0.2.0."""
    card = await world.card(ts=ts)
    await world.press(card, "Roll back to 1 (0.2.0)")
    await world.card("↩️ Roll back prod", "takes back", "✅ *Done*", "1 of 1 server ready at 0.2.0")
    await world.card("↩️ *Taken back*", ts=ts)
    assert (await world.statuses())[-1] == "0.2.0 deployed"


async def test_an_image_that_cannot_be_pulled_is_named_and_taken_back(start: Start, impatient: Path) -> None:
    world = await start(runbooks=str(impatient))
    card = await world.under_way(f"upgrade {BadVersion.IMAGE_CANNOT_BE_PULLED}")
    failed = await world.attention(card, "*Why* The rollout is stuck and will not mend itself", "*What now* Retry")
    assert "0.2.2-no-such-image" in everything(failed)
    assert failed.buttons == DECISION
    await world.in_thread(card, "Failed to pull image")
    await _taken_back(world, card.ts)


async def test_a_crash_loop_is_shown_with_the_pods_name_and_last_words_and_can_be_left_as_it_is(
    start: Start, impatient: Path
) -> None:
    world = await start(runbooks=str(impatient))
    card = await world.under_way(f"upgrade {BadVersion.PODS_CRASH}")
    pod = await world.pod(lambda pod: "0.2.3-crash" in str(pod["spec"]))
    failed = await world.attention(card, pod["metadata"]["name"], "crash")
    assert failed.buttons == DECISION
    await world.in_thread(card, "SchemaMismatch { expected: 21, found: 20 }")
    await world.ask("locks")
    await world.private(ALICE, f"*prod* is held by `{world.run_id(card)}`", "needs attention")
    await world.press(failed, "Stop here")
    stopped = await world.card("❌ *Failed*", "Stopped here by <@U0ALICE>. The release stays as it is.", ts=card.ts)
    assert stopped.buttons == ["Roll back to 1 (0.2.0)", "Plan again", *EMERGENCIES]
    await world.ask("locks")
    await world.private(ALICE, "*prod* is free")
    assert await world.statuses() == ["0.2.0 superseded", "0.2.3 deployed"]


async def test_a_failed_hook_is_shown_with_its_log_and_taken_back(start: Start) -> None:
    world = await start(values={**light_values(), "migration": {"enabled": True}})
    card = await world.under_way(f"upgrade {BadVersion.HOOK_FAILS}")
    failed = await world.attention(card, "*Why*", "hook", "aeterna-migration")
    assert failed.buttons == DECISION
    await world.in_thread(card, "transaction rolled back, the schema stays at 20")
    assert await world.statuses() == ["0.2.0 deployed", "0.2.4 failed"]
    await _taken_back(world, card.ts)


async def test_a_failed_test_is_shown_with_its_log_and_a_retry_tests_again(start: Start) -> None:
    world = await start()
    card = await world.under_way(f"upgrade {BadVersion.TEST_FAILS}")
    failed = await world.attention(card, "*Why* aeterna-test-connection failed: 1 of 2 checks failed", "Read the log")
    assert failed.buttons == DECISION
    await world.in_thread(card, 'GET /ready: 503 {"status":"not_ready"}')
    await world.press(failed, "Retry")
    await world.attention(card, "🟩🟩🟩🟩🟩🟥⬜", "try 2")
    assert await world.statuses() == ["0.2.0 superseded", "0.2.5 deployed"]  # the upgrade itself was not done twice


async def test_pods_that_never_get_ready_are_named_when_the_time_is_up(start: Start, impatient: Path) -> None:
    world = await start(runbooks=str(impatient))
    card = await world.under_way(f"upgrade {BadVersion.NEVER_READY}")
    await world.attention(card, "*Why* The rollout did not end in 6 s (1 of 1 workloads)", "not ready", "roll back to")
    await world.in_thread(card, "Readiness probe failed: HTTP probe failed with statuscode: 503")


async def test_a_server_that_says_503_in_a_ready_pod_is_not_called_healthy(start: Start, impatient: Path) -> None:
    world = await start(runbooks=str(impatient))
    card = await world.under_way(f"upgrade {BadVersion.SERVER_NOT_READY}")
    failed = await world.attention(card, "*Why* The release is not healthy.", "roll back to revision 1 (0.2.0)")
    assert failed.buttons == DECISION
    await _taken_back(world, card.ts)


@pytest.mark.parametrize(
    ("version", "said", "ways"),
    [
        (BadVersion.SCHEMA_REFUSES, ("tenantSlug",), ["Supply values", "Plan again"]),
        (BadVersion.TEMPLATES_DO_NOT_RENDER, ("service.yaml", "nil pointer"), ["Supply values", "Plan again"]),
        (BadVersion.REQUIRED_VALUE_MISSING, ("audit.sink is required",), ["Supply values", "Plan again"]),
        (BadVersion.CANNOT_BE_SCHEDULED, ("requests 64 of cpu", "more than any node has"), ["Plan again"]),
    ],
)
async def test_what_cannot_work_is_stopped_by_the_plan(
    start: Start, version: str, said: tuple[str, ...], ways: list[str]
) -> None:
    world = await start()
    before = await world.resource_versions()
    await world.ask(f"upgrade {version}")
    card = await world.card("⛔ *Cannot go ahead*", *said)
    assert card.buttons == ways
    assert await world.resource_versions() == before
    await world.ask("locks")
    await world.private(ALICE, "*prod* is free")


async def test_a_change_that_would_lose_data_or_that_the_api_server_refuses_is_stopped_by_the_plan(
    world: Journey,
) -> None:
    await world.install("0.2.0", {}, wait=False)
    await world.start_bot()
    for version, said in (
        (BadVersion.BACKENDS_VANISH, ("Cluster/aeterna-cnpg would be deleted", "StatefulSet/aeterna-qdrant would be")),
        (BadVersion.IMMUTABLE_FIELD, ("StatefulSet/aeterna-qdrant", "field is immutable")),
        (BadVersion.DATABASE_REFUSED, ("Cluster/aeterna-cnpg", "s3")),
    ):
        await world.ask(f"upgrade {version}")
        await world.card(f"→ {version}", "⛔ *Cannot go ahead*", *said)
    assert await world.statuses() == ["0.2.0 deployed"]
