"""How many writes of an emergency are under way at once."""

from __future__ import annotations

import asyncio

from bot.kube.scale import Result, each


async def test_thirty_two_are_under_way_at_once_and_each_is_told_of_and_kept_in_its_place() -> None:
    running = most = 0
    told: list[Result] = []

    async def work(number: int) -> Result:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01 if number % 2 else 0)
        running -= 1
        return Result(f"Deployment/{number}", "done")

    results = await each(range(100), work, on_done=told.append)
    assert most == 32
    assert [result.subject for result in results] == [f"Deployment/{number}" for number in range(100)]
    assert sorted(result.subject for result in told) == sorted(result.subject for result in results)
