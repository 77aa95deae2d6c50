"""Emergencies without a workspace: the words that are typed, what a runbook says, the dialog and the card."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import yamlfile
from bot.engine.contract import Input, as_typed
from bot.engine.offers import OfferKind, offers
from bot.errors import Refused, UserMistake
from bot.settings import ChartSection, Permission, Target
from bot.slack import modal
from bot.slack.card import card
from bot.slack.modal import Field
from bot.store.records import (
    ApprovalRecord,
    Decision,
    Lane,
    PlanRecord,
    RunRecord,
    RunState,
    StepRecord,
    StepState,
)
from dev.slack.blocks import block_problems, view_problems
from handlers import confirming
from handlers.parsing import parse
from runbooks import loader
from runbooks.library import RunbookLibrary
from runbooks.registry import shipped_registry
from tests.unit.test_slack_card import START, a_run, accepted, shown

KNOWN = {
    "emergency-disable": ("dry-run",),
    "emergency-scale-down": ("all", "dry-run"),
    "upgrade": ("dry-run",),
    "status": ("dry-run",),
}
PROD = Target(
    name="prod", namespace="aeterna", release="aeterna", chart=ChartSection(name="aeterna", repo="http://127.0.0.1/")
)
EMERGENCY = """\
name: emergency-stop
summary: Stop it
emergency: true
inputs:
  component: {type: component, required: true}
  all: {type: bool}
plan:
  - {check: helm.release}
