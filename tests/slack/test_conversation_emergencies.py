"""Emergencies as people see them: one dialog, one tap, who may, what stops for them; through the real workspace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.engine.contract import ApprovalPolicy, CheckResult, Facts, Input, Outcome, PlanContext, Runbook, StepContext
from bot.errors import Permanent, UserMistake
from bot.store.records import RunState
from dev.slack import Message, SlackWorkspace
from dev.slack.blocks import view_problems
from tests.slack.support import ROLES, Bot, Script, ScriptedCheck, ScriptedStep, everything, running_bot, upgrade_steps

ALICE, BOB, CAROL, MALLORY = "U0ALICE", "U0BOB", "U0CAROL", "U0MALLORY"
STOPS = [
    {
        "component": "opal-server",
        "text": "StatefulSet aeterna-opal-server 1 → 0",
        "impact": "Policies stay as they are.",
    },
    {"component": "cedar-agent", "text": "Deployment aeterna-cedar-agent 2 → 0", "impact": "Everything is denied."},
    {"component": "server", "text": "Deployment aeterna 3 → 1", "impact": "The API is slower."},
]
QUICK = ApprovalPolicy(expires=timedelta(minutes=15), incident="emergency")
INCIDENT_ROLES = {**ROLES, "incident": {"users": [ALICE, BOB], "permissions": ["emergency"]}}


class Scaling(ScriptedStep):
    """Notes what was left out of each run."""

    def __init__(self, seen: list[tuple[str, ...]], **given: Any) -> None:
        super().__init__("scale", "Scale", outcome=Outcome("2 of 2 scaled"), **given)
        self._seen = seen

    async def run(self, context: StepContext, params: Any, intent: Facts) -> Outcome:
        self._seen.append(context.run.excepted)
        return await super().run(context, params, intent)


class SlowCheck(ScriptedCheck):
    """Waits for the test where that says so."""

    def __init__(self, result: CheckResult, slow: asyncio.Event | None) -> None:
        super().__init__(result)
        self._slow = slow

    async def check(self, context: PlanContext) -> CheckResult:
        if self._slow is not None:
            await self._slow.wait()
        return await super().check(context)


@dataclass
class Emergency(Script):
    """The shipped words with scripted steps. ``seen``: what each run that scaled was to leave alone."""

    stops: list[dict[str, Any]] = field(default_factory=lambda: [dict(one, optional=True) for one in STOPS])
    seen: list[tuple[str, ...]] = field(default_factory=list)
    policy: ApprovalPolicy = QUICK
    go: asyncio.Event | None = None
    slow: asyncio.Event | None = None
    progress: tuple[str, ...] = ()

    def names(self) -> Sequence[str]:
        words = ("disable", "enable", "scale-down", "restore")
        return (*super().names(), *(f"emergency-{word}" for word in words))

    def parse(self, text: str) -> Runbook:
        if not text.startswith("emergency-"):
            return super().parse(text)
        facts = {"stops": self.stops, "current_version": "0.2.0", "permanent": {"opal.enabled": False}}
        inputs = (Input("component", "component", required=True),) if text.endswith("able") else (Input("all", "bool"),)
        return Runbook(
            text,
            f"{text}, scripted",
            "emergency",
            (SlowCheck(CheckResult(findings=tuple(self.findings), facts=facts), self.slow),),
            (Scaling(self.seen, go=self.go, progress=self.progress),),
            self.policy,
            emergency=True,
            inputs=inputs,
        )

    def inputs(self, name: str, given: Mapping[str, str]) -> dict[str, Any]:
        if not name.startswith("emergency-"):
            return super().inputs(name, given)
        if name.endswith("able") and not given.get("component"):
            raise UserMistake("Which component?")
        return dict(given)


@asynccontextmanager
async def bad_day(
    slack: SlackWorkspace, folder: Path, *, roles: Mapping[str, Any] = INCIDENT_ROLES, **script: Any
) -> AsyncIterator[tuple[Bot, Emergency]]:
    written = Emergency(steps=upgrade_steps(), **script)
    async with running_bot(slack, folder, script=written, roles=roles) as bot:
        yield bot, written


@pytest.fixture
async def day(slack: SlackWorkspace, tmp_path: Path) -> AsyncIterator[tuple[Bot, Emergency]]:
    async with bad_day(slack, tmp_path) as started:
        yield started


async def asked(bot: Bot, text: str, *, user: str = "alice", channel: str = "inc-42") -> dict[str, Any]:
    """The dialog that a command opens, once the plan is in it."""
    await bot.slack.command(user, channel, f"{text} --target prod" if channel != "ops" else text)
    return await filled(bot)


async def filled(bot: Bot) -> dict[str, Any]:
    await bot.slack.wait_until(lambda w: w.modal is not None and w.modal.get("callback_id") == "confirm", timeout=20)
    modal = bot.slack.modal
    assert modal is not None
    assert view_problems(modal) == []
    return modal


def ticked(*numbers: int) -> dict[str, Any]:
    options = [{"value": str(number), "text": {"type": "plain_text", "text": "…"}} for number in numbers]
    return {"excepted": {"value": {"type": "checkboxes", "selected_options": options}}}


async def test_one_dialog_and_one_tap_in_an_incident_channel(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    modal = await asked(bot, "emergency scale-down")
    said = json.dumps(modal, ensure_ascii=False)
    for part in ("Namespace `aeterna`", "Release `aeterna`", "What stops working", "aeterna-cedar-agent 2 → 0"):
        assert part in said
    assert "Everything is denied." in said
    assert modal["submit"]["text"] == "Confirm"
    await bot.slack.submit_view("alice", ticked())
    done = await bot.card("🚨 Scale down prod", "✅ *Done*", "Confirmed by <@U0ALICE> alone", channel="inc-42")
    assert done.buttons == ["Restore…"]
    told = await bot.slack.wait_for("inc-42", lambda m: m.thread_ts == done.ts and "For the approvers" in everything(m))
    assert "<!subteam^S0APPROVE>" in everything(told)
    assert script.seen == [()]
    await bot.slack.wait_until(lambda workspace: workspace.modal is None)


async def test_what_is_ticked_is_left_alone_and_stands_on_the_card(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    script.stops[2]["optional"] = False
    modal = await asked(bot, "emergency scale-down")
    (field_,) = [block for block in modal["blocks"] if block["type"] == "input"]
    assert [option["text"]["text"] for option in field_["element"]["options"]] == ["opal-server", "cedar-agent"]
    await bot.slack.submit_view("alice", ticked(1))
    await bot.card("✅ *Done*", "left alone: `cedar-agent`", channel="inc-42")
    assert script.seen == [("cedar-agent",)]
    run = (await bot.desk.runs("prod"))[0]
    assert run.excepted == ("cedar-agent",)


async def test_leaving_everything_alone_is_no_confirmation(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    await asked(bot, "emergency scale-down")
    await bot.slack.submit_view("alice", ticked(0, 1, 2))
    await bot.slack.wait_until(lambda workspace: bool(workspace.modal_errors))
    assert "Nothing would be left to do" in bot.slack.modal_errors["excepted"]
    assert script.seen == []


async def test_elsewhere_a_second_person_approves_in_the_same_dialog(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    await bot.slack.command("alice", "ops", "emergency scale-down")
    card = await bot.card("Ready for approval", "0 of 1, needs someone else than <@U0ALICE>")
    assert card.buttons == ["Approve…", "Reject"]
    assert bot.slack.modal is None
    await bot.slack.click("alice", "ops", card.ts, "run_confirm")
    modal = await filled(bot)
    assert "This is no incident channel: it takes 1 approval by somebody else." in json.dumps(modal)
    await bot.slack.submit_view("alice", ticked())
    await bot.slack.wait_until(lambda w: "somebody else has to approve" in json.dumps(w.modal))
    await bot.slack.close_view("alice")
    await bot.slack.wait_until(lambda workspace: workspace.modal is None)
    await bot.slack.click("bob", "ops", card.ts, "run_confirm")
    await filled(bot)
    await bot.slack.submit_view("bob", ticked())
    done = await bot.card("✅ *Done*", "Approved by <@U0BOB>")
    assert "alone" not in everything(done)
    assert len(script.seen) == 1


async def test_without_the_permission_nothing_is_asked_and_nothing_opens(day: tuple[Bot, Emergency]) -> None:
    bot, _ = day
    await bot.slack.command("carol", "inc-42", "emergency scale-down --target prod")
    await bot.says_to(CAROL, "You need the permission `emergency` on prod", channel="inc-42")
    assert bot.slack.modal is None
    await bot.slack.command("alice", "inc-42", "emergency scale-down --target prod")
    card = await bot.card("Ready to be confirmed", channel="inc-42")
    await filled(bot)
    await bot.slack.submit_view("mallory", ticked())
    await bot.slack.wait_until(lambda w: "You need the permission `emergency`" in json.dumps(w.modal))
    assert card.buttons == ["Confirm…", "Reject"]


async def test_the_second_of_two_emergencies_is_told_who_holds_the_target(
    slack: SlackWorkspace, tmp_path: Path
) -> None:
    hold = asyncio.Event()
    async with bad_day(slack, tmp_path, go=hold) as (bot, script):
        await asked(bot, "emergency scale-down")
        await bot.slack.submit_view("alice", ticked())
        first = await bot.card("🔄 *Running*", channel="inc-42")
        run = (await bot.desk.runs("prod"))[0]
        await bot.slack.command("bob", "inc-42", "emergency disable cedar-agent --target prod")
        refused = await bot.says_to(BOB, f"prod is held by run {run.id} (emergency scale-down", channel="inc-42")
        assert "ts card is in" in everything(refused)
        assert f"p{first.ts.replace('.', '')}|To the card>" in everything(refused)
        await bot.slack.command("alice", "ops", "locks")
        await bot.says_to(ALICE, f"🚨 *prod* is held by `{run.id}`")
        assert len(await bot.desk.runs("prod")) == 1
        hold.set()
        done = await bot.card("✅ *Done*", channel="inc-42")
        assert done.ts == first.ts
        assert len(script.seen) == 1


async def test_the_card_counts_what_is_done_out_of_all_and_says_afterwards_what_is_down(
    slack: SlackWorkspace, tmp_path: Path
) -> None:
    hold = asyncio.Event()
    async with bad_day(slack, tmp_path, go=hold, progress=("12 of 40 down",)) as (bot, _):
        await asked(bot, "emergency scale-down")
        await bot.slack.submit_view("alice", ticked(0))
        running = await bot.card("🔄 *Running*", "12 of 40 down", channel="inc-42")
        assert "0 of 1" not in everything(running), "one count is enough"
        hold.set()
        done = await bot.card("✅ *Done*", "*Taken down at <!date^", "Everything is denied.", channel="inc-42")
        assert "aeterna-opal-server" not in everything(done), "what was left alone is not down"


async def test_an_emergency_stops_a_running_upgrade_at_its_next_safe_point_and_both_cards_say_so(
    day: tuple[Bot, Emergency],
) -> None:
    bot, script = day
    script.steps[0].go = asyncio.Event()
    card = await bot.upgrade_waiting()
    await bot.slack.click("bob", "ops", card.ts, "run_approve")
    await bot.card("🔄 *Running*")
    upgrade = (await bot.desk.runs("prod"))[0]
    await asked(bot, "emergency scale-down")
    await bot.slack.submit_view("alice", ticked())
    done = await bot.card("✅ *Done*", f"|{upgrade.id}>", channel="inc-42")
    assert f"goes before <{bot.slack.url}" in everything(done)
    emergency = (await bot.desk.runs("prod"))[0]
    stopped = await bot.card("⏹️ *Cancelled*", f"|{emergency.id}> of <@U0ALICE>", "pre-empted by <")
    assert stopped.ts == card.ts
    assert done.ts != card.ts
    assert "Pre-empted by the emergency" in everything(stopped)
    before = (await bot.desk.run(upgrade.id)).ended_at
    after = (await bot.desk.run(emergency.id)).started_at
    assert before is not None
    assert after is not None
    assert before <= after, "nothing of the emergency began while a step of the upgrade was under way"


async def test_a_dry_run_ends_with_its_plan_and_asks_nobody(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    await bot.slack.command("alice", "inc-42", "emergency scale-down --all —dry-run --target prod")
    card = await bot.card("Dry run: nothing was changed.", "aeterna-cedar-agent 2 → 0", channel="inc-42")
    assert card.buttons == []
    assert bot.slack.modal is None
    run = (await bot.desk.runs("prod"))[0]
    assert (run.state, run.dry_run, run.inputs) == (RunState.SUCCEEDED, True, {"all": "true"})
    await bot.slack.command("alice", "ops", "upgrade 0.2.1 --dry-run")
    await bot.card("Dry run: nothing was changed.", "dry run")
    await bot.slack.command("alice", "ops", "status --dry-run")
    await bot.says_to(ALICE, "status changes nothing anyway")
    assert script.seen == []


async def test_a_confirmation_that_comes_too_late_changes_nothing(slack: SlackWorkspace, tmp_path: Path) -> None:
    brief = replace(QUICK, expires=timedelta(milliseconds=300))
    async with bad_day(slack, tmp_path, policy=brief) as (bot, script):
        await asked(bot, "emergency scale-down")
        await asyncio.sleep(0.4)  # the database's clock decides, not ours
        await bot.slack.submit_view("alice", ticked())
        await bot.slack.wait_until(lambda w: "Not done" in json.dumps(w.modal))
        assert script.seen == []


async def test_slack_that_says_429_holds_up_no_emergency(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    bot.slack.faults.add("ratelimited", "views.open", times=1, retry_after=1)
    await bot.slack.command("alice", "inc-42", "emergency scale-down --target prod")
    card = await bot.card("Ready to be confirmed", channel="inc-42")
    for method in ("chat.update", "chat.postMessage", "views.update", "chat.postEphemeral"):
        bot.slack.faults.add("ratelimited", method, times=3, retry_after=2)
    await bot.slack.click("alice", "inc-42", card.ts, "run_confirm")
    await filled(bot)
    await bot.slack.submit_view("alice", ticked())
    await bot.slack.wait_until(lambda workspace: workspace.modal is None)
    run = (await bot.desk.runs("prod"))[0]
    async with asyncio.timeout(5):
        while (run := await bot.desk.run(run.id)).state is not RunState.SUCCEEDED:
            await bot.outbox.wait(0.05)
    assert "Done" not in everything(await bot.card(run.id, channel="inc-42")), "the cluster first, then the card"
    await bot.card("✅ *Done*", channel="inc-42", within=30)
    assert len(script.seen) == 1


async def test_where_slack_opens_no_dialog_typing_confirms(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    bot.slack.faults.add("ratelimited", "views.open", times=2, retry_after=1)
    await bot.slack.command("alice", "inc-42", "emergency scale-down --target prod")
    card = await bot.card("Ready to be confirmed", channel="inc-42")
    run = (await bot.desk.runs("prod"))[0]
    await bot.slack.click("alice", "inc-42", card.ts, "run_confirm")
    await bot.says_to(ALICE, f"Or type `/aeterna approve {run.id}`", channel="inc-42")
    await bot.slack.command("alice", "inc-42", f"approve {run.id}")
    await bot.card("✅ *Done*", "alone", channel="inc-42")
    assert script.seen == [()]


async def test_wrong_second_words_and_unknown_components_name_the_nearest(day: tuple[Bot, Emergency]) -> None:
    bot, _ = day
    await bot.slack.command("alice", "ops", "emergency scaledown")
    await bot.says_to(
        ALICE, "I do not know 'scaledown' after 'emergency'", "Did you mean `/aeterna emergency scale-down"
    )
    await bot.slack.command("alice", "ops", "emergency")
    await bot.says_to(ALICE, "What of 'emergency'?", "`emergency disable COMPONENT [--dry-run]`")
    await bot.slack.command("alice", "ops", "emergency disable opalserver")
    await bot.says_to(ALICE, "There is no component 'opalserver'", "Did you mean `opal-server`?", "`qdrant`")
    await bot.slack.command("alice", "ops", "emergency disable")
    await bot.says_to(ALICE, "Which component?", "prod has `server`")
    await bot.slack.command("carol", "ops", "help")
    assert "emergency" not in everything(await bot.says_to(CAROL, "What you can ask for"))
    await bot.slack.command("alice", "ops", "help")
    await bot.says_to(ALICE, "`emergency scale-down [--all] [--dry-run]`")


async def failed_upgrade(bot: Bot, script: Emergency) -> Message:
    script.steps[1].failure = Permanent("Pod aeterna-1 crashes.")
    card = await bot.upgrade_waiting()
    await bot.slack.click("bob", "ops", card.ts, "run_approve")
    return await bot.card("🆘 *Needs a decision*")


async def test_a_failed_card_scales_down_and_its_card_restores(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    card = await failed_upgrade(bot, script)
    assert card.buttons == ["Retry", "Roll back to 3 (0.2.0)", "Stop here", "Scale down…", "Disable a component…"]
    action = next(one["action_id"] for one in card.elements if one["text"]["text"] == "Scale down…")
    await bot.slack.click("carol", "ops", card.ts, action)
    await bot.says_to(CAROL, "You need the permission `emergency`")
    await bot.slack.click("alice", "ops", card.ts, action)
    await filled(bot)
    await bot.slack.close_view("alice")
    waiting = await bot.card("🚨 Scale down prod", "Ready for approval")
    await bot.slack.click("bob", "ops", waiting.ts, "run_confirm")
    await filled(bot)
    await bot.slack.submit_view("bob", ticked())
    done = await bot.card("🚨 Scale down prod", "✅ *Done*")
    (restore,) = done.elements
    assert restore["text"]["text"] == "Restore…"
    await bot.slack.wait_until(lambda workspace: workspace.modal is None)
    await bot.slack.click("alice", "ops", done.ts, restore["action_id"])
    await filled(bot)
    await bot.card("🟢 Restore prod", "Ready for approval")


async def test_a_dialog_whose_plan_takes_longer_than_the_acknowledgement_is_filled_afterwards(
    day: tuple[Bot, Emergency],
) -> None:
    bot, script = day
    card = await failed_upgrade(bot, script)
    script.slow = asyncio.Event()
    await choose_component(bot, card, "cedar-agent")
    await bot.slack.wait_until(lambda w: "Reading the cluster of prod" in json.dumps(w.modal, ensure_ascii=False))
    script.slow.set()
    await filled(bot)


async def choose_component(bot: Bot, card: Message, name: str) -> None:
    action = next(one["action_id"] for one in card.elements if one["text"]["text"] == "Disable a component…")
    await bot.slack.click("alice", "ops", card.ts, action)
    await bot.slack.wait_until(lambda w: w.modal is not None and w.modal.get("callback_id") == "emergency")
    modal = bot.slack.modal
    assert modal is not None
    (chooser,) = [block for block in modal["blocks"] if block["type"] == "input"]
    names = [option["text"]["text"].partition(" ")[0] for option in chooser["element"]["options"]]
    chosen = {"value": str(names.index(name)), "text": {"type": "plain_text", "text": "…"}}
    await bot.slack.submit_view("alice", {"component": {"value": {"type": "static_select", "selected_option": chosen}}})


async def test_a_component_is_chosen_disabled_enabled_and_made_permanent(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    card = await failed_upgrade(bot, script)
    await choose_component(bot, card, "opal-server")
    await filled(bot)
    await bot.slack.close_view("alice")
    waiting = await bot.card("🚨 Disable in prod · opal-server", "Ready for approval")
    await bot.slack.click("bob", "ops", waiting.ts, "run_confirm")
    await filled(bot)
    await bot.slack.submit_view("bob", ticked())
    done = await bot.card("🚨 Disable in prod · opal-server", "✅ *Done*")
    assert done.buttons == ["Enable opal-server…", "Make it permanent"]
    await bot.slack.click("alice", "ops", card.ts, "run_stop")
    await bot.card("❌ *Failed*", "Stopped here")
    await bot.slack.click("alice", "ops", done.ts, "run_permanent")
    permanent = await bot.card("Upgrade prod", "Ready for approval", "*Supplied for this run*")
    assert "`opal.enabled` = `false`" in everything(permanent)
    run = (await bot.desk.runs("prod"))[0]
    assert (run.inputs, dict(run.supplied)) == ({"version": "0.2.0"}, {"opal.enabled": False})
