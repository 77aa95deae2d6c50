"""The stories that are told again and again: an upgrade, its way back, an unlock, an emergency; each with a look at its end."""

from __future__ import annotations

from bot.kube.holding import ANNOTATION
from tests.chaos.house import NEW, OLD, Ask, House


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


async def disable(house: House) -> None:
    """The server is taken to zero, once."""
    await _scaled(house, house.asks_to_disable, before=1, after=0)


async def enable(house: House) -> None:
    """And back to what it was, once."""
    await _scaled(house, house.asks_to_enable, before=0, after=1)


async def _scaled(house: House, ask: Ask, *, before: int, after: int) -> None:
    old = house.server()
    assert old["spec"]["replicas"] == before, house.told()
    story = await house.begin()
    await house.see_through(story, ask)
    await house.ended_well(story, OLD, revisions=())
    new = house.server()
    assert new["spec"]["replicas"] == after, house.told()
    # a Deployment's generation counts changes of its annotations too: the note and the scale, each once
    assert new["metadata"]["generation"] - old["metadata"]["generation"] == 2, house.told()
    assert (ANNOTATION in (new["metadata"].get("annotations") or {})) == (after == 0)
