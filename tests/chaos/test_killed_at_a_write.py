"""SIGKILL right before and right after every write of the journal, of an upgrade, of its way back, and of an unlock."""

from __future__ import annotations

import pytest

from tests.chaos.conftest import Estate
from tests.chaos.stories import take_back, unlock, upgrade

pytestmark = pytest.mark.asyncio(loop_scope="session")

UPGRADE = (
    "create",
    "claim planning",
    "save_plan awaiting_approval",
    "approve",
    "claim running",
    "lay_out",
    "end_step backup",
    "end_step snapshot",
    "begin_step baseline",
    "end_step baseline",
    "begin_step upgrade",
    "end_step upgrade",
    "begin_step rollout",
    "end_step rollout",
    "begin_step test",
    "end_step test",
    "begin_step verify",
    "end_step verify",
    "move succeeded",
)
ROLLBACK = (
    "create",
    "claim planning",
    "save_plan queued",  # with the approval: the click was the confirmation
    "claim running",
    "lay_out",
    "begin_step rollback",
    "end_step rollback",
    "begin_step leftovers",
    "end_step leftovers",
    "begin_step rollout",
    "end_step rollout",
    "begin_step test",
    "end_step test",
    "begin_step verify",
    "end_step verify",
    "mark_rolled_back",
    "move succeeded",
)
UNLOCK = (
    "create",
    "claim planning",
    "save_plan awaiting_approval",
    "approve",
    "claim running",
    "lay_out",
    "begin_step unlock",
    "end_step unlock",
    "begin_step rollout",
    "end_step rollout",
    "begin_step verify",
    "end_step verify",
    "move succeeded",
)
OWN = ("begin_step unlock", "end_step unlock")
"""The writes of an unlock that an upgrade and its way back do not have: the others are killed at on one side only."""


def _points(labels: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(moment, label) for label in labels for moment in ("before", "after")]


def _interleaved() -> list[tuple[str, str, str]]:
    """An upgrade, its way back, an upgrade, …: each finds the release as the one before left it."""
    upgrades, rollbacks = _points(UPGRADE), _points(ROLLBACK)
    found = []
    for number, point in enumerate(upgrades):
        found.append(("upgrade", *point))
        if number < len(rollbacks):
            found.append(("rollback", *rollbacks[number]))
    return found


async def test_the_points_are_all_the_writes_that_an_upgrade_and_its_way_back_make(estate: Estate) -> None:
    async with estate.house() as house:
        await house.at_old()
        before = len(house.writes)
        await upgrade(house)
        middle = len(house.writes)
        await take_back(house)
        assert tuple(dict.fromkeys(house.writes[before:middle])) == UPGRADE
        assert tuple(dict.fromkeys(house.writes[middle:])) == ROLLBACK


@pytest.mark.parametrize(("runbook", "moment", "label"), _interleaved())
async def test_a_bot_killed_at_a_write_comes_back_and_finishes(
    estate: Estate, runbook: str, moment: str, label: str
) -> None:
    async with estate.house() as house:
        await (house.at_old() if runbook == "upgrade" else house.at_new())
        started = len(house.bots)
        house.order("SIGKILL", moment, label)
        await (upgrade(house) if runbook == "upgrade" else take_back(house))
        assert len(house.bots) == started + 1, "it did not come to that write"


async def test_the_points_are_all_the_writes_that_an_unlock_makes(estate: Estate) -> None:
    async with estate.house() as house:
        await house.at_old()
        before = len(house.writes)
        await unlock(house)
        assert tuple(dict.fromkeys(house.writes[before:])) == UNLOCK


@pytest.mark.parametrize(
    ("moment", "label"), [point for point in _points(UNLOCK) if point[0] == "after" or point[1] in OWN]
)
async def test_a_bot_killed_in_an_unlock_frees_the_release_once(estate: Estate, moment: str, label: str) -> None:
    async with estate.house() as house:
        await house.at_old()
        started = len(house.bots)
        house.order("SIGKILL", moment, label)
        await unlock(house)
        assert len(house.bots) == started + 1, "it did not come to that write"
