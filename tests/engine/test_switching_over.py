"""What is restored is chosen on the card; the database is used by a planned upgrade, offered once it is there and not before."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.engine.offers import OfferKind, offers, plan_mark
from bot.errors import Refused
from bot.settings import Permission
from bot.store.records import RunState
from tests.engine.harness import ALICE, BOB, running
from tests.engine.scripted import ScriptedRunbooks, ScriptedStep, World, kind, runbook

VALUES = {"postgresql.bundled": False, "postgresql.external.host": "db-r1-rw"}


async def test_a_restored_database_offers_the_upgrade_that_uses_it(database_url: str, tmp_path: Path) -> None:
    world = World(facts={"current_version": "0.2.1", "permanent": VALUES})
    step = ScriptedStep("restore", kind(world, "restore"))
    books = ScriptedRunbooks(runbook(world, step, name="recover-database"), runbook(world, step))
    async with running(database_url, books, tmp_path) as replica:
        asked = await replica.ask("recover-database", backup="before")
        waiting = await replica.until(asked.id, RunState.AWAITING_APPROVAL)
        with pytest.raises(Refused):
            await replica.desk.make_permanent(asked.id, user=ALICE, key="early", channel="C0OPS")
        await replica.desk.approve(plan_mark(waiting), user=BOB)
        done = await replica.until(asked.id, RunState.SUCCEEDED)
        (offer,) = offers(done)
        assert (offer.kind, offer.label, offer.permission) == (OfferKind.PERMANENT, "Switch over", Permission.UPGRADE)
        upgrade = await replica.desk.make_permanent(done.id, user=ALICE, key="press", channel="C0OPS")
        assert (upgrade.runbook, upgrade.inputs, upgrade.supplied) == ("upgrade", {"version": "0.2.1"}, VALUES)
        await replica.until(upgrade.id, RunState.AWAITING_APPROVAL)


async def test_what_a_plan_offers_instead_is_planned_in_the_same_run_and_an_old_card_chooses_nothing(
    database_url: str, tmp_path: Path
) -> None:
    taken = [{"label": f"Take {name}", "text": name, "values": {"backup": name}} for name in ("before", "nightly")]
    world = World(facts={"choices": taken})
    books = ScriptedRunbooks(runbook(world, ScriptedStep("restore", kind(world, "restore")), name="recover-database"))
    async with running(database_url, books, tmp_path) as replica:
        asked = await replica.ask("recover-database")
        waiting = await replica.until(asked.id, RunState.AWAITING_APPROVAL)
        first, second = (one for one in offers(waiting) if one.kind is OfferKind.CHOOSE)
        with pytest.raises(Refused, match="does not offer that any more"):
            await replica.desk.choose(f"{plan_mark(waiting)}:2", user=ALICE)
        await replica.desk.choose(second.value, user=ALICE)
        again = await replica.until(asked.id, RunState.AWAITING_APPROVAL)
        assert (again.id, again.supplied) == (asked.id, {"backup": "nightly"})
        with pytest.raises(Refused, match="The plan has changed since this card was shown"):
            await replica.desk.choose(first.value, user=ALICE)
        with pytest.raises(Refused, match="The plan has changed since this card was shown"):
            await replica.desk.approve(plan_mark(waiting), user=BOB)
        await replica.desk.approve(plan_mark(again), user=BOB)
        await replica.until(asked.id, RunState.SUCCEEDED)
        with pytest.raises(Refused, match="is succeeded now"):
            await replica.desk.choose(f"{plan_mark(again)}:0", user=ALICE)
