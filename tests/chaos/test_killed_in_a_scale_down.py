"""SIGKILL right before and right after every write of the journal of a scale-down and of a restore: back to exactly what was."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bot.kube.holding import ANNOTATION, Held
from bot.store.records import RunRecord, RunState
from tests.chaos.conftest import Estate
from tests.chaos.house import PATIENCE, House

pytestmark = pytest.mark.asyncio(loop_scope="session")

CROWD = {"aeterna": 1, "aeterna-one": 1, "aeterna-three": 3, "aeterna-two": 2}
"""The server, which a scale-down leaves at one, and workloads that nobody describes."""
COMMON = ("create", "claim planning", "save_plan awaiting_approval", "approve")
SCALE_DOWN = (*COMMON, "begin_step hold", "end_step hold", "begin_step settle", "end_step settle", "move succeeded")
RESTORE = (*COMMON, "begin_step restore", "end_step restore", "move succeeded")


def _points(labels: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(moment, label) for label in labels for moment in ("before", "after")]


async def test_the_points_are_all_the_writes_that_a_scale_down_and_a_restore_make(estate: Estate) -> None:
    async with estate.house() as house:
        await house.at_old()
        before = _at_rest(house)
        await scale_down(house)
        middle = len(house.writes)
        await restore(house)
        assert tuple(dict.fromkeys(house.writes[before:middle])) == SCALE_DOWN
        assert tuple(dict.fromkeys(house.writes[middle:])) == RESTORE


@pytest.mark.parametrize(("moment", "label"), _points(SCALE_DOWN))
async def test_a_bot_killed_in_a_scale_down_finishes_it_and_forgets_nothing(
    estate: Estate, moment: str, label: str
) -> None:
    async with estate.house() as house:
        await house.at_old()
        _at_rest(house)
        started = len(house.bots)
        house.order("SIGKILL", moment, label)
        await scale_down(house)
        await _died(house, started)
        await restore(house)


@pytest.mark.parametrize(("moment", "label"), _points(RESTORE))
async def test_a_bot_killed_in_a_restore_brings_everything_back_exactly(
    estate: Estate, moment: str, label: str
) -> None:
    async with estate.house() as house:
        await house.at_old()
        _at_rest(house)
        await scale_down(house)
        started = len(house.bots)
        house.order("SIGKILL", moment, label)
        await restore(house)
        await _died(house, started)


async def _died(house: House, started: int) -> None:
    """The bot came to the write at which it dies, if only after the run was over; another one goes on."""
    if len(house.bots) == started:
        async with asyncio.timeout(10):
            await house.bot.wait()
        await house.start_bot()
    assert len(house.bots) == started + 1, "it did not come to that write"


async def scale_down(house: House) -> None:
    """Everything to its minimum, with a look at what is there then."""
    run = await _through(house, "emergency scale-down")
    for name, was in CROWD.items():
        obj = _deployment(house, name)
        note = Held.read(obj["metadata"]["annotations"].get(ANNOTATION, ""))
        if name == "aeterna":
            assert (obj["spec"]["replicas"], note) == (1, None)
            continue
        assert note is not None, house.told()
        assert (obj["spec"]["replicas"], note.replicas, note.to, note.run) == (0, was, 0, run.id), house.told()


async def restore(house: House) -> None:
    """Everything back, with nothing of us left on it."""
    await _through(house, "emergency restore")
    for name, was in CROWD.items():
        obj = _deployment(house, name)
        assert obj["spec"]["replicas"] == was, house.told()
        assert ANNOTATION not in obj["metadata"]["annotations"], house.told()
        assert "aeterna-bot" not in {entry["manager"] for entry in obj["metadata"]["managedFields"]}, house.told()


async def _through(house: House, text: str) -> RunRecord:
    """Asks, approves and starts the bot again when it died, until the run is over and well."""
    story = await house.begin()
    await house.slack.command("carol", "ops", text, wait_for_ack=False)
    async with asyncio.timeout(PATIENCE):
        while True:
            run = await house.run(story)
            if run is not None and run.state.over:
                break
            if not house.bot.alive:
                await house.start_bot()
                if await house.run(story) is None:
                    await house.slack.command("carol", "ops", text, wait_for_ack=False)
            elif run is not None and run.state is RunState.AWAITING_APPROVAL:
                await house.slack.command("bob", "ops", f"approve {run.id}", wait_for_ack=False)
            await asyncio.sleep(0.3)  # another process's journal has no event
    assert run.state is RunState.SUCCEEDED, house.told()
    made = [one for one in await house.runs() if one.id not in story.runs]
    assert len(made) == 1, house.told()
    assert len(run.approvals) == 1, house.told()
    trail = [row.what for row in await house.trail() if row.run == run.id]
    once = ("run.asked", "run.planned", "run.approved", "run.succeeded")
    assert [trail.count(what) for what in once] == [1, 1, 1, 1], (trail, house.told())
    return run


def _at_rest(house: House) -> int:
    """The workloads are there as they should be; how much was written until now."""
    for name, replicas in CROWD.items():
        if name != "aeterna":
            house.ground.api.apply(_document(house, name, replicas))
    return len(house.writes)


def _document(house: House, name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    mark = {"meta.helm.sh/release-name": "aeterna", "meta.helm.sh/release-namespace": house.namespace}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "main"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": house.namespace, "annotations": mark},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod},
    }


def _deployment(house: House, name: str) -> dict[str, Any]:
    return house.ground.api.get(f"/apis/apps/v1/namespaces/{house.namespace}/deployments/{name}")
