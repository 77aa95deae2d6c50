"""Many calls, a few at a time."""

from __future__ import annotations

import asyncio

import pytest

from bot.kube.lanes import in_lanes


async def test_results_come_in_the_order_of_the_items_whoever_ends_first() -> None:
    later = asyncio.Event()

    async def work(number: int) -> int:
        if number == 0:
            await later.wait()
        if number == 3:
            later.set()
        return number * 10

    assert await in_lanes(work, range(4), lanes=2) == [0, 10, 20, 30]


async def test_no_more_calls_than_lanes_are_under_way() -> None:
    under_way = most = 0

    async def work(_: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    await in_lanes(work, range(50), lanes=4)
    assert (most, under_way) == (4, 0)


async def test_the_first_error_is_raised_and_ends_the_calls_that_are_under_way() -> None:
    begun = asyncio.Event()
    ended: list[int] = []

    async def work(number: int) -> None:
        if number == 1:
            await begun.wait()
            raise LookupError("gone")
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    with pytest.raises(LookupError, match="gone"):
        await in_lanes(work, range(9), lanes=2)
    assert ended == [0]


async def test_nothing_to_do_gives_nothing() -> None:
    async def work(_: int) -> None:
        raise AssertionError

    assert await in_lanes(work, []) == []
