"""Slack answers badly, or not at all, in the middle of a run: one card all the same, and it ends right."""

from __future__ import annotations

import pytest

from dev.slack.model import FaultKind
from tests.chaos.conftest import Estate
from tests.chaos.stories import upgrade

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("kind", ["ratelimited", "http_500", "timeout", "answer_lost"])
async def test_the_card_is_one_and_ends_right_when_calls_fail(estate: Estate, kind: FaultKind) -> None:
    async with estate.house() as house:
        await house.at_old()
        house.slack.faults.add(kind, "chat.postMessage", times=2, delay=0.5)
        for after in (0, 2):
            house.slack.faults.add(kind, "chat.update", times=2, after=after, delay=0.5)
        await upgrade(house)
        hit = [call for call in house.slack.calls if call.fault == kind]
        assert {call.method for call in hit} == {"chat.postMessage", "chat.update"}
        house.slack.faults.clear()


async def test_a_dropped_connection_loses_no_click_and_no_state(estate: Estate) -> None:
    async with estate.house() as house:
        await house.at_old()
        house.slack.faults.add("drop_socket", "chat.postMessage")
        for after in (0, 3, 6):
            house.slack.faults.add("drop_socket", "chat.update", after=after)
        await upgrade(house)
        house.slack.faults.clear()
