"""The runs that an answer offers to ask for: a button each, which carries nothing but an id."""

from __future__ import annotations

from typing import Any

import pytest

from bot.engine.offers import RECOVERIES, Asking, OfferKind, asking, chosen, offers, plan_mark
from bot.settings import Permission
from bot.store.records import PlanRecord, RunState, StepRecord, StepState
from handlers.buttons import buttons
from tests.unit.test_slack_card import a_run

BACK = [
    {"runbook": "rollback", "inputs": {"revision": str(number)}, "label": f"Roll back to {number} (0.{number}.0)"}
    for number in (3, 1)
]


def history(found: Any = BACK, *, mutates: bool = False) -> Any:
    outcome = {"summary": "3 revisions.", "facts": {"offers": found}}
    step = StepRecord(1, "history", "report.history", "History", StepState.DONE, outcome=outcome)
    return a_run(RunState.SUCCEEDED, runbook="history", mutates=mutates, steps=(step,), plan=None)


def test_an_answer_has_a_button_for_each_run_that_it_offers() -> None:
    made = buttons(history())
    assert [one.label for one in made] == ["Roll back to 3 (0.3.0)", "Roll back to 1 (0.1.0)"]
    assert len({one.action for one in made}) == 2, "Slack wants each button of a row under a name of its own"
    assert [one.value for one in made] == ["r-abc234:0", "r-abc234:1"]
    assert {one.permission for one in offers(history()) if one.kind is OfferKind.ASK} == {Permission.ROLLBACK}


def test_a_button_asks_for_the_run_that_it_stands_for() -> None:
    wanted = asking(history(), "r-abc234:1")
    assert wanted is not None
    assert (wanted.runbook, wanted.inputs) == ("rollback", {"revision": "1"})


def test_a_value_that_names_nothing_asks_for_nothing() -> None:
    for value in ("r-abc234:2", "r-abc234:x", "r-abc234", "r-abc234:-1"):
        assert asking(history(), value) is None
    assert asking(history(None), "r-abc234:0") is None


def test_a_run_that_changed_something_offers_no_other_run_this_way() -> None:
    assert not [one for one in offers(history(mutates=True)) if one.kind is OfferKind.ASK]


def test_a_run_that_changed_something_offers_the_ways_back_that_its_steps_tell_when_it_has_succeeded() -> None:
    undo = {
        "runbook": "recover-volumes",
        "inputs": {"claim": "data-0", "from": "data-0-before-r-1"},
        "label": "Go back",
    }
    step = StepRecord(1, "swap", "volumes.swap", "Swap", StepState.DONE, outcome={"facts": {"undo": [undo]}})
    verified = StepRecord(2, "verify", "verify.release", "Verify", StepState.DONE, outcome={"facts": {}})
    run = a_run(RunState.SUCCEEDED, runbook="recover-volumes", mutates=True, steps=(step, verified))
    assert ways(run) == ["Go back"]
    wanted = asking(run, f"{run.id}:0")
    assert wanted is not None
    assert wanted.inputs == undo["inputs"]


def test_a_recovery_of_volumes_that_did_not_come_to_its_end_offers_to_start_what_it_holds() -> None:
    labels = [one.label for one in offers(failed("recover-volumes", RunState.FAILED, holds=[{"subject": "x"}]))]
    assert "Restore…" in labels
    assert "Restore…" not in [one.label for one in offers(failed("recover-volumes", RunState.FAILED, holds=[]))]


def failed(runbook: str, state: RunState = RunState.NEEDS_ATTENTION, **facts: Any) -> Any:
    step = StepRecord(1, "rollback", "helm.rollback", "Roll back", StepState.FAILED)
    plan = PlanRecord("d" * 64, (), facts, {})
    return a_run(state, runbook=runbook, mutates=True, steps=(step,), plan=plan)


def ways(run: Any) -> list[str]:
    return [one.label for one in offers(run) if one.kind is OfferKind.ASK]


@pytest.mark.parametrize("state", [RunState.NEEDS_ATTENTION, RunState.FAILED])
def test_a_failed_rollback_offers_the_ways_to_recover(state: RunState) -> None:
    run = failed("rollback", state)
    assert ways(run) == list(RECOVERIES.values())
    first = next(one for one in offers(run) if one.kind is OfferKind.ASK)
    assert first.permission is Permission.ROLLBACK
    assert ("ends run" in str(first.confirm)) == (state is RunState.NEEDS_ATTENTION)
    assert asking(run, first.value) == Asking("recover-restart", {})


def test_what_can_be_rolled_back_is_rolled_back_first_and_no_recovery_offers_itself() -> None:
    assert ways(failed("upgrade", rollback_to={"revision": 1, "version": "0.2.0"})) == []
    assert ways(failed("upgrade")) == list(RECOVERIES.values())
    assert RECOVERIES["recover-restart"] not in ways(failed("recover-restart"))
    assert RECOVERIES["recover-database"] not in ways(failed("rollback", no_database=True))
    assert ways(failed("rollback", RunState.CANCELLED)) == []


def test_a_plan_offers_what_it_could_do_instead_and_not_what_it_does() -> None:
    found = [
        {"label": f"Take {name}", "text": name, "values": {"backup": name}, "taken": name == "before"}
        for name in ("before", "nightly", "older")
    ]
    waiting = a_run(
        RunState.AWAITING_APPROVAL, runbook="recover-database", plan=PlanRecord("d" * 64, (), {"choices": found}, {})
    )
    made = [one for one in offers(waiting) if one.kind is OfferKind.CHOOSE]
    assert [one.label for one in made] == ["Take nightly", "Take older"]
    assert made[0].value == f"{plan_mark(waiting)}:1"
    assert chosen(waiting, "1") == {"backup": "nightly"}
    assert chosen(waiting, "3") is None
    assert [one.label for one in buttons(waiting) if one.apart] == ["Take nightly", "Take older"]
