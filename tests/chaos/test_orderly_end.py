"""SIGTERM in the middle of a run: the bot comes to a safe point, gives the run back and ends with 0; the next goes on."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.chaos.conftest import Estate
from tests.chaos.house import NEW, House, ended
from tests.chaos.stories import upgrade
from tests.chaos.test_helm_cut_off import says

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("label", ["claim planning", "begin_step rollout", "begin_step test"])
async def test_a_run_is_handed_over_at_the_next_safe_point(estate: Estate, label: str) -> None:
    async with estate.house() as house:
        await house.at_old()
        stopped = house.bot
        house.order("SIGTERM", "after", label)
        await upgrade(house)
        assert house.bot is not stopped
        assert await stopped.wait() == 0, stopped.said()


async def test_helm_comes_to_its_end_within_the_grace_time(own_house: House) -> None:
    house = own_house
    house.hold_upgrades()
    await house.start_bot()
    story = await house.begin()
    await house.approved(story, house.asks_upgrade)
    pod = await house.in_the_hook()
    house.bot.signal(signal.SIGTERM)
    await asyncio.sleep(0.2)
    assert house.bot.alive
    assert len(house.helms()) == 1
    house.let_go(pod)
    assert await house.bot.wait() == 0
    assert "end_step upgrade" in house.writes
    await house.start_bot()
    await house.look(story, ended)
    await house.ended_well(story, NEW)


async def test_helm_is_stopped_when_the_grace_time_is_over_and_a_person_is_asked(own_house: House) -> None:
    house = own_house
    house.hold_upgrades()
    house.engine = {"grace": "0.5s"}
    await house.start_bot()
    story = await house.begin()
    await house.approved(story, house.asks_upgrade)
    pod = await house.in_the_hook()
    house.bot.signal(signal.SIGTERM)
    assert await house.bot.wait() == 0
    assert house.helms() == []
    await house.start_bot()
    card = await house.look(story, ended)
    assert card is not None
    assert says(card, "Needs a decision"), house.told()
    await house.slack.click("alice", "ops", card.ts, "run_retry")
    house.let_go(await house.in_the_hook(after=pod))
    await house.look(story, lambda found: says(found, "*Done*"))
    await house.ended_well(story, NEW, revisions=["failed", "deployed"])
