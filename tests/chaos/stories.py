"""The stories that are told again and again: an upgrade, its way back, an unlock, each with a look at its end."""

from __future__ import annotations

from tests.chaos.house import NEW, OLD, House


async def upgrade(house: House) -> None:
    """From the old version to the new one."""
    await house.at_old()
    story = await house.begin()
    card = await house.see_through(story, house.asks_upgrade)
    await house.ended_well(story, NEW)
    house.upgraded = card.ts


async def take_back(house: House) -> None:
    """One click on the card of the upgrade."""
    await house.at_new()
    story = await house.begin()
    await house.see_through(story, house.asks_to_take_it_back)
    run = await house.ended_well(story, OLD)
    assert run.parent is not None
    assert [one.state for one in await house.runs() if one.id == run.parent] == ["rolled_back"]
    house.upgraded = None


async def unlock(house: House) -> None:
    """Somebody's helm died in the middle of an upgrade; on call frees the release."""
    await house.at_old()
    house.leave_pending()
    story = await house.begin()
    await house.see_through(story, house.asks_to_unlock)
    await house.ended_well(story, OLD)
    house.upgraded = None
