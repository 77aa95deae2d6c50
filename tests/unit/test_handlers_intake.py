"""The door: acks before work, each delivery once, and a full house said plainly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse

from handlers.intake import Door, Work

Handle = Callable[[dict[str, Any]], Awaitable[None]]


async def closes(body: dict[str, Any]) -> dict[str, Any]:
    return {}


def door_to(work: Work, **how: Any) -> Door:
    return Door(work=work, command="/aeterna", **{"submitted": closes, **how})


@asynccontextmanager
async def working(handle: Handle, **how: Any) -> AsyncIterator[Work]:
    work = Work(handle, quiet=0.0, **how)
    task = asyncio.create_task(work.run())
    try:
        yield work
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def knock(door: Door, **body: Any) -> BoltResponse | None:
    async def go_on() -> BoltResponse:
        return BoltResponse(status=404, body="not ours")

    request = AsyncBoltRequest(mode="socket_mode", body={"command": "/aeterna", **body})
    return await door.async_process(req=request, resp=BoltResponse(status=200), next=go_on)


async def test_the_same_delivery_again_is_acknowledged_and_done_once() -> None:
    done: list[str] = []

    async def handle(body: dict[str, Any]) -> None:
        done.append(body["text"])

    async with working(handle) as work:
        door = door_to(work)
        answers = [await knock(door, trigger_id=trigger, text=trigger) for trigger in ("1", "1", "2", "1")]
        await work.drain()
    assert [answer.status for answer in answers if answer] == [200] * 4
    assert done == ["1", "2"]


async def test_another_command_is_not_ours() -> None:
    async def handle(body: dict[str, Any]) -> None:
        raise AssertionError

    door = door_to(Work(handle))
    answer = await knock(door, command="/other", trigger_id="1")
    assert answer is not None
    assert answer.status == 404


async def test_a_full_house_says_so_and_takes_the_same_command_later() -> None:
    async def handle(body: dict[str, Any]) -> None:
        pass

    work = Work(handle, limit=1)  # nobody works yet
    door = door_to(work)
    await knock(door, trigger_id="1")
    turned_away = await knock(door, trigger_id="2")
    assert turned_away is not None
    assert "try again in a minute" in turned_away.body
    task = asyncio.create_task(work.run())
    await work.drain()
    again = await knock(door, trigger_id="2")
    assert again is not None
    assert again.body == ""
    await work.drain()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_command_that_fails_does_not_stop_the_next() -> None:
    done: list[str] = []

    async def handle(body: dict[str, Any]) -> None:
        if body["text"] == "bad":
            raise RuntimeError
        done.append(body["text"])

    async with working(handle, workers=1) as work:
        door = door_to(work)
        await knock(door, trigger_id="1", text="bad")
        await knock(door, trigger_id="2", text="good")
        await work.drain()
    assert done == ["good"]


async def test_work_waits_until_the_burst_is_acknowledged() -> None:
    order: list[str] = []

    async def handle(body: dict[str, Any]) -> None:
        order.append("done")

    work = Work(handle, quiet=0.02, patience=5)
    task = asyncio.create_task(work.run())
    door = door_to(work)
    for number in range(50):
        await knock(door, trigger_id=str(number))
        order.append("ack")
        await asyncio.sleep(0)
    await work.drain()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert order == ["ack"] * 50 + ["done"] * 50


async def test_a_dialogs_click_goes_before_all_that_waits() -> None:
    done: list[str] = []

    async def handle(body: dict[str, Any]) -> None:
        done.append(body["text"])

    work = Work(handle, workers=1, quiet=0.05, patience=5)
    door = door_to(work, urgent=lambda body: body["text"] == "dialog")
    for text in ("first", "second", "dialog"):
        await knock(door, trigger_id=text, text=text)
    task = asyncio.create_task(work.run())
    await work.drain()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert done == ["dialog", "first", "second"]


async def test_what_is_wrong_in_a_dialog_is_in_its_acknowledgement() -> None:
    async def handle(body: dict[str, Any]) -> None:
        raise AssertionError

    async def submitted(body: dict[str, Any]) -> dict[str, Any]:
        return {"response_action": "errors", "errors": {"a": body["trigger_id"]}}

    answer = await knock(door_to(Work(handle), submitted=submitted), command="", type="view_submission", trigger_id="1")
    assert answer is not None
    assert answer.body == '{"response_action": "errors", "errors": {"a": "1"}}'
