"""The runs that an answer offers to ask for: a button each, which carries nothing but an id."""

from __future__ import annotations

from typing import Any

from bot.engine.offers import OfferKind, asking, offers
from bot.settings import Permission
from bot.store.records import RunState, StepRecord, StepState
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


def test_a_run_that_changes_something_offers_no_other_run_this_way() -> None:
    assert not [one for one in offers(history(mutates=True)) if one.kind is OfferKind.ASK]
