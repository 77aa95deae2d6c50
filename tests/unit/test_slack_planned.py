"""A plan on the card: short enough for a phone, and nothing left out without a line that says so."""

from __future__ import annotations

from bot.slack.card import card
from bot.store.records import FindingRecord, RunState
from handlers.buttons import buttons
from tests.unit.test_slack_card import a_run, plan, shown

REST = "plan.json in the thread, or `/aeterna run r-abc234`"


def breaking(text: str) -> FindingRecord:
    return FindingRecord("changelog", "warning", text, code="changes.breaking")


def test_breaking_changes_are_counted_apart_and_said_without_the_word_that_their_sign_says() -> None:
    findings = (breaking("0.3.0: BREAKING: a key is gone. (chart annotations)"), FindingRecord("c", "warning", "w"))
    message = card(a_run(plan=plan(*findings)))
    assert "✋ *Ready for approval*: 1 breaking change, 1 warning" in shown(message)
    assert "💥 0.3.0: a key is gone. (chart annotations)" in shown(message)
    assert "1 breaking change, 1 warning" in message.text


def test_many_breaking_changes_do_not_push_the_warnings_off_the_card() -> None:
    findings = (*(breaking(f"0.3.0: change {number}") for number in range(20)), FindingRecord("c", "warning", "quota"))
    text = shown(card(a_run(plan=plan(*findings))))
    assert f"… and 12 more breaking changes: {REST}" in text
    assert "⚠️ quota" in text
    assert "change 19" in shown(card(a_run(plan=plan(*findings)), whole=True))


def test_many_notes_are_one_line_that_says_where_they_are() -> None:
    notes = tuple(FindingRecord("c", "info", f"note {number}") for number in range(4))
    text = shown(card(a_run(plan=plan(*notes))))
    assert f"▪️ 4 notes: {REST}" in text
    assert "note 0" not in text
    assert "note 3" in shown(card(a_run(plan=plan(*notes)), whole=True))
    assert "note 2" in shown(card(a_run(plan=plan(*notes[:3]))))


def test_the_longest_step_says_how_that_is_known() -> None:
    def text(seconds: float, runs: int, state: RunState = RunState.AWAITING_APPROVAL) -> str:
        longest = {"title": "Upgrade with Helm", "seconds": seconds, "runs": runs}
        return shown(card(a_run(state, plan=plan(longest_step=longest))))

    assert "⏱️ *Longest step* Upgrade with Helm: up to 2 min 5 s in the last 3 runs" in text(125, 3)
    assert "⏱️ *Longest step* Upgrade with Helm: 3.1 s last time" in text(3.1, 1)
    assert "⏱️ *Longest step* Upgrade with Helm: at most 15 min, its limit; it was not done here before" in text(900, 0)
    assert "Longest step" not in text(900, 0, RunState.BLOCKED), "nothing can start"
    assert "Longest step" not in shown(card(a_run(plan=plan(longest_step=None))))


def test_what_may_go_wrong_stands_before_what_will_be_done_and_the_way_back_last() -> None:
    found = plan(FindingRecord("c", "warning", "quota"), steps=["Back up", "Upgrade"])
    text = shown(card(a_run(plan=found)))
    places = [text.index(part) for part in ("⚠️ quota", "*What will be done*\nBack up → Upgrade", "↩️ *Back*")]
    assert places == sorted(places)


def test_a_void_approval_catches_the_eye() -> None:
    note = "The approval is void; changed meanwhile: values. Nothing was done; this is the plan as of now."
    for state in (RunState.AWAITING_APPROVAL, RunState.BLOCKED):
        text = shown(card(a_run(state, note=note)))
        assert "♻️ *The approval is void*; changed meanwhile: values. Nothing was done" in text


def test_the_button_of_a_thing_to_do_fits_a_line_and_its_whole_text_stands_on_the_card() -> None:
    text = "See that nobody relies on the level in aeterna.logging.level; it falls back to info."
    run = a_run(plan=plan(checklist=[{"id": "1", "when": "before", "text": text}]))
    assert [one.label for one in buttons(run)] == [
        "Done: See that nobody relies on the level in…",
        "Approve",
        "Reject",
    ]
    assert f"◻️ {text}" in shown(card(run, buttons=buttons(run)))
