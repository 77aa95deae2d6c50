"""The step from bundled databases to none: what is missing, what would be lost, what is done by hand, and how nothing is lost."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from dev.charts import light_values
from dev.charts.later import LAST_WITH_DATABASES, NO_DATABASES, publish
from dev.slack import Message
from tests.journeys.conftest import Start
from tests.journeys.dialogs import closed, inputs, opened, typed
from tests.journeys.journey import Journey
from tests.slack.support import everything

BUNDLED: dict[str, Any] = {
    **light_values(),
    "postgresql": {"bundled": True},
    "qdrant": {"enabled": True},
    "vectorBackend": {"type": "qdrant"},
}
HOSTS = {"postgresql.host": "postgres.db", "redis.host": "redis.db", "vectorStore.host": "qdrant.db"}


@pytest.fixture
def world_with_versions(world: Journey) -> Journey:
    """The two versions are out."""
    for version in (LAST_WITH_DATABASES, NO_DATABASES):
        publish(world.charts, version)
    return world


async def _with_hosts(world: Journey, card: Message) -> Message:
    """Alice supplies what is asked for until nothing is missing: a template tells one missing value at a time."""
    supplied: set[str] = set()
    while "Supply values" in card.buttons:
        (missing,) = {host for host in HOSTS if f"{host} is missing" in everything(card)}
        view = await opened(world, card, "Supply values", user="alice", part=missing)
        asked = {path for path in HOSTS if any(path in field["label"]["text"] for field in inputs(view))}
        assert not asked & supplied, "what was supplied is asked for again"
        await world.slack.submit_view("alice", typed(view, {path: HOSTS[path] for path in asked}))
        await closed(world)
        supplied |= asked
        told = [f"`{path}` = `{HOSTS[path]}`" for path in supplied]
        card = await world.card(f"`{world.run_id(card)}`", *told, ts=card.ts)
        card = await world.slack.wait_for("ops", partial(_planned, ts=card.ts, supplied=frozenset(supplied)), 60)
    assert supplied == set(HOSTS)
    return card


def _planned(card: Message, *, ts: str, supplied: frozenset[str]) -> bool:
    """Whether this is the card with the plan that has what was supplied, and not the one before."""
    if card.ts != ts:
        return False
    text = everything(card)
    decided = "*Cannot go ahead*" in text or "*Ready for approval*" in text
    return decided and not any(f"{path} is missing" in text for path in supplied)


async def test_bundled_databases_survive_the_step_to_a_version_without_them(
    world_with_versions: Journey, start: Start
) -> None:
    world = await start(version=LAST_WITH_DATABASES, values=BUNDLED)
    await world.ask(f"upgrade {NO_DATABASES}")
    blocked = await world.card("⛔ *Cannot go ahead*", "postgresql.host is required", "💥 0.6.0: ")
    lost = await _with_hosts(world, blocked)
    await world.card("⛔ *Cannot go ahead*", "Cluster/aeterna-cnpg would be deleted", ts=blocked.ts)
    text = everything(lost)
    assert "`postgresql.host` = `postgres.db`" in text
    assert "StatefulSet/aeterna-qdrant would be deleted; its data stays in PersistentVolumeClaim/" in text
    assert "the database cannot go back" in text

    await _annotate(world)
    await world.press(lost, "Plan again")
    again = await world.slack.wait_for("ops", partial(_ready, after=lost.ts), 60)
    ready = await world.card("✋ *Ready for approval*", "*By hand, before the start*", ts=again.ts)
    assert "`redis.host` = `redis.db`" in everything(ready), "what was supplied is not asked for twice"
    assert "Cluster/aeterna-cnpg would be deleted" not in everything(ready)
    for _ in range(4):
        ready = await _ticked(world, ready)
    assert "☑️ Annotate the bundled Cluster" in everything(ready)
    before = await _uid(world)
    await world.approve(ready)
    await world.card("✅ *Done*", "*By hand, afterwards*", ts=again.ts)
    assert await world.statuses() == [f"{LAST_WITH_DATABASES} superseded", f"{NO_DATABASES} deployed"]
    assert await _uid(world) == before


async def _ticked(world: Journey, card: Message) -> Message:
    """The next thing on the checklist is done; the card as it is then."""
    tick = next(label for label in card.buttons if label.startswith("Done: "))
    await world.press(card, tick)
    return await world.slack.wait_for("ops", lambda m: m.ts == card.ts and tick not in m.buttons, 20)


def _ready(card: Message, *, after: str) -> bool:
    """Whether this is a newer card than the one at ``after``, and its plan waits for approval."""
    return card.ts > after and card.thread_ts in (None, card.ts) and "Approve" in card.buttons


async def _annotate(world: Journey) -> None:
    """What the note says to do by hand: the cluster's own annotation keeps an object when Helm deletes it."""
    keep = {"metadata": {"annotations": {"helm.sh/resource-policy": "keep"}}}
    for path in (_cluster(world), f"/apis/apps/v1/namespaces/{world.namespace}/statefulsets/aeterna-qdrant"):
        await asyncio.to_thread(world.api.call, "PATCH", path, keep, "application/merge-patch+json")


def _cluster(world: Journey) -> str:
    return f"/apis/postgresql.cnpg.io/v1/namespaces/{world.namespace}/clusters/aeterna-cnpg"


async def _uid(world: Journey) -> str:
    return str((await asyncio.to_thread(world.api.get, _cluster(world)))["metadata"]["uid"])
