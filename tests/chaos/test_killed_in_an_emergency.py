"""SIGKILL right before and right after every write of the journal, of an emergency and of its way back."""

from __future__ import annotations

import pytest

from tests.chaos.conftest import Estate
from tests.chaos.house import House
from tests.chaos.stories import disable, enable

pytestmark = pytest.mark.asyncio(loop_scope="session")

DISABLE = (
    "create",
    "claim planning",
    "save_plan awaiting_approval",  # with the steps: it is not planned again
    "approve",  # with the claim
    "begin_step hold",
    "end_step hold",
    "begin_step settle",
    "end_step settle",
    "move succeeded",
)
ENABLE = (
    "create",
    "claim planning",
    "save_plan awaiting_approval",
    "approve",
    "begin_step restore",
    "end_step restore",
    "move succeeded",
)
STORIES = {"disable": (disable, DISABLE), "enable": (enable, ENABLE)}


def _interleaved() -> list[tuple[str, str, str]]:
    """Down, back, down, …: each finds the server as the one before left it."""
    points = {
        name: [(moment, label) for label in labels for moment in ("before", "after")]
        for name, (_, labels) in STORIES.items()
    }
    found = []
    for number, point in enumerate(points["disable"]):
        found.append(("disable", *point))
        if number < len(points["enable"]):
            found.append(("enable", *points["enable"][number]))
    return found


async def _ready(house: House, name: str) -> None:
    """The server stands as the story finds it: it runs, or the bot has taken it down."""
    await house.at_old()
    runs = house.server()["spec"]["replicas"] > 0
    if runs != (name == "disable"):
        await (disable(house) if runs else enable(house))


async def test_the_points_are_all_the_writes_that_an_emergency_and_its_way_back_make(estate: Estate) -> None:
    async with estate.house() as house:
        await _ready(house, "disable")
        for story, labels in STORIES.values():
            before = len(house.writes)
            await story(house)
            assert tuple(dict.fromkeys(house.writes[before:])) == labels


@pytest.mark.parametrize(("name", "moment", "label"), _interleaved())
async def test_a_bot_killed_in_an_emergency_scales_once_and_forgets_nothing(
    estate: Estate, name: str, moment: str, label: str
) -> None:
    async with estate.house() as house:
        await _ready(house, name)
        started = len(house.bots)
        house.order("SIGKILL", moment, label)
        await STORIES[name][0](house)
        assert len(house.bots) == started + 1, "it did not come to that write"
