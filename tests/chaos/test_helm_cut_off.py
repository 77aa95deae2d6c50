"""The bot, or Helm, or both die while Helm is in the middle of an upgrade. Nothing is repeated on a guess."""

from __future__ import annotations

import json

import pytest

from dev.slack import Message
from tests.chaos.house import NEW, House, ended

pytestmark = pytest.mark.asyncio(loop_scope="session")


def says(message: Message, part: str) -> bool:
    return part in json.dumps(message.blocks, ensure_ascii=False)


async def test_a_helm_that_outlived_its_bot_is_waited_for(own_house: House) -> None:
    house = own_house
    house.hold_upgrades()
    await house.start_bot()
    story = await house.begin()
    await house.approved(story, house.asks_upgrade)
    pod = await house.in_the_hook()
    await house.bot.kill()
    assert len(house.helms()) == 1
    await house.start_bot()
    await house.look(story, lambda card: says(card, "waiting for Helm to end"))
    house.let_go(pod)
    await house.look(story, ended)
    await house.ended_well(story, NEW)


async def test_what_a_helm_that_died_with_its_bot_left_is_taken_back_and_done_again(own_house: House) -> None:
    house = own_house
    house.hold_upgrades()
    await house.start_bot()
    story = await house.begin()
    await house.approved(story, house.asks_upgrade)
    pod = await house.in_the_hook()
    (helm,) = house.helms()
    await house.bot.kill()
    helm.kill()
    assert [one.status for one in house.new_revisions(story)] == ["pending-upgrade"]
    await house.start_bot()
    house.let_go(await house.in_the_hook(after=pod))
    card = await house.look(story, ended)
    assert card is not None
    await house.ended_well(story, NEW, revisions=["pending-upgrade", "superseded", "deployed"])
    assert says(card, "had been cut off and was repaired by going back to 1 first")


async def test_a_killed_helm_is_asked_about_and_one_click_repairs_it(own_house: House) -> None:
    house = own_house
    house.hold_upgrades()
    await house.start_bot()
    story = await house.begin()
    await house.approved(story, house.asks_upgrade)
    pod = await house.in_the_hook()
    (helm,) = house.helms()
    helm.kill()
    card = await house.look(story, ended)
    assert card is not None
    assert says(card, "Needs a decision"), house.told()
    assert [one.status for one in house.new_revisions(story)] == ["pending-upgrade"]  # nothing was done meanwhile
    await house.slack.click("alice", "ops", card.ts, "run_retry")
    house.let_go(await house.in_the_hook(after=pod))
    await house.look(story, lambda found: says(found, "*Done*"))
    await house.ended_well(story, NEW, revisions=["pending-upgrade", "superseded", "deployed"])
