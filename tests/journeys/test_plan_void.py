"""What was approved is what runs: a values file, a chart or a release that changes meanwhile makes the approval void."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dev.charts import Edit
from dev.slack import Message
from tests.journeys.conftest import Start
from tests.journeys.journey import Journey
from tests.slack.support import everything


@pytest.fixture
def values(tmp_path: Path) -> Path:
    """The target's values file."""
    file = tmp_path / "prod.yaml"
    file.write_text("aeterna: {logging: {level: info}}\n", encoding="utf-8")
    return file


async def _void(world: Journey, card: Message, *parts: str) -> Message:
    """Bob approves; nothing is done, the card says why and asks about the plan as of now."""
    before = await world.resource_versions()
    await world.approve(card)
    void = await world.card("The approval is void", *parts, "✋ *Ready for approval*", "👥 0 of 1", ts=card.ts)
    assert "⬜" not in everything(void), "no step was begun"
    assert await world.resource_versions() == before
    return void


async def _approved_anew(world: Journey, void: Message) -> None:
    await world.approve(void)
    done = await world.card("✅ *Done*", ts=void.ts)
    assert "approval is void" not in everything(done)


async def test_a_changed_values_file_voids_the_approval(start: Start, values: Path) -> None:
    world = await start(target={"values": [str(values)]})
    card = await world.planned("upgrade 0.2.1")
    await asyncio.to_thread(values.write_text, "aeterna: {logging: {level: debug}}\n", encoding="utf-8")
    void = await _void(world, card, "manifest (ConfigMap/aeterna", "values (aeterna.logging.level)")
    await _approved_anew(world, void)
    assert "level: debug" in await world.helm("get", "values", "aeterna")


async def test_a_chart_that_was_published_anew_voids_the_approval(start: Start) -> None:
    world = await start()
    card = await world.planned("upgrade 0.2.1")
    line = "  AETERNA_DEPLOYMENT_MODE:"
    more = Edit("templates/aeterna/configmap.yaml", line, f'  AETERNA_QUIETLY: "changed"\n{line}')
    world.charts.add("0.2.1", edits=[more])
    void = await _void(world, card, "chart digest", "manifest (ConfigMap/aeterna")
    await _approved_anew(world, void)
    assert "AETERNA_QUIETLY" in await world.helm("get", "manifest", "aeterna")


async def test_a_release_that_somebody_upgraded_by_hand_voids_the_approval(start: Start) -> None:
    world = await start()
    card = await world.planned("upgrade 0.2.1")
    repository = f"--repo={world.charts.url}"
    await world.helm("upgrade", "aeterna", "aeterna", repository, "--version=0.2.0", "--reuse-values", "--wait")
    void = await _void(world, card, "release revision", "1 (deployed) → 2 (deployed)")
    await _approved_anew(world, void)
    assert await world.statuses() == ["0.2.0 superseded", "0.2.0 superseded", "0.2.1 deployed"]
