"""Two bots on one PostgreSQL: one dies, or sleeps through its lease; and PostgreSQL hangs up on everybody."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import psycopg
import pytest

from tests.chaos.house import NEW, House, ended
from tests.chaos.nursery import Bot
from tests.chaos.test_helm_cut_off import says

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def both(house: House) -> None:
    for _ in range(2):
        await house.start_bot(apart=True)


async def wrote_nothing_since(house: House, sleeper: Bot) -> None:
    """The sleeper's name stands in no row after the one by which another replica took the run over."""
    trail = await house.trail()
    taken = max(number for number, row in enumerate(trail) if row.what == "run.claimed")
    assert f":{sleeper.pid}:" not in trail[taken].who
    assert not [row for row in trail[taken:] if f":{sleeper.pid}:" in row.who]


@pytest.mark.parametrize(
    ("moment", "label"), [("before", "claim running"), ("after", "begin_step upgrade"), ("before", "end_step upgrade")]
)
async def test_the_other_finishes_what_a_killed_one_began(shared_house: House, moment: str, label: str) -> None:
    house = shared_house
    await both(house)
    story = await house.begin()
    house.order("SIGKILL", moment, label)
    await house.see_through(story, house.asks_upgrade)
    await house.ended_well(story, NEW)
    assert sorted(bot.alive for bot in house.bots) == [False, True]


@pytest.mark.parametrize("label", ["begin_step rollout", "begin_step upgrade"])
async def test_a_sleeper_that_wakes_late_writes_and_changes_nothing(shared_house: House, label: str) -> None:
    house = shared_house
    await both(house)
    story = await house.begin()
    house.order("SIGSTOP", "after", label)
    await house.approved(story, house.asks_upgrade)
    sleeper = await house.hit()
    other = next(bot for bot in house.bots if bot is not sleeper)
    await house.look(story, ended)
    sleeper.signal(signal.SIGCONT)
    await house.until(lambda: "lost the lease on run" in sleeper.said(), "the sleeper's insight")
    await house.until(lambda: "is let go" in sleeper.said() or not house.helms(), "the sleeper's end")
    await house.ended_well(story, NEW)
    await wrote_nothing_since(house, sleeper)
    assert sleeper.alive
    assert other.alive


async def test_a_sleepers_helm_is_stopped_when_it_wakes_and_the_other_asks(shared_house: House) -> None:
    house = shared_house
    house.hold_upgrades()
    await both(house)
    story = await house.begin()
    house.order("SIGSTOP", "after", "begin_step upgrade")
    await house.approved(story, house.asks_upgrade)
    sleeper = await house.hit()
    sleeper.signal(signal.SIGCONT)
    pod = await house.in_the_hook()
    sleeper.signal(signal.SIGSTOP)
    await house.look(story, lambda card: says(card, "waiting for Helm to end"))
    sleeper.signal(signal.SIGCONT)
    card = await house.look(story, ended)
    assert card is not None
    assert says(card, "Needs a decision"), house.told()
    assert house.helms() == []
    assert [one.status for one in house.new_revisions(story)] == ["failed"]
    await house.slack.click("alice", "ops", card.ts, "run_retry")
    house.let_go(await house.in_the_hook(after=pod))
    await house.look(story, lambda found: says(found, "*Done*"))
    await house.ended_well(story, NEW, revisions=["failed", "deployed"])


async def test_a_run_outlives_a_database_that_hangs_up_after_each_write(shared_house: House) -> None:
    house = shared_house
    await house.start_bot()
    story = await house.begin()
    plain = house.database_url.replace("postgresql+psycopg://", "postgresql://")
    others = "datname = current_database() AND pid <> pg_backend_pid()"

    async def hang_up() -> None:
        seen = len(set(house.writes))
        async with await psycopg.AsyncConnection.connect(plain, autocommit=True) as connection:
            while True:
                if len(set(house.writes)) > seen:
                    seen = len(set(house.writes))
                    await connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
                await asyncio.sleep(0.02)

    await house.approved(story, house.asks_upgrade)
    await house.until(lambda: "approve" in house.writes, "the approval")
    trouble = asyncio.create_task(hang_up())
    try:
        await house.look(story, ended)
    finally:
        trouble.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await trouble
    assert house.bot.alive, house.told()
    await house.ended_well(story, NEW)
