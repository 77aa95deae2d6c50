"""The journal's guards: fencing, leases, the outbox's promises, the audit chain, the schema."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from bot.errors import Permanent, Temporary
from bot.store import audit
from bot.store.database import IDLE_SECONDS, Database
from bot.store.journal import Claim, Journal, NewRun, Stale
from bot.store.leases import Leases
from bot.store.outbox import Outbox, OutboxKind
from bot.store.records import CARRIED, HOLDING, TRANSITIONS, PlanRecord, RunState, StepState
from bot.store.tables import metadata

LEASE = timedelta(seconds=30)
PLAN = PlanRecord(digest="d" * 64, findings=(), facts={}, bindings={})


def new(run_id: str, **changes: Any) -> NewRun:
    values: dict[str, Any] = {
        "id": run_id,
        "key": f"key-{run_id}",
        "target": "prod",
        "runbook": "upgrade",
        "runbook_text": "upgrade",
        "inputs": {"version": "0.2.1"},
        "mutates": True,
        "requested_by": "U0ALICE",
        "channel": "C0OPS",
        "approvals_needed": 1,
    }
    return NewRun(**(values | changes))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    made = Database(database_url)
    await made.ready()
    yield made
    await made.close()


@pytest.fixture
def outbox(database: Database) -> Outbox:
    return Outbox(database)


@pytest.fixture
def journal(database: Database, outbox: Outbox) -> Journal:
    return Journal(database, outbox)


async def running_run(journal: Journal, run_id: str = "r-1", owner: str = "a") -> Claim:
    await journal.create(new(run_id))
    planning = await journal.claim(owner=owner, lease=LEASE)
    assert planning is not None
    await journal.save_plan(planning, PLAN, state=RunState.AWAITING_APPROVAL, note="", expires_in=None)
    await journal.approve(run_id, user="U0BOB", digest=PLAN.digest)
    claim = await journal.claim(owner=owner, lease=LEASE)
    assert claim is not None
    await journal.lay_out(claim, [("backup", "postgres.backup", "Backup"), ("upgrade", "helm.upgrade", "Upgrade")])
    return claim


async def test_the_migrations_make_exactly_the_tables_of_the_code(database: Database) -> None:
    def differences(connection: Any) -> list[Any]:
        found: list[Any] = compare_metadata(MigrationContext.configure(connection), metadata)
        return found

    async with database.transaction() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_database_that_is_up_to_date_is_left_alone(database: Database) -> None:
    await database.ready()


def test_a_database_of_another_make_is_refused_by_name() -> None:
    with pytest.raises(Permanent, match="mysql"):
        Database("mysql://localhost/x")


async def test_a_replica_that_froze_within_a_transaction_holds_no_lock_for_good(postgresql_database: str) -> None:
    database = Database(postgresql_database)
    try:
        async with database.transaction() as frozen:
            limit = "SELECT current_setting('idle_in_transaction_session_timeout')"
            assert (await frozen.execute(text(limit))).scalar() == f"{IDLE_SECONDS}s"
        with pytest.raises(Temporary, match="does not answer"):
            await _frozen(database)
        assert (await database.time()).year > 2000, "the next one gets a session of its own"
    finally:
        await database.close()


async def test_a_transaction_that_is_cancelled_anywhere_keeps_nobody_out(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE rounds (number INTEGER)"))
        await connection.execute(text("INSERT INTO rounds VALUES (0)"))
    gc.disable()  # what only a collection frees may be kept for minutes
    try:
        for steps in range(60):  # of the loop, until it is cancelled
            task = asyncio.create_task(_round(database))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            async with asyncio.timeout(10):  # SQLite gives up after 15 s
                await _round(database)
    finally:
        gc.enable()


async def _round(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("SELECT * FROM rounds"))
        await connection.execute(text("UPDATE rounds SET number = number + 1 RETURNING number"))
        await connection.execute(text("UPDATE rounds SET number = number + 1"))


async def _frozen(database: Database) -> None:
    async with database.transaction() as frozen:
        session = (await frozen.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        await frozen.execute(text("SET LOCAL idle_in_transaction_session_timeout = '20ms'"))
        await _ended(database, session)
        await frozen.execute(text("SELECT 1"))


async def _ended(database: Database, session: int) -> None:
    alive = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
    while True:
        async with database.transaction() as other:
            if not (await other.execute(alive, {"pid": session})).scalar():
                return
        await asyncio.sleep(0.02)


async def test_a_claim_is_given_to_one_of_many_who_ask_at_once(database: Database, journal: Journal) -> None:
    await journal.create(new("r-1"))
    claims = await asyncio.gather(*(journal.claim(owner=f"replica-{n}", lease=LEASE) for n in range(6)))
    assert len([claim for claim in claims if claim is not None]) == 1


async def test_a_write_under_an_old_fencing_number_is_refused(journal: Journal) -> None:
    old = await running_run(journal)
    await journal.renew(old, lease=timedelta(milliseconds=-1))
    taken = await journal.claim(owner="b", lease=LEASE)
    assert taken is not None
    assert taken.fence > old.fence
    writes: list[Callable[[], Awaitable[object]]] = [
        lambda: journal.renew(old, lease=LEASE),
        lambda: journal.begin_step(old, 1, intent={}),
        lambda: journal.end_step(old, 1, state=StepState.DONE, outcome={"summary": "late"}),
        lambda: journal.progress(old, 1, "late"),
        lambda: journal.move(old, RunState.RUNNING, RunState.SUCCEEDED),
        lambda: journal.lay_out(old, []),
    ]
    for write in writes:
        with pytest.raises(Stale):
            await write()
    await journal.begin_step(taken, 1, intent={"revision": 3})
    run = await journal.run("r-1")
    assert run.steps[0].state is StepState.RUNNING
    assert run.steps[0].intent == {"revision": 3}


async def test_an_ended_lease_refuses_writes_even_if_nobody_took_the_run(journal: Journal) -> None:
    claim = await running_run(journal)
    await journal.renew(claim, lease=timedelta(milliseconds=-1))
    with pytest.raises(Stale):
        await journal.begin_step(claim, 1, intent={})


async def test_a_run_that_was_given_back_is_taken_up_at_once_and_not_counted(journal: Journal) -> None:
    claim = await running_run(journal)
    await journal.release(claim)
    again = await journal.claim(owner="b", lease=LEASE)
    assert again is not None
    assert (await journal.run("r-1")).attempts == 1


async def test_secrets_do_not_reach_the_database(database: Database, journal: Journal) -> None:
    claim = await running_run(journal)
    secret = "xoxb-1234567890-abcdefghij"
    await journal.begin_step(claim, 1, intent={"password": "hunter22", "note": f"uses {secret}"})
    outcome = {"summary": f"token={secret}", "facts": {"url": "postgres://app:hunter22@db/app"}}
    message = {"text": secret, "evidence": [{"title": "log", "text": f"password: hunter22 {secret}"}]}
    await journal.end_step(claim, 1, state=StepState.FAILED, outcome=outcome, message=message)
    async with database.transaction() as connection:
        for table in metadata.tables:
            rows = (await connection.execute(text(f"SELECT * FROM {table}"))).all()
            assert "hunter22" not in str(rows)
            assert secret not in str(rows)


async def test_a_card_has_one_row_whose_wanted_version_grows(journal: Journal, outbox: Outbox) -> None:
    claim = await running_run(journal)
    (card,) = [item for item in await outbox.due() if item.kind is OutboxKind.CARD]
    await outbox.delivered(card, ts="1.1")
    assert await outbox.due() == []
    await journal.begin_step(claim, 1, intent={})
    (again,) = await outbox.due()
    assert (again.id, again.ts, again.client_msg_id) == (card.id, "1.1", card.client_msg_id)
    assert again.wanted > card.wanted
    assert await outbox.card("r-1") == ("C0OPS", "1.1")


async def test_a_change_while_the_card_is_being_sent_stays_due(journal: Journal, outbox: Outbox) -> None:
    claim = await running_run(journal)
    (card,) = await outbox.due()
    await journal.begin_step(claim, 1, intent={})
    await outbox.delivered(card, ts="1.1")
    assert [item.id for item in await outbox.due()] == [card.id]


async def test_the_threads_messages_wait_for_their_card(journal: Journal, outbox: Outbox) -> None:
    claim = await running_run(journal)
    await journal.begin_step(claim, 1, intent={})
    message = {"text": "done", "evidence": []}
    await journal.end_step(claim, 1, state=StepState.DONE, outcome={"summary": "done"}, message=message)
    (card,) = await outbox.due()
    await outbox.delivered(card, ts="1.1")
    (thread,) = await outbox.due()
    assert thread.body == message
    await outbox.give_up(thread, error="is_archived")
    assert await outbox.undelivered() == 0


async def test_a_postponed_message_is_not_due_before_its_time(journal: Journal, outbox: Outbox) -> None:
    await running_run(journal)
    (card,) = await outbox.due()
    await outbox.postpone(card, seconds=60, error="ratelimited")
    assert await outbox.due() == []
    await outbox.postpone(card, seconds=-1, error="ratelimited")
    (again,) = await outbox.due()
    assert again.attempts == 1


async def test_a_message_that_is_gone_is_posted_as_another_one(journal: Journal, outbox: Outbox) -> None:
    await running_run(journal)
    (card,) = await outbox.due()
    await outbox.delivered(card, ts="1.1")
    await outbox.forget(card)
    assert await outbox.card("r-1") is None


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        ("UPDATE audit SET who = 'U0EVE' WHERE number = 2", "Row 2"),
        ("DELETE FROM audit WHERE number = 2", "Row 2 is missing"),
        ("UPDATE audit SET previous = hash WHERE number = 3", "Row 3 does not follow"),
    ],
)
async def test_audit_verify_finds_tampering(database: Database, journal: Journal, tamper: str, said: str) -> None:
    await running_run(journal)
    count, problem = await audit.verify(database)
    assert count >= 5
    assert problem is None
    async with database.transaction() as connection:
        await connection.execute(text(tamper))
    _, problem = await audit.verify(database)
    assert problem is not None
    assert said in problem


async def test_one_replica_holds_a_named_lease_until_it_ends(database: Database) -> None:
    first = Leases(database, owner="a", length=timedelta(seconds=30))
    second = Leases(database, owner="b", length=timedelta(seconds=30))
    assert await first.hold("poster")
    assert await first.hold("poster")
    assert not await second.hold("poster")
    await first.release()
    assert await second.hold("poster")


async def test_many_who_want_a_new_lease_get_it_once(database: Database) -> None:
    all_of_them = [Leases(database, owner=f"replica-{n}", length=LEASE) for n in range(5)]
    assert sum(await asyncio.gather(*(leases.hold("poster") for leases in all_of_them))) == 1


@given(st.lists(st.sampled_from(RunState), max_size=12))
def test_every_walk_through_the_states_ends_or_can_go_on(walk: list[RunState]) -> None:
    state = RunState.PLANNING
    for wanted in walk:
        if wanted in TRANSITIONS[state]:
            state = wanted
    assert state.over == (state not in HOLDING and state not in CARRIED and state is not RunState.AWAITING_APPROVAL)
    if not state.over:
        assert TRANSITIONS[state], "a run that is not over can go on"
    if state.over and state is not RunState.BLOCKED:
        assert TRANSITIONS[state] <= {RunState.ROLLED_BACK}, "what has ended can only be taken back"


async def test_the_past_of_a_target_is_its_steps_of_the_asked_kinds_newest_first(journal: Journal) -> None:
    claim = await running_run(journal)
    await journal.begin_step(claim, 1, intent={"database": "aeterna-cnpg"})
    await journal.end_step(claim, 1, state=StepState.DONE, outcome={"summary": "backed up", "facts": {"backup": "b-1"}})
    await journal.begin_step(claim, 2, intent={"revision": 3})

    assert [step.step.uses for step in await journal.past("prod", "postgres.backup", "helm.upgrade")] == [
        "helm.upgrade",
        "postgres.backup",
    ]
    (backup,) = await journal.past("prod", "postgres.backup")
    assert (backup.run, backup.runbook, backup.requested_by) == ("r-1", "upgrade", "U0ALICE")
    assert backup.step.outcome == {"summary": "backed up", "facts": {"backup": "b-1"}}
    assert await journal.past("staging", "postgres.backup") == []
    assert await journal.past("prod", "helm.test") == []