approval: {incident: emergency, expires: 15m}
"""


def emergency(state: RunState = RunState.AWAITING_APPROVAL, *, parts: int = 3, **changes: Any) -> RunRecord:
    stops = [
        {"component": f"part-{n}", "text": f"Deployment part-{n} 2 → 0", "impact": "*All* stops.", "optional": n > 0}
        for n in range(parts)
    ]
    given_: dict[str, Any] = {
        "runbook": "emergency-scale-down",
        "inputs": {"all": False},
        "lane": Lane.EMERGENCY,
        "incident": "emergency",
        "plan": PlanRecord("d" * 64, (), {"stops": stops}, {}),
    }
    return a_run(state, **{**given_, **changes})


# -- words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "word", "arguments", "options"),
    [
        ("emergency disable opal-server", "emergency-disable", ("opal-server",), {}),
        ("Emergency Scale-Down --all --dry-run", "emergency-scale-down", (), {"all": "true", "dry-run": "true"}),
        ("emergency scale-down —all", "emergency-scale-down", (), {"all": "true"}),
        ("emergency scale-down --all=false", "emergency-scale-down", (), {"all": "false"}),
        ("emergency-disable qdrant", "emergency-disable", ("qdrant",), {}),
        ("emergency  disable   qdrant", "emergency-disable", ("qdrant",), {}),
        ("upgrade --dry-run 0.2.1", "upgrade", ("0.2.1",), {"dry-run": "true"}),
        ("emergency dance", "emergency", ("dance",), {}),
    ],
)
def test_two_words_are_one_where_that_is_known_and_flags_take_no_value(
    text: str, word: str, arguments: tuple[str, ...], options: dict[str, str]
) -> None:
    line = parse(text, KNOWN)
    assert (line.word, line.arguments, dict(line.options)) == (word, arguments, options)


def test_a_flag_leaves_the_target_alone() -> None:
    line = parse("emergency scale-down --all --target prod", KNOWN)
    assert (line.target, dict(line.options)) == ("prod", {"all": "true"})


@given(st.text(alphabet="emergncy disablowtu—-= 0.", max_size=60))
def test_any_line_is_read_or_refused_with_these_words_too(text: str) -> None:
    try:
        parse(text, KNOWN)
    except UserMistake:
        return


# -- runbooks -----------------------------------------------------------------------------------------------


def test_a_runbook_says_that_it_is_an_emergency_and_who_confirms_it() -> None:
    _, loaded = loader.load(yamlfile.parse(EMERGENCY, name="stop.yaml"), shipped_registry())
    assert (loaded.emergency, loaded.lane, loaded.permission) == (True, Lane.EMERGENCY, "emergency")
    assert loaded.approval is not None
    assert (loaded.approval.incident, loaded.approval.expires) == ("emergency", timedelta(minutes=15))
    assert loaded.inputs == (Input("component", "component", required=True), Input("all", "bool"))
    assert as_typed(loaded.name) == "emergency stop"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("approval: {incident: emergency, expires: 15m}\n", "", "an emergency is confirmed by a person"),
        ("{type: bool}", "{type: bool, required: true}", "a flag is never required"),
        ("{type: bool}", "{type: bool, default: perhaps}", "its default is true or false"),
        ("incident: emergency", "incident: nobody", "incident"),
    ],
)
def test_what_makes_no_sense_in_an_emergency_is_said_before_anybody_asks(old: str, new: str, said: str) -> None:
    with pytest.raises(UserMistake, match=said):
        loader.load(yamlfile.parse(EMERGENCY.replace(old, new), name="stop.yaml"), shipped_registry())


def test_flags_are_true_false_or_a_mistake() -> None:
    library = RunbookLibrary(shipped_registry())
    assert library.inputs("emergency-scale-down", {})["all"] is False
    assert library.inputs("emergency-scale-down", {"all": "true"})["all"] is True
    with pytest.raises(UserMistake, match="is there or not"):
        library.inputs("emergency-scale-down", {"all": "server"})
    assert library.usage("emergency-disable") == "/aeterna emergency disable COMPONENT"


# -- dialog and card ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 2, 11, 12, 101, 300])
def test_slack_takes_the_dialog_however_many_components_there_are(parts: int) -> None:
    view = confirming.view(emergency(parts=parts), PROD, ids="{}")
    assert view_problems(view) == []
    element = [block["element"] for block in view["blocks"] if block["type"] == "input"]
    kinds = ["checkboxes" if parts <= 11 else "multi_static_select"] if parts > 1 else []
    assert [one["type"] for one in element] == kinds * (-(-(parts - 1) // 100) or 1)
    assert sum(len(one["options"]) for one in element) == parts - 1, "everything that may be left alone is there"
    accepted(card(emergency(parts=parts)))


def test_components_beyond_the_last_list_are_counted_with_what_to_do_about_them() -> None:
    view = confirming.view(emergency(parts=531), PROD, ids="{}")
    assert view_problems(view) == []
    labels = [block["label"]["text"] for block in view["blocks"] if block["type"] == "input"]
    assert labels == [f"Leave alone ({first} to {first + 99} of 500)" for first in (1, 101, 201, 301, 401)]
    said = json.dumps(view, ensure_ascii=False)
    assert "30 more components cannot be left alone here" in said
    assert "disable the others one by one" in said


def test_what_was_ticked_in_the_second_list_is_found_too() -> None:
    run = emergency(parts=150)
    assert confirming.excepted(run, {"excepted": "0", "excepted-1": "48"}) == ("part-1", "part-149")
    with pytest.raises(Refused, match="The plan has changed"):
        confirming.excepted(run, {"excepted-1": "49"})


def test_the_dialog_is_called_for_what_goes_and_says_how_it_is_undone() -> None:
    view = confirming.view(emergency(), PROD, ids="{}")
    assert view["title"]["text"] == "Scale down prod"
    assert "A button on its card undoes it." in json.dumps(view)
    one = emergency(runbook="emergency-disable", inputs={"component": "cedar-agent"})
    assert confirming.view(one, PROD, ids="{}")["title"]["text"] == "Disable cedar-agent", "not the whole of prod"


def test_what_was_ticked_comes_back_as_components_and_nothing_else_does() -> None:
    run = emergency()
    options = [{"value": "1"}, {"value": "0"}]
    view = {"state": {"values": {"excepted": {modal.VALUE: {"type": "checkboxes", "selected_options": options}}}}}
    assert confirming.excepted(run, modal.given(view)) == ("part-2", "part-1")
    assert confirming.excepted(run, {}) == ()
    for wrong in ("2", "-1", "x"):
        with pytest.raises(Refused, match="The plan has changed"):
            confirming.excepted(run, {"excepted": wrong})
    assert not confirming.nothing_left(run, ["part-1", "part-2"])
    assert confirming.nothing_left(run, ["part-0", "part-1", "part-2"])


def test_a_run_that_waits_no_more_has_nothing_to_confirm() -> None:
    with pytest.raises(Refused, match="nothing to confirm"):
        confirming.view(emergency(RunState.RUNNING), PROD, ids="{}")


def test_a_field_of_which_none_need_be_chosen_is_optional() -> None:
    block = Field("x", "Leave alone", kind="several", choices=("a", "b")).block()
    assert block["optional"] is True
    assert block_problems([block]) == []


def test_the_card_of_an_emergency_says_what_stops_and_who_is_enough() -> None:
    text = shown(card(emergency()))
    assert "Ready to be confirmed" in text
    assert "One person with the permission `emergency` is enough here" in text
    assert "Deployment part-0 2 → 0" in text
    assert text.count("∗All∗ stops.") == 1, "the same impact is said once"
    confirm, reject = offers(emergency())
    assert (confirm.kind, confirm.label, confirm.permission) == (OfferKind.CONFIRM, "Confirm…", Permission.EMERGENCY)
    assert reject.permission is Permission.EMERGENCY


def test_who_may_confirm_an_emergency_may_also_cancel_retry_and_stop_it() -> None:
    for state in (RunState.QUEUED, RunState.RUNNING, RunState.NEEDS_ATTENTION, RunState.EXPIRED):
        found = offers(emergency(state, runbook="stop-everything"))
        assert found
        assert {offer.permission for offer in found} == {Permission.EMERGENCY}


def test_both_cards_of_a_pre_emption_name_each_other() -> None:
    urgent = emergency(RunState.QUEUED, preempts="r-old234", incident=None)
    assert "Starts as soon as `r-old234` is at a safe point" in shown(card(urgent))
    stopping = a_run(RunState.RUNNING, cancel_requested_by="U0CAROL", preempted_by="r-abc234")
    said = shown(card(stopping))
    assert "an emergency goes first" in said
    assert "pre-empted by `r-abc234` of <@U0CAROL>" in said


def test_a_confirmation_by_one_person_stands_on_the_card_with_what_it_left_out() -> None:
    voice = ApprovalRecord("U0ALICE", Decision.APPROVE, "d" * 64, START, alone=True)
    done = emergency(
        RunState.SUCCEEDED,
        approvals=(voice,),
        excepted=("part-1",),
        ended_at=START,
        steps=(StepRecord(1, "hold", "components.hold", "Take down", StepState.DONE),),
    )
    said = shown(card(done))
    assert "Confirmed by <@U0ALICE> alone, in an incident channel; left alone: `part-1`" in said
    assert "*Taken down at <!date^" in said
    assert "`part-0` Deployment part-0 2 → 0" in said
    assert "`part-1` Deployment" not in said
    assert [offer.label for offer in offers(done)] == ["Restore…"]


def test_what_a_disabled_component_offers_depends_on_what_its_plan_knows() -> None:
    steps = (StepRecord(1, "hold", "components.hold", "Take down", StepState.DONE),)
    facts = {"permanent": {"opal.enabled": False}, "current_version": "0.2.0"}
    for known, labels in ((facts, ["Enable opal…", "Make it permanent"]), ({}, ["Enable opal…"])):
        done = emergency(
            RunState.SUCCEEDED,
            runbook="emergency-disable",
            inputs={"component": "opal"},
            plan=PlanRecord("d" * 64, (), known, {}),
            steps=steps,
        )
        assert [offer.label for offer in offers(done)] == labels
    half = emergency(RunState.FAILED, runbook="emergency-disable", inputs={"component": "opal"}, steps=steps)
    assert [offer.label for offer in offers(half)] == ["Restore…", "Plan again"]
