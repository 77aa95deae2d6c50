"""From asking to the end: plan, approval, steps, and what follows from a failure."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import pytest

from bot.engine.contract import (
    ApprovalPolicy,
    CheckResult,
    Finding,
    Level,
    OnFailure,
    Outcome,
    OverrideRule,
    Repeat,
    StepContext,
    Unknown,
)
from bot.engine.offers import OfferKind, offers, plan_mark
from bot.errors import Evidence, OutcomeUnknown, Permanent, Refused, Temporary, UserMistake
from bot.store import audit
from bot.store.journal import TargetHeld
from bot.store.records import RunRecord, RunState
from tests.engine.harness import ALICE, BOB, CAROL, configuration, running, states
from tests.engine.scripted import ScriptedRunbooks, ScriptedStep, World, kind, runbook


def two_steps(world: World, **failing: OnFailure) -> ScriptedRunbooks:
    """An upgrade of two steps, and the rollback that takes it back."""
    steps = [ScriptedStep(name, kind(world, name), failing.get(name, OnFailure.STOP)) for name in ("backup", "upgrade")]
    back = ScriptedStep("back", kind(world, "back", interruptible=False))
    return ScriptedRunbooks(
        runbook(world, *steps),
        runbook(world, back, name="rollback", approval=ApprovalPolicy(exclude_requester=False)),
        runbook(
            world, ScriptedStep("look", kind(world, "look", mutates=False)), name="status", approval=None, report=True
        ),
    )


async def fail(_context: StepContext) -> Outcome:
    raise Permanent(
        "The image cannot be pulled.", way_out="Check the tag.", evidence=[Evidence("Events", "ErrImagePull")]
    )


def kinds(run: RunRecord) -> list[OfferKind]:
    return [offer.kind for offer in offers(run)]


async def test_an_approved_run_does_its_steps_in_order_and_succeeds(
    database_url: str, world: World, tmp_path: Path
) -> None:
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        waiting = await replica.until(asked.id, RunState.AWAITING_APPROVAL)
        assert kinds(waiting) == [OfferKind.APPROVE, OfferKind.REJECT]
        assert world.effects == []
        await replica.desk.approve(plan_mark(waiting), user=BOB)
        ended = await replica.until(asked.id, RunState.SUCCEEDED)
        assert world.effects == ["backup", "upgrade"]
        assert states(ended) == {"backup": "done", "upgrade": "done"}
        assert ended.note == "upgrade is done"
        assert kinds(ended) == [OfferKind.ROLL_BACK]
        assert await audit.verify(replica.database) == (len([row async for row in audit.rows(replica.database)]), None)


async def test_a_run_without_approval_starts_by_itself(database_url: str, world: World, tmp_path: Path) -> None:
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask("status")
        assert (await replica.until(asked.id, RunState.SUCCEEDED)).mutates is False


async def test_the_same_trigger_twice_is_one_run(database_url: str, world: World, tmp_path: Path) -> None:
    async with running(database_url, two_steps(world), tmp_path) as replica:
        first, second = await asyncio.gather(replica.ask(key="trigger-1"), replica.ask(key="trigger-1"))
        assert first.id == second.id
        assert len(await replica.desk.runs("prod")) == 1


async def test_a_blocker_ends_the_run_before_anybody_is_asked(database_url: str, world: World, tmp_path: Path) -> None:
    world.result = CheckResult(findings=(Finding(Level.INFO, "fine"), Finding(Level.BLOCKER, "There is no 9.9.9.")))
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        blocked = await replica.until(asked.id, RunState.BLOCKED)
        assert blocked.plan is not None
        assert [finding.level for finding in blocked.plan.findings] == ["blocker", "info"]
        assert kinds(blocked) == [OfferKind.RETRY]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ZeroDivisionError(), r"failed unexpectedly \(reference [0-9a-f]{8} in the bot's log\)"),
        (Temporary("The API server does not answer."), "could not be done: The API server does not answer"),
    ],
)
async def test_a_check_that_raises_blocks_the_plan(
    database_url: str, world: World, tmp_path: Path, error: Exception, said: str
) -> None:
    world.check_error = error
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        blocked = await replica.until(asked.id, RunState.BLOCKED)
        assert blocked.plan is not None
        assert re.search(said, blocked.plan.findings[0].text)


async def test_a_check_that_does_not_answer_in_time_is_given_up_and_named(
    database_url: str, world: World, tmp_path: Path
) -> None:
    world.check_waits = asyncio.Event()
    settings = configuration(check_timeout=timedelta(seconds=0.2))
    async with running(database_url, two_steps(world), tmp_path, settings=settings) as replica:
        asked = await replica.ask()
        blocked = await replica.until(asked.id, RunState.BLOCKED)
        assert blocked.plan is not None
        (found,) = blocked.plan.findings
        assert re.search(r"The check \S+ was given up after 0\.2 s, because what it asked did not answer", found.text)
        assert "engine.check_timeout" in found.way_out
        assert found.unseen


async def test_what_two_checks_find_alike_is_told_once_and_what_could_not_be_seen_needs_a_second_yes(
    database_url: str, world: World, tmp_path: Path
) -> None:
    same = Finding(Level.WARNING, "Foo is deprecated.", code="api.deprecated", subject="Foo")
    unseen = Finding(Level.WARNING, "Could not look at nodes.", code="unseen", subject="nodes")
    world.result = CheckResult(findings=(same, same, unseen))
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        waiting = await replica.until(asked.id, RunState.AWAITING_APPROVAL)
        assert waiting.plan is not None
        assert [finding.text for finding in waiting.plan.findings] == [same.text, unseen.text]
        approve = next(offer for offer in offers(waiting) if offer.kind is OfferKind.APPROVE)
        assert approve.confirm is not None
        assert "One thing could not be looked at" in approve.confirm


async def test_the_requester_cannot_approve(database_url: str, world: World, tmp_path: Path) -> None:
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        waiting = await replica.until(asked.id, RunState.AWAITING_APPROVAL)
        with pytest.raises(Refused, match="somebody else has to approve"):
            await replica.desk.approve(plan_mark(waiting), user=ALICE)
        assert (await replica.desk.run(asked.id)).state is RunState.AWAITING_APPROVAL


async def test_two_approvals_need_two_people(database_url: str, world: World, tmp_path: Path) -> None:
    step = ScriptedStep("upgrade", kind(world, "upgrade"))
    books = ScriptedRunbooks(runbook(world, step, approval=ApprovalPolicy(count=2)))
    async with running(database_url, books, tmp_path) as replica:
        asked = await replica.ask()
        mark = plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL))
        await replica.desk.approve(mark, user=BOB)
        assert (await replica.desk.run(asked.id)).state is RunState.AWAITING_APPROVAL
        with pytest.raises(Refused, match="one more person"):
            await replica.desk.approve(mark, user=BOB)
        await replica.desk.approve(mark, user=CAROL)
        await replica.until(asked.id, RunState.SUCCEEDED)


async def test_approve_and_reject_at_once_have_one_winner(database_url: str, world: World, tmp_path: Path) -> None:
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        mark = plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL))
        results = await asyncio.gather(
            replica.desk.approve(mark, user=BOB), replica.desk.reject(mark, user=CAROL), return_exceptions=True
        )
        assert sum(isinstance(result, Refused) for result in results) == 1
        ended = await replica.until(asked.id, RunState.SUCCEEDED, RunState.REJECTED)
        assert (ended.state is RunState.REJECTED) == (world.effects == [])


async def test_second_click_on_approve_changes_nothing(database_url: str, world: World, tmp_path: Path) -> None:
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        mark = plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL))
        results = await asyncio.gather(
            *(replica.desk.approve(mark, user=BOB) for _ in range(5)), return_exceptions=True
        )
        assert sum(result is None for result in results) == 1
        await replica.until(asked.id, RunState.SUCCEEDED)
        assert world.effects == ["backup", "upgrade"]


async def test_an_approval_expires_by_the_databases_clock(database_url: str, world: World, tmp_path: Path) -> None:
    step = ScriptedStep("upgrade", kind(world, "upgrade"))
    policy = ApprovalPolicy(expires=timedelta(milliseconds=300))
    async with running(database_url, ScriptedRunbooks(runbook(world, step, approval=policy)), tmp_path) as replica:
        asked = await replica.ask()
        expired = await replica.until(asked.id, RunState.EXPIRED)
        with pytest.raises(Refused, match="it is expired"):
            await replica.desk.approve(plan_mark(expired), user=BOB)
        assert world.effects == []


async def test_a_changed_release_voids_the_approval_and_plans_anew(
    database_url: str, world: World, tmp_path: Path
) -> None:
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        first = await replica.until(asked.id, RunState.AWAITING_APPROVAL)
        world.bindings = {"release revision": "4"}
        await replica.desk.approve(plan_mark(first), user=BOB)
        again = await replica.when(
            asked.id, lambda run: run.state is RunState.AWAITING_APPROVAL and plan_mark(run) != plan_mark(first)
        )
        assert "release revision: 3 → 4" in again.note
        assert again.valid_approvals == ()
        with pytest.raises(Refused, match="The plan has changed"):
            await replica.desk.approve(plan_mark(first), user=BOB)
        assert world.effects == []
        await replica.desk.approve(plan_mark(again), user=BOB)
        await replica.until(asked.id, RunState.SUCCEEDED)


async def test_a_second_mutating_run_is_told_who_holds_the_target(
    database_url: str, world: World, tmp_path: Path
) -> None:
    go = asyncio.Event()

    async def wait(_context: StepContext) -> None:
        await go.wait()

    world.behave["upgrade"] = wait
    async with running(database_url, two_steps(world), tmp_path) as replica:
        first, second = await replica.ask(), await replica.ask()
        marks = [plan_mark(await replica.until(run.id, RunState.AWAITING_APPROVAL)) for run in (first, second)]
        await replica.desk.approve(marks[0], user=BOB)
        with pytest.raises(TargetHeld, match=first.id):
            await replica.ask()
        with pytest.raises(TargetHeld, match=first.id):
            await replica.desk.approve(marks[1], user=BOB)
        assert (await replica.desk.run(second.id)).valid_approvals == ()
        go.set()
        await replica.until(first.id, RunState.SUCCEEDED)


async def test_on_failure_stop_ends_the_run_and_frees_the_target(
    database_url: str, world: World, tmp_path: Path
) -> None:
    world.behave["backup"] = fail
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
        failed = await replica.until(asked.id, RunState.FAILED)
        assert states(failed) == {"backup": "failed", "upgrade": "pending"}
        assert await replica.desk.holder("prod") is None
        assert world.effects == []


async def test_on_failure_ask_waits_for_a_person_and_retry_goes_on(
    database_url: str, world: World, tmp_path: Path
) -> None:
    world.behave["upgrade"] = fail
    async with running(database_url, two_steps(world, upgrade=OnFailure.ASK), tmp_path) as replica:
        asked = await replica.ask()
        await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
        waiting = await replica.until(asked.id, RunState.NEEDS_ATTENTION)
        emergencies = [OfferKind.EMERGENCY, OfferKind.EMERGENCY]
        assert kinds(waiting) == [OfferKind.RETRY, OfferKind.ROLL_BACK, OfferKind.STOP, *emergencies]
        holder = await replica.desk.holder("prod")
        assert holder is not None
        assert holder.id == asked.id
        del world.behave["upgrade"]
        await replica.desk.retry(asked.id, user=BOB, key="retry-1", channel="C0OPS")
        await replica.until(asked.id, RunState.SUCCEEDED)
        assert world.effects == ["backup", "upgrade"]


async def test_stop_here_leaves_everything_as_it_is(database_url: str, world: World, tmp_path: Path) -> None:
    world.behave["upgrade"] = fail
    async with running(database_url, two_steps(world, upgrade=OnFailure.ASK), tmp_path) as replica:
        asked = await replica.ask()
        await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
        await replica.until(asked.id, RunState.NEEDS_ATTENTION)
        stopped = await replica.desk.stop(asked.id, user=BOB)
        assert stopped.state is RunState.FAILED
        assert await replica.desk.holder("prod") is None


async def test_the_rollback_button_on_a_failed_run_takes_it_back(
    database_url: str, world: World, tmp_path: Path
) -> None:
    world.behave["upgrade"] = fail
    async with running(database_url, two_steps(world, upgrade=OnFailure.ASK), tmp_path) as replica:
        asked = await replica.ask()
        await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
        await replica.until(asked.id, RunState.NEEDS_ATTENTION)
        back = await replica.desk.roll_back(asked.id, user=CAROL, key="click", channel="C0OPS")
        again = await replica.desk.roll_back(asked.id, user=BOB, key="another click", channel="C0OPS")
        assert back.id == again.id
        ended = await replica.until(back.id, RunState.SUCCEEDED)
        assert ended.inputs == {"revision": "3"}
        assert (await replica.desk.run(asked.id)).state is RunState.ROLLED_BACK
        assert world.effects == ["backup", "back"]


async def test_on_failure_rollback_goes_back_by_itself(database_url: str, world: World, tmp_path: Path) -> None:
    world.behave["upgrade"] = fail
    async with running(database_url, two_steps(world, upgrade=OnFailure.ROLLBACK), tmp_path) as replica:
        asked = await replica.ask()
        await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
        back = await replica.until(asked.id, RunState.ROLLED_BACK)
        assert back.child is not None
        assert world.effects == ["backup", "back"]


async def test_an_old_cards_rollback_button_is_refused(database_url: str, world: World, tmp_path: Path) -> None:
    async with running(database_url, two_steps(world), tmp_path) as replica:
        cards = []
        for _ in range(2):
            asked = await replica.ask()
            await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
            cards.append(await replica.until(asked.id, RunState.SUCCEEDED))
        with pytest.raises(Refused, match=cards[1].id):
            await replica.desk.roll_back(cards[0].id, user=CAROL, key="click", channel="C0OPS")


async def test_cancel_interrupts_the_step_and_says_what_is_true(
    database_url: str, world: World, tmp_path: Path
) -> None:
    async def forever(_context: StepContext) -> None:
        await asyncio.Event().wait()

    world.behave["upgrade"] = forever
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
        await replica.when(asked.id, lambda run: states(run).get("upgrade") == "running")
        await replica.desk.cancel(asked.id, user=CAROL)
        with pytest.raises(Refused):
            await replica.desk.cancel(asked.id, user=BOB)
        ended = await replica.until(asked.id, RunState.CANCELLED)
        assert states(ended) == {"backup": "done", "upgrade": "cancelled"}
        assert ended.steps[1].summary == "Interrupted; nothing of it is there."
        assert f"<@{CAROL}>" in ended.note


async def test_a_step_that_must_not_be_interrupted_ends_before_the_cancel(
    database_url: str, world: World, tmp_path: Path
) -> None:
    go = asyncio.Event()

    async def wait(_context: StepContext) -> None:
        await go.wait()

    world.behave["backup"] = wait
    first = ScriptedStep("backup", kind(world, "backup", interruptible=False))
    books = ScriptedRunbooks(runbook(world, first, ScriptedStep("upgrade", kind(world, "upgrade"))))
    async with running(database_url, books, tmp_path) as replica:
        asked = await replica.ask()
        await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
        await world.started.wait()
        await replica.desk.cancel(asked.id, user=CAROL)
        go.set()
        ended = await replica.until(asked.id, RunState.CANCELLED)
        assert states(ended) == {"backup": "done", "upgrade": "pending"}


async def test_a_temporary_error_is_tried_again_after_a_look(database_url: str, world: World, tmp_path: Path) -> None:
    tries = 0

    async def flaky(_context: StepContext) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Temporary("The API server does not answer.", retry_after=0.01)

    world.behave["upgrade"] = flaky
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
        await replica.until(asked.id, RunState.SUCCEEDED)
        assert tries == 3


async def test_a_step_over_its_deadline_fails_with_the_time(database_url: str, world: World, tmp_path: Path) -> None:
    async def forever(_context: StepContext) -> None:
        await asyncio.Event().wait()

    world.behave["upgrade"] = forever
    step = ScriptedStep("upgrade", kind(world, "upgrade", timeout=timedelta(seconds=0.2)))
    async with running(database_url, ScriptedRunbooks(runbook(world, step)), tmp_path) as replica:
        asked = await replica.ask()
        await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
        failed = await replica.until(asked.id, RunState.FAILED)
        assert "did not come to its end within 0.2 s" in failed.note


async def test_an_unknown_outcome_asks_a_person(database_url: str, world: World, tmp_path: Path) -> None:
    async def unknown(_context: StepContext) -> Outcome:
        raise OutcomeUnknown("Helm was killed; the release is pending-upgrade.")

    world.behave["upgrade"] = unknown
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
        asking = await replica.until(asked.id, RunState.NEEDS_ATTENTION)
        assert states(asking)["upgrade"] == "unknown"


@pytest.mark.parametrize(
    ("repeat", "seen", "end"),
    [
        (Repeat.CHECK_FIRST, None, RunState.SUCCEEDED),
        (Repeat.CHECK_FIRST, Unknown("Revision 4 is another's."), RunState.NEEDS_ATTENTION),
    ],
)
async def test_a_run_left_by_a_dead_replica_is_reconciled(
    database_url: str, world: World, tmp_path: Path, repeat: Repeat, seen: Unknown | None, end: RunState
) -> None:
    async def forever(_context: StepContext) -> None:
        await asyncio.Event().wait()

    world.behave["upgrade"] = forever
    if seen is not None:
        world.reconcile["upgrade"] = lambda _intent: seen
    books = ScriptedRunbooks(runbook(world, ScriptedStep("upgrade", kind(world, "upgrade", repeat=repeat))))
    async with running(database_url, books, tmp_path) as replica:
        asked = await replica.ask()
        await replica.desk.approve(plan_mark(await replica.until(asked.id, RunState.AWAITING_APPROVAL)), user=BOB)
        await replica.when(asked.id, lambda run: states(run).get("upgrade") == "running")
    # the block's end interrupts the step and gives the run back with its intent open, as a dying process does
    del world.behave["upgrade"]
    async with running(database_url, books, tmp_path, owner="replica-b") as replica:
        await replica.until(asked.id, end)
        assert world.effects == (["upgrade"] if end is RunState.SUCCEEDED else [])


async def test_an_unknown_target_or_run_is_a_mistake_with_a_way_out(
    database_url: str, world: World, tmp_path: Path
) -> None:
    async with running(database_url, two_steps(world), tmp_path) as replica:
        with pytest.raises(UserMistake, match="r-nope"):
            await replica.desk.run("r-nope")


async def test_one_cause_that_stops_several_checks_is_told_once(
    database_url: str, world: World, tmp_path: Path
) -> None:
    cause = "There is no version 9.9.9."
    world.result = CheckResult(
        findings=(
            Finding(Level.BLOCKER, f"Rendering the chart could not be done: {cause}"),
            Finding(Level.BLOCKER, cause, "Nearest: 0.2.1."),
            Finding(Level.BLOCKER, f"The check values could not be done: {cause}"),
            Finding(Level.BLOCKER, "The check capacity could not be done: Forbidden."),
        )
    )
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        blocked = await replica.until(asked.id, RunState.BLOCKED)
        assert blocked.plan is not None
        assert [(finding.level, finding.text) for finding in blocked.plan.findings] == [
            ("blocker", cause),
            ("blocker", "The check capacity could not be done: Forbidden."),
            ("info", "Not looked at for that reason: scripted."),
        ]


def lossy(world: World, override: str = "override") -> ScriptedRunbooks:
    """An upgrade whose plan loses data, and whose runbook lets that be overridden."""
    world.result = CheckResult(findings=(Finding(Level.BLOCKER, "The database goes.", code="data.loss"),))
    step = ScriptedStep("upgrade", kind(world, "upgrade"))
    return ScriptedRunbooks(runbook(world, step, overrides=(OverrideRule("data.loss", override),)))


async def test_an_overridden_blocker_still_needs_its_approval(database_url: str, world: World, tmp_path: Path) -> None:
    async with running(database_url, lossy(world), tmp_path) as replica:
        asked = await replica.ask()
        blocked = await replica.until(asked.id, RunState.BLOCKED)
        assert kinds(blocked) == [OfferKind.OVERRIDE, OfferKind.RETRY]
        mark = plan_mark(blocked)
        with pytest.raises(UserMistake, match="not the release's name"):
            await replica.desk.override(mark, user=CAROL, reason="the data was copied", release="aeterna-prod")
        with pytest.raises(UserMistake, match="reason"):
            await replica.desk.override(mark, user=CAROL, reason=" ", release="aeterna")
        lifted = await replica.desk.override(mark, user=CAROL, reason="the data was copied", release="aeterna")
        assert lifted.state is RunState.AWAITING_APPROVAL
        assert [(one.user, one.code, one.reason) for one in lifted.overrides] == [
            (CAROL, "data.loss", "the data was copied")
        ]
        await replica.desk.approve(mark, user=BOB)
        await replica.until(asked.id, RunState.SUCCEEDED)


async def test_a_blocker_that_no_rule_names_cannot_be_overridden(
    database_url: str, world: World, tmp_path: Path
) -> None:
    books = lossy(world)
    world.result = CheckResult(findings=(*world.result.findings, Finding(Level.BLOCKER, "No such version.", code="x")))
    async with running(database_url, books, tmp_path) as replica:
        asked = await replica.ask()
        blocked = await replica.until(asked.id, RunState.BLOCKED)
        assert kinds(blocked) == [OfferKind.RETRY]
        with pytest.raises(Refused, match="nobody may override"):
            await replica.desk.override(plan_mark(blocked), user=CAROL, reason="because I can", release="aeterna")


async def test_supplied_values_belong_to_the_run_and_plan_it_anew(
    database_url: str, world: World, tmp_path: Path
) -> None:
    world.facts = {**world.facts, "missing_values": [{"path": "aeterna.tenantSlug"}]}
    world.result = CheckResult(findings=(Finding(Level.BLOCKER, "aeterna.tenantSlug is missing."),))
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        blocked = await replica.until(asked.id, RunState.BLOCKED)
        assert kinds(blocked) == [OfferKind.SUPPLY, OfferKind.RETRY]
        world.result = CheckResult()
        await replica.desk.supply(plan_mark(blocked), user=ALICE, values={"aeterna.tenantSlug": "acme"})
        again = await replica.until(asked.id, RunState.AWAITING_APPROVAL)
        assert again.supplied == {"aeterna.tenantSlug": "acme"}
        assert plan_mark(again) != plan_mark(blocked)
        with pytest.raises(Refused, match="The plan has changed"):
            await replica.desk.approve(plan_mark(blocked), user=BOB)


async def test_the_checklist_comes_before_the_approval(database_url: str, world: World, tmp_path: Path) -> None:
    item = {"id": "m1", "when": "before", "text": "Copy the database"}
    world.facts = {**world.facts, "checklist": [item, {"id": "m2", "when": "after", "text": "Delete the old claims"}]}
    async with running(database_url, two_steps(world), tmp_path) as replica:
        asked = await replica.ask()
        waiting = await replica.until(asked.id, RunState.AWAITING_APPROVAL)
        assert kinds(waiting) == [OfferKind.TICK, OfferKind.APPROVE, OfferKind.REJECT]
        with pytest.raises(Refused, match="Copy the database"):
            await replica.desk.approve(plan_mark(waiting), user=BOB)
        with pytest.raises(Refused, match="not on the checklist"):
            await replica.desk.tick(f"{asked.id}:m9", user=ALICE)
        await asyncio.gather(
            *(replica.desk.tick(f"{asked.id}:m1", user=ALICE) for _ in range(3)), return_exceptions=True
        )
        await replica.desk.approve(plan_mark(waiting), user=BOB)
        done = await replica.until(asked.id, RunState.SUCCEEDED)
        assert kinds(done) == [OfferKind.TICK, OfferKind.ROLL_BACK]
