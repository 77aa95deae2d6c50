"""A restored database is used by a planned upgrade, which its run's card offers once it is there, and not before."""

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
