"""Emergencies beside changes: two lanes a target, pre-emption at a safe point, one person's word; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.engine.contract import ApprovalPolicy, OnFailure, StepContext
from bot.engine.offers import offers, plan_mark
from bot.errors import Permanent, Refused
from bot.store import audit, reading
from bot.store.database import Database
from bot.store.journal import Claim, Journal, NewRun, Stale, TargetHeld
from bot.store.outbox import Outbox
from bot.store.records import HOLDING, Lane, PlanRecord, RunRecord, RunState
from tests.engine.harness import ALICE, BOB, CAROL, Replica, running, states
from tests.engine.locked import locked
from tests.engine.scripted import ScriptedRunbooks, ScriptedStep, World, kind, runbook

LEASE = timedelta(seconds=30)
PLAN = PlanRecord(digest="d" * 64, findings=(), facts={}, bindings={})
STOPS = [{"component": "opal-server", "text": "1 → 0", "impact": "", "optional": True}]
QUICK = ApprovalPolicy(expires=timedelta(minutes=15), incident="emergency")


def house(world: World, *, on_failure: OnFailure = OnFailure.STOP) -> ScriptedRunbooks:
    """An upgrade of two steps, a rollback, and an emergency of two."""
    change = [ScriptedStep(name, kind(world, name), on_failure) for name in ("backup", "upgrade")]
    scale = [ScriptedStep(name, kind(world, name)) for name in ("scale", "look")]
    emergency = replace(runbook(world, *scale, name="emergency-scale-down", approval=QUICK), emergency=True)
    back = runbook(world, ScriptedStep("back", kind(world, "back")), name="rollback", approval=ApprovalPolicy())
    return ScriptedRunbooks(runbook(world, *change), back, emergency)


@pytest.fixture
async def replica(database_url: str, world: World, tmp_path: Path) -> AsyncIterator[Replica]:
    world.facts = {**world.facts, "stops": STOPS}
    async with running(database_url, house(world), tmp_path) as started:
        yield started


async def waiting(replica: Replica, name: str = "emergency-scale-down", *, incident: bool = True) -> RunRecord:
    run = await replica.ask(name, incident=incident)
    return await replica.until(run.id, RunState.AWAITING_APPROVAL)


async def upgrading(replica: Replica, world: World) -> RunRecord:
    """An upgrade in its first step, which ends when it is cancelled."""

    async def wait(_context: StepContext) -> None:
        await asyncio.Event().wait()

    world.behave["backup"] = wait
    asked = await replica.ask()
    await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
    await world.started.wait()
    return await replica.journal.run(asked.id)


async def test_in_an_incident_channel_the_requester_confirms_alone_and_the_approvers_are_told(
    replica: Replica, world: World
) -> None:
    run = await waiting(replica)
    assert [step.state.value for step in run.steps] == ["pending", "pending"], "laid out with the plan"
    with pytest.raises(Refused, match="somebody else"):
        await replica.desk.approve(plan_mark(run), user=ALICE)
    await replica.desk.approve(plan_mark(run), user=ALICE, alone=True, excepted=["opal-server"])
    done = await replica.until(run.id, RunState.SUCCEEDED)
    assert states(done) == {"scale": "done", "look": "done"}
    assert [(voice.user, voice.alone) for voice in done.approvals] == [(ALICE, True)]
    assert done.excepted == ("opal-server",)
    (yes,) = [row async for row in audit.rows(replica.database) if row.what == "run.approved"]
    assert (yes.details["alone"], yes.details["excepted"]) == (True, ["opal-server"])
    (card,) = [item for item in await replica.outbox.due() if item.run_id == run.id and item.kind == "card"]
    await replica.outbox.delivered(card, ts="1.1")
    assert any("confirmed this emergency scale-down alone" in str(item.body) for item in await replica.outbox.due())


async def test_elsewhere_nobody_confirms_alone(replica: Replica) -> None:
    run = await waiting(replica, incident=False)
    with pytest.raises(Refused, match="somebody else"):
        await replica.desk.approve(plan_mark(run), user=ALICE, alone=True)
    await replica.desk.approve(plan_mark(run), user=BOB)
    await replica.until(run.id, RunState.SUCCEEDED)


async def test_only_what_the_plan_calls_optional_can_be_left_out(replica: Replica) -> None:
    run = await waiting(replica)
    with pytest.raises(Refused, match="server, x cannot be left out"):
        await replica.desk.approve(plan_mark(run), user=BOB, excepted=["x", "opal-server", "server"])


async def test_an_emergency_stops_a_change_and_starts_when_that_is_at_a_safe_point(
    replica: Replica, world: World
) -> None:
    change = await upgrading(replica, world)
    emergency = await waiting(replica)
    await replica.desk.approve(plan_mark(emergency), user=ALICE, alone=True)
    done = await replica.until(emergency.id, RunState.SUCCEEDED)
    stopped = await replica.until(change.id, RunState.CANCELLED)
    assert (stopped.preempted_by, stopped.cancel_requested_by) == (emergency.id, ALICE)
    assert done.preempts == change.id
    assert f"Pre-empted by the emergency {emergency.id} of <@{ALICE}>" in stopped.note
    assert world.effects == ["scale", "look"]
    assert stopped.ended_at is not None
    assert done.started_at is not None
    assert stopped.ended_at <= done.started_at
    assert "run.preempted" in [row.what async for row in audit.rows(replica.database) if row.run == change.id]


async def test_a_change_that_is_still_planning_again_at_its_start_stops_at_once(replica: Replica, world: World) -> None:
    asked = await replica.ask()
    ready = await replica.until(asked.id, RunState.AWAITING_APPROVAL)
    emergency = await waiting(replica)
    hold = asyncio.Event()
    world.check_waits = hold
    await replica.desk.approve(plan_mark(ready), user=BOB)
    await replica.until(asked.id, RunState.RUNNING)
    await replica.desk.approve(plan_mark(emergency), user=ALICE, alone=True)
    await replica.until(emergency.id, RunState.SUCCEEDED)
    stopped = await replica.until(asked.id, RunState.CANCELLED)
    assert "before anything was changed" in stopped.note
    hold.set()


async def test_a_step_that_may_not_be_interrupted_comes_to_its_end_first(
    database_url: str, world: World, tmp_path: Path
) -> None:
    go = asyncio.Event()

    async def wait(_context: StepContext) -> None:
        await go.wait()

    world.behave["upgrade"] = wait
    steps = [ScriptedStep("upgrade", kind(world, "upgrade", interruptible=False)), ScriptedStep("x", kind(world, "x"))]
    emergency = replace(
        runbook(world, ScriptedStep("scale", kind(world, "scale")), name="emergency-scale-down", approval=QUICK),
        emergency=True,
    )
    async with running(database_url, ScriptedRunbooks(runbook(world, *steps), emergency), tmp_path) as replica:
        asked = await replica.ask()
        await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
        await world.started.wait()
        urgent = await waiting(replica)
        await replica.desk.approve(plan_mark(urgent), user=ALICE, alone=True)
        held = await replica.journal.run(urgent.id)
        assert (held.state, held.preempts) == (RunState.QUEUED, asked.id)
        go.set()
        await replica.until(urgent.id, RunState.SUCCEEDED)
        assert world.effects == ["upgrade", "scale"]
        assert (await replica.until(asked.id, RunState.CANCELLED)).preempted_by == urgent.id


async def test_no_change_starts_or_is_tried_again_while_an_emergency_holds_the_target(
    database_url: str, world: World, tmp_path: Path
) -> None:
    async def fail(_context: StepContext) -> None:
        raise Permanent("The image cannot be pulled.")

    go = asyncio.Event()

    async def wait(_context: StepContext) -> None:
        world.started.set()
        await go.wait()

    world.behave["backup"] = fail
    async with running(database_url, house(world, on_failure=OnFailure.ASK), tmp_path) as replica:
        first, other = await replica.ask(), await replica.ask()
        await replica.desk.approve(plan_mark(await replica.until(first.id, RunState.AWAITING_APPROVAL)), user=BOB)
        await replica.until(first.id, RunState.NEEDS_ATTENTION)
        late = await replica.until(other.id, RunState.AWAITING_APPROVAL)
        world.behave["scale"] = wait
        world.started.clear()
        emergency = await waiting(replica)
        await replica.desk.approve(plan_mark(emergency), user=ALICE, alone=True)
        await world.started.wait()
        assert [run.id for run in await replica.desk.holders("prod")] == [emergency.id, first.id]
        for refused in (
            replica.desk.retry(first.id, user=BOB, key="again", channel="C0OPS"),
            replica.desk.approve(plan_mark(late), user=BOB),
            replica.ask(),
            replica.ask("emergency-scale-down", incident=True),
        ):
            with pytest.raises(TargetHeld, match=f"prod is held by run {emergency.id}"):
                await refused
        assert (await replica.journal.run(first.id)).cancel_requested_by is None, "it was at a safe point already"
        go.set()
        await replica.until(emergency.id, RunState.SUCCEEDED)
        del world.behave["backup"]
        await replica.desk.retry(first.id, user=BOB, key="again", channel="C0OPS")
        await replica.until(first.id, RunState.SUCCEEDED)


@pytest.mark.parametrize("late", [False, True], ids=["at the yes", "after the change"])
async def test_a_database_that_keeps_everybody_waiting_holds_up_an_emergency_and_loses_nothing(
    replica: Replica, world: World, database_url: str, *, late: bool
) -> None:
    go = asyncio.Event()

    async def scale(_context: StepContext) -> None:
        world.started.set()
        await go.wait()

    world.behave["scale"] = scale
    run = await waiting(replica)
    if late:  # the cluster is changed first; what became of it is written as soon as that is possible
        await replica.desk.approve(plan_mark(run), user=ALICE, alone=True)
        await world.started.wait()
        async with locked(database_url):
            go.set()
            await asyncio.sleep(1.5)
            assert world.effects == ["scale"], "nothing more is begun that the journal does not know"
    else:
        go.set()
        async with locked(database_url):
            yes = asyncio.create_task(replica.desk.approve(plan_mark(run), user=ALICE, alone=True))
            await asyncio.sleep(1.5)
            assert not yes.done()
            assert world.effects == []
        await yes
    done = await replica.until(run.id, RunState.SUCCEEDED)
    assert world.effects == ["scale", "look"], "each once"
    assert states(done) == {"scale": "done", "look": "done"}
    assert [(voice.user, voice.alone) for voice in done.approvals] == [(ALICE, True)]
    assert await replica.desk.holders("prod") == []


async def test_a_dry_run_ends_after_its_plan_and_holds_nothing(replica: Replica, world: World) -> None:
    run = await replica.ask(dry_run=True)
    done = await replica.until(run.id, RunState.SUCCEEDED)
    assert (done.note, done.steps, done.dry_run) == ("Dry run: nothing was changed.", (), True)
    assert offers(done) == ()
    assert world.effects == []


async def test_a_dry_run_that_finds_a_blocker_is_blocked_like_any_other(replica: Replica, world: World) -> None:
    world.check_error = Permanent("No way.")
    run = await replica.ask(dry_run=True)
    blocked = await replica.until(run.id, RunState.BLOCKED)
    world.check_error = None
    again = await replica.desk.retry(blocked.id, user=ALICE, key="again", channel="C0OPS")
    assert again.dry_run


async def test_a_rollback_by_button_is_confirmed_alone_only_in_an_incident_channel(
    database_url: str, world: World, tmp_path: Path
) -> None:
    loaded = house(world)
    policy = ApprovalPolicy(incident="rollback")
    loaded.loaded["rollback"] = replace(loaded.loaded["rollback"], approval=policy)
    async with running(database_url, loaded, tmp_path) as replica:
        for incident, end in ((False, RunState.AWAITING_APPROVAL), (True, RunState.SUCCEEDED)):
            asked = await replica.ask()
            await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
            await replica.until(asked.id, RunState.SUCCEEDED)
            back = await replica.desk.roll_back(
                asked.id, user=CAROL, key=f"back-{incident}", channel="C0OPS", incident=incident
            )
            ended = await replica.until(back.id, end)
            assert [voice.alone for voice in ended.approvals] == ([True] if incident else [])
            if not incident:
                await replica.desk.cancel(back.id, user=CAROL)


# -- the journal's own guards -----------------------------------------------------------------------------------


def new(run_id: str, lane: Lane = Lane.CHANGE) -> NewRun:
    return NewRun(
        id=run_id,
        key=f"key-{run_id}",
        target="prod",
        runbook="upgrade",
        runbook_text="upgrade",
        inputs={},
        mutates=True,
        requested_by=ALICE,
        channel="C0OPS",
        approvals_needed=1,
        lane=lane,
        incident="emergency" if lane is Lane.EMERGENCY else None,
    )


@pytest.fixture
async def journal(database_url: str) -> AsyncIterator[Journal]:
    database = Database(database_url)
    await database.ready()
    yield Journal(database, Outbox(database))
    await database.close()


async def planned(journal: Journal, run_id: str, lane: Lane) -> None:
    await journal.create(new(run_id, lane))
    claim = await journal.claim(owner="a", lease=LEASE)
    assert claim is not None
    assert claim.run == run_id
    await journal.save_plan(claim, PLAN, state=RunState.AWAITING_APPROVAL, note="", expires_in=None)


async def test_an_emergency_is_claimed_before_older_changes(journal: Journal) -> None:
    for number in range(3):
        await journal.create(replace(new(f"r-{number}"), target=f"t-{number}"))
    await journal.create(new("r-urgent", Lane.EMERGENCY))
    claim = await journal.claim(owner="a", lease=LEASE)
    assert claim is not None
    assert claim.run == "r-urgent"
    assert await journal.claim(owner="a", lease=LEASE, only=Lane.EMERGENCY) is None


async def test_of_two_replicas_that_start_a_change_and_confirm_an_emergency_at_once_neither_misses_the_other(
    journal: Journal,
) -> None:
    for turn in range(8):
        change, urgent = f"r-c{turn}", f"r-e{turn}"
        await planned(journal, change, Lane.CHANGE)
        await planned(journal, urgent, Lane.EMERGENCY)
        await journal.approve(change, user=BOB, digest=PLAN.digest)
        claims = await asyncio.gather(
            journal.claim(owner="b", lease=LEASE),
            journal.approve(urgent, user=BOB, digest=PLAN.digest),
            journal.claim(owner="c", lease=LEASE),
        )
        run = await journal.run(change)
        assert run.state is RunState.QUEUED or run.preempted_by == urgent, "a change runs and knows nothing of it"
        taken = [claim for claim in claims if isinstance(claim, Claim)]
        for claim in taken:
            await journal.move(claim, RunState.RUNNING, RunState.CANCELLED)
        for left in (urgent, change):
            if not (await journal.run(left)).state.over:
                await journal.request_cancel(left, user=ALICE)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(["approve", "claim", "end", "ask", "retry"]), st.integers(0, 3)), max_size=14)
)
def test_whatever_people_and_carriers_do_no_change_begins_beside_an_emergency(
    tmp_path: Path, walk: list[tuple[str, int]]
) -> None:
    asyncio.run(_walk(tmp_path, walk))


async def _walk(folder: Path, walk: list[tuple[str, int]]) -> None:
    """Two changes and two emergencies of one target, driven about; after each move the lanes are looked at."""
    database = Database(f"sqlite:///{folder}/{abs(hash(tuple(walk)))}.sqlite")
    await database.ready()
    journal = Journal(database, Outbox(database))
    lanes = [Lane.CHANGE, Lane.EMERGENCY, Lane.CHANGE, Lane.EMERGENCY]
    tag = f"{asyncio.get_running_loop().time():.6f}"[-7:]
    names = [f"r-{tag}{number}" for number in range(4)]
    try:
        for name, lane in zip(names, lanes, strict=True):
            await planned(journal, name, lane)
        claims: dict[str, Claim] = {}
        for move, number in walk:
            await _move(journal, claims, move, names[number])
            held = await reading.holders(database, "prod")
            assert [run.lane for run in held] in ([], [Lane.CHANGE], [Lane.EMERGENCY], [Lane.EMERGENCY, Lane.CHANGE])
            running_now = [run for run in held if run.state is RunState.RUNNING]
            assert len(running_now) <= 1, "between two safe points there is one run"
            if len(held) == 2 and held[1].state is RunState.RUNNING:
                assert held[0].state is RunState.QUEUED
                assert held[1].preempted_by == held[0].id
    finally:
        await database.close()


async def _move(journal: Journal, claims: dict[str, Claim], move: str, name: str) -> None:
    run = await journal.run(name)
    try:
        if move == "approve":
            await journal.approve(name, user=BOB, digest=PLAN.digest)
        elif move == "claim" and (claim := await journal.claim(owner="a", lease=LEASE)):
            claims[claim.run] = claim
        elif move in ("end", "ask") and run.state is RunState.RUNNING and name in claims:
            to = RunState.NEEDS_ATTENTION if move == "ask" else RunState.CANCELLED
            await journal.move(claims.pop(name), RunState.RUNNING, to)
        elif move == "retry" and run.state in HOLDING:
            await journal.decide(name, user=BOB, state=RunState.QUEUED)
    except (Stale, TargetHeld):
        return
