"""The card in every state: what it shows, and that Slack takes it whatever the run holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.card import card, title
from bot.slack.render import Button, SlackMessage
from bot.slack.thread import reply
from bot.store.records import (
    ApprovalRecord,
    Decision,
    FindingRecord,
    OverrideRecord,
    PlanRecord,
    RunRecord,
    RunState,
    StepRecord,
    StepState,
    TickRecord,
)
from dev.slack.blocks import ALL_BLOCKS_TEXT, block_problems, text_length

START = datetime(2026, 1, 2, 10, tzinfo=UTC)


def plan(*findings: FindingRecord, **facts: Any) -> PlanRecord:
    known = {"rollback_to": {"revision": 3, "version": "0.2.0"}, "new_version": "0.2.1", **facts}
    return PlanRecord(digest="d1", findings=findings, facts=known, bindings={})


def step(number: int, state: StepState, summary: str = "", **more: Any) -> StepRecord:
    outcome = {"summary": summary, "facts": {}, **more.pop("outcome", {})} if summary else None
    return StepRecord(number, f"s{number}", "scripted", f"Step {number}", state, outcome=outcome, **more)


def a_run(state: RunState = RunState.AWAITING_APPROVAL, **changes: Any) -> RunRecord:
    base: dict[str, Any] = {
        "id": "r-abc234",
        "key": "k",
        "target": "prod",
        "runbook": "upgrade",
        "runbook_text": "",
        "inputs": {"version": "0.2.1"},
        "state": state,
        "mutates": True,
        "requested_by": "U0ALICE",
        "channel": "C0OPS",
        "created_at": START,
        "updated_at": START,
        "plan": plan(),
        "approvals_needed": 1,
    }
    return RunRecord(**{**base, **changes})


def shown(message: SlackMessage) -> str:
    parts: list[str] = []
    for block in message.blocks:
        if "elements" in block and block["type"] == "context":
            parts += [element["text"] for element in block["elements"]]
        elif "text" in block:
            parts.append(block["text"]["text"])
    return "\n".join(parts)


def accepted(message: SlackMessage) -> None:
    assert block_problems(list(message.blocks)) == []
    assert text_length(list(message.blocks)) <= ALL_BLOCKS_TEXT
    assert message.text


def test_a_waiting_card_says_who_has_to_decide_about_what_until_when() -> None:
    findings = (
        FindingRecord("values", "info", "2 values differ"),
        FindingRecord("schema", "warning", "`image.tag` is deprecated", "Use `image.version`."),
    )
    text = shown(card(a_run(plan=plan(*findings), expires_at=START + timedelta(hours=4))))
    assert "🚀 Upgrade prod · 0.2.0 → 0.2.1" in text
    assert "✋ *Ready for approval*: 1 warning · until <!date^" in text
    assert "0 of 1, needs someone else than <@U0ALICE>" in text
    assert "⚠️ `image.tag` is deprecated" in text
    assert "↳ Use `image.version`." in text
    assert "2 values differ" in text


def test_a_running_card_shows_the_bar_and_what_is_under_way() -> None:
    steps = (
        step(1, StepState.DONE, "backup b1", started_at=START, ended_at=START + timedelta(seconds=75)),
        step(2, StepState.RUNNING, progress="2 of 3 pods", started_at=START),
        step(3, StepState.PENDING),
    )
    voice = ApprovalRecord("U0BOB", Decision.APPROVE, "d1", START)
    message = card(a_run(RunState.RUNNING, steps=steps, approvals=(voice,), started_at=START))
    text = shown(message)
    assert "🟩🟦⬜  1 of 3" in text
    assert "✅ Step 1 · 1 min 15 s" in text
    assert "2 of 3 pods" in text
    assert "Approved by <@U0BOB>" in text
    assert message.text == "🚀 Upgrade prod · 0.2.0 → 0.2.1 · Running · 1 of 3 steps · r-abc234"


def test_a_failed_card_says_why_once_and_what_now() -> None:
    failed = step(1, StepState.FAILED, "pod x crashes", outcome={"way_out": "Look at the log."})
    text = shown(card(a_run(RunState.NEEDS_ATTENTION, steps=(failed,), note="Step 1: pod x crashes")))
    assert text.count("pod x crashes") == 1
    assert "*Why* pod x crashes" in text
    assert "*What now* Look at the log." in text


def test_a_rejection_shows_who_and_the_reason_as_plain_text() -> None:
    voice = ApprovalRecord("U0BOB", Decision.REJECT, "d1", START, reason="<!channel> *not* today")
    text = shown(card(a_run(RunState.REJECTED, approvals=(voice,))))
    assert "by <@U0BOB>: &lt;!channel&gt; ∗not∗ today" in text


def test_approvals_for_an_older_plan_do_not_count_on_the_card() -> None:
    voice = ApprovalRecord("U0BOB", Decision.APPROVE, "older", START)
    text = shown(card(a_run(approvals=(voice,), approvals_needed=2)))
    assert "0 of 2" in text
    assert "U0BOB" not in text


def test_many_findings_are_folded_with_the_way_to_the_rest() -> None:
    findings = tuple(FindingRecord("c", "warning", f"warning {n}") for n in range(30))
    run = a_run(plan=plan(*findings))
    assert "… and 22 more warnings: plan.json in the thread, or `/aeterna run r-abc234`" in shown(card(run))
    assert "warning 29" in shown(card(run, whole=True))


def test_steps_that_never_began_are_one_line_at_the_end() -> None:
    steps = (step(1, StepState.FAILED, "no"), *(step(n, StepState.PENDING) for n in range(2, 6)))
    assert "4 steps not begun" in shown(card(a_run(RunState.FAILED, steps=steps)))


def test_a_report_is_an_answer_without_steps() -> None:
    report = [
        {"title": "Workloads", "rows": [["Name", "Ready"], ["server", "3/3"], ["opal", "1/1"]]},
        {"title": "Release", "text": "aeterna 0.2.0"},
    ]
    done = step(1, StepState.DONE, "All healthy", outcome={"facts": {"report": report}})
    run = a_run(RunState.SUCCEEDED, runbook="status", mutates=False, inputs={}, plan=None, steps=(done,))
    text = shown(card(run))
    assert "📋 Status of prod" in text
    assert "✅ *All healthy*" in text
    assert "_Name · Ready_\n*server* · 3/3\n*opal* · 1/1" in text
    assert "Step 1" not in text


def test_a_plan_without_steps_shows_what_it_found_when_it_is_done() -> None:
    run = a_run(RunState.SUCCEEDED, runbook="plan", mutates=False, plan=plan(FindingRecord("c", "info", "3 changes")))
    assert "3 changes" in shown(card(run))


def test_a_rollback_is_called_by_its_revision() -> None:
    run = a_run(runbook="rollback", inputs={"revision": 3}, plan=None)
    assert title(run) == "↩️ Roll back prod · revision 3"


def test_a_plan_that_could_not_look_at_everything_is_called_incomplete() -> None:
    findings = (
        FindingRecord("c", "warning", "Could not look at nodes", code="unseen"),
        FindingRecord("c", "info", "i"),
    )
    text = shown(card(a_run(plan=plan(*findings))))
    assert "✋ *Ready for approval*: 1 warning, *incomplete*, 1 thing could not be looked at" in text


def test_the_way_back_names_what_a_migration_leaves() -> None:
    text = shown(card(a_run(plan=plan(migrations=[f"Job/m{number}" for number in range(5)]))))
    assert "what Job/m0, Job/m1, Job/m2 and 2 more changes in the database stays" in text


def test_a_card_says_first_what_the_plan_comes_to() -> None:
    blockers = (FindingRecord("c", "blocker", "b", code="x"), FindingRecord("c", "warning", "w"))
    assert "⛔ *Cannot go ahead*: blocked by 1, 1 warning" in shown(card(a_run(RunState.BLOCKED, plan=plan(*blockers))))
    assert "✋ *Ready for approval*: no warnings" in shown(card(a_run()))
    only_plan = a_run(RunState.SUCCEEDED, runbook="plan", mutates=False, plan=plan(blockers[1]))
    assert "✅ *Done*: 1 warning" in shown(card(only_plan))


def test_counts_of_objects_and_the_way_back_are_on_a_waiting_card() -> None:
    facts = {"objects_created": 2, "objects_changed": 14, "objects_removed": 0, "database_reversible": False}
    text = shown(card(a_run(plan=plan(**facts))))
    assert "*Objects* `+2 ~14 −0` 2 new, 14 changed" in text
    assert "↩️ *Back* to revision 3 (0.2.0) with one button; *the database cannot go back*" in text


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"database_reversible": True}, "; the notes say that the database can go back"),
        ({"database_reversible": None}, "; no notes say whether the database can go back"),
        ({"database_reversible": None, "no_database": True}, "with one button"),
        ({}, "with one button"),
    ],
)
def test_the_card_promises_of_the_database_what_notes_say_and_no_more(facts: dict[str, Any], said: str) -> None:
    text = shown(card(a_run(plan=plan(**facts))))
    line = next(line for line in text.splitlines() if "↩️ *Back*" in line)
    assert line.endswith(said)


def test_what_is_lost_is_named_with_the_step_that_backs_it_up_or_why_none_does() -> None:
    def lost(name: str, backup: str = "", unsaved: str = "") -> dict[str, str]:
        kind, _, name = name.partition("/")
        return {"because_of": "it", "kind": kind, "name": name, "backup": backup, "unsaved": unsaved}

    facts = {
        "steps": ["Back up PostgreSQL", "Upgrade with Helm"],
        "step_kinds": ["postgres.backup", "helm.upgrade"],
        "loses": [
            lost("Cluster/pg", "postgres.backup"),
            lost("PersistentVolumeClaim/pg-1", "postgres.backup"),
            lost("Dragonfly/cache", unsaved="no step backs it up"),
            lost("Secret/keys", unsaved="no backup holds a Secret"),
        ],
    }
    text = shown(card(a_run(plan=plan(**facts))))
    assert "💾 *Backed up before*, by Back up PostgreSQL: `Cluster/pg`, `PersistentVolumeClaim/pg-1`" in text
    assert "🕳️ *Not backed up*: `Dragonfly/cache` (no step backs it up)" in text
    assert "🕳️ *Not backed up*: `Secret/keys` (no backup holds a Secret)" in text
    without = {**facts, "steps": ["Upgrade with Helm"], "step_kinds": ["helm.upgrade"]}
    text = shown(card(a_run(plan=plan(**without))))
    assert "💾" not in text
    assert "`Cluster/pg`, `PersistentVolumeClaim/pg-1` (this run makes no backup of it)" in text


def test_breaking_changes_stand_before_the_other_warnings() -> None:
    findings = (
        FindingRecord("c", "warning", "deprecated"),
        FindingRecord("c", "warning", "0.2.0: the API changed", code="changelog.breaking"),
    )
    text = shown(card(a_run(plan=plan(*findings))))
    assert text.index("💥 0.2.0: the API changed") < text.index("⚠️ deprecated")


def test_an_override_names_who_and_why_and_its_blocker_is_shown_as_lifted() -> None:
    finding = FindingRecord("c", "blocker", "data goes", "Keep it.", code="data.loss", override="override")
    mine = OverrideRecord("U0CAROL", "data.loss", "d1", "<!here> it is copied", START)
    old = OverrideRecord("U0BOB", "data.loss", "older", "before", START)
    text = shown(card(a_run(plan=plan(finding), overrides=(old, mine))))
    assert "✋ *Ready for approval*: 1 blocker overridden" in text
    assert "🔓 data goes" in text
    assert "Keep it." not in text
    assert "🔓 *Overridden* by <@U0CAROL>: `data.loss`" in text
    assert "“&lt;!here&gt; it is copied”" in text
    assert "U0BOB" not in text


def test_supplied_values_are_shown_without_secrets_and_what_is_left_out_is_said() -> None:
    supplied = {"db.password": "hunter22", "a.url": "https://u:pw@host/x", **{f"v.n{n}": n for n in range(12)}}
    text = shown(card(a_run(supplied=supplied)))
    assert "`db.password` = `[redacted]`" in text
    assert "hunter22" not in text
    assert "pw@" not in text
    assert "… and 4 more values: plan.json in the thread" in text


def test_shortened_findings_say_where_the_whole_text_is() -> None:
    text = shown(card(a_run(plan=plan(FindingRecord("c", "warning", "long " * 200)))))
    assert "✂️ What ends in … is shortened; whole: plan.json in the thread" in text


def test_a_table_without_column_names_has_no_empty_heading() -> None:
    report = [{"rows": [["", ""], ["server", "3/3"]]}, {"rows": [["", "Ready", ""], ["x", "1", ""]]}]
    done = step(1, StepState.DONE, "Well", outcome={"facts": {"report": report}})
    run = a_run(RunState.SUCCEEDED, runbook="status", mutates=False, plan=None, steps=(done,))
    text = shown(card(run))
    assert "_ · _" not in text
    assert "*server* · 3/3" in text
    assert "_Ready_\n*x* · 1" in text


def test_evidence_named_like_a_file_comes_as_that_file() -> None:
    body = {
        "text": "The plan in full",
        "evidence": [
            {"title": "plan.json", "text": "{}\n"},
            {"title": "values.diff", "text": "- a\n+ b"},
            {"title": "values.diff", "text": "another"},
            {"title": "Events", "text": "none"},
        ],
    }
    made = reply(body)
    assert made is not None
    files = [(file.name, file.content) for file in made.files]
    assert files == [("plan.json", "{}\n"), ("values.diff", "- a\n+ b"), ("2-values.diff", "another")]
    assert "📎 `plan.json`, `values.diff`, `2-values.diff`" in shown(made.message)


TEXTS = st.text(max_size=1500)
FINDINGS = st.builds(
    FindingRecord,
    TEXTS,
    st.sampled_from(["blocker", "warning", "info", "odd"]),
    TEXTS,
    TEXTS,
    st.sampled_from(["", "data.loss", "changelog.breaking"]),
)
CHECKLIST = st.lists(
    st.fixed_dictionaries({"id": st.sampled_from("abc"), "when": st.sampled_from(["before", "after"]), "text": TEXTS}),
    max_size=30,
)
SUPPLIED = st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(), st.lists(TEXTS, max_size=3)), max_size=15)
OVERRIDES = st.lists(
    st.builds(OverrideRecord, st.just("U0CAROL"), TEXTS, st.just("d1"), TEXTS, st.just(START)), max_size=15
)
STEPS = st.builds(
    lambda number, title_, state, summary, way_out: StepRecord(
        number, "s", "u", title_, state, attempt=2, progress=summary, started_at=START,
        outcome={"summary": summary, "way_out": way_out, "facts": {}}, ended_at=START + timedelta(seconds=number),
    ),
    st.integers(1, 99), TEXTS, st.sampled_from(StepState), TEXTS, TEXTS,
)  # fmt: skip


@given(
    st.sampled_from(RunState),
    st.lists(FINDINGS, max_size=30),
    st.lists(STEPS, max_size=30),
    TEXTS,
    st.booleans(),
    st.text(max_size=300),
    CHECKLIST,
    SUPPLIED,
    OVERRIDES,
)
def test_slack_takes_every_card(
    state: RunState,
    findings: list[FindingRecord],
    steps: list[StepRecord],
    note: str,
    whole: bool,
    label: str,
    checklist: list[dict[str, str]],
    supplied: dict[str, Any],
    overrides: list[OverrideRecord],
) -> None:
    run = a_run(
        state,
        plan=plan(*findings, checklist=checklist),
        steps=tuple(steps),
        note=note,
        inputs={"version": note},
        supplied=supplied,
        overrides=tuple(overrides),
        ticks=(TickRecord("U0BOB", "a", START),),
    )
    message = card(run, buttons=[Button(label, "run_approve", "r-abc234", confirm=label)], whole=whole)
    accepted(message)
    assert message.blocks[-1]["type"] == "actions"


@pytest.mark.parametrize("state", list(RunState))
def test_every_state_has_words(state: RunState) -> None:
    assert "*" in shown(card(a_run(state)))


REPORTS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"title": TEXTS, "text": st.text(max_size=6000)}),
        st.fixed_dictionaries({"title": TEXTS, "rows": st.lists(st.lists(TEXTS, max_size=5), max_size=30)}),
        TEXTS,
    ),
    max_size=30,
)


@given(REPORTS, TEXTS)
def test_slack_takes_every_report(parts: list[Any], summary: str) -> None:
    done = StepRecord(1, "s", "u", "t", StepState.DONE, outcome={"summary": summary, "facts": {"report": parts}})
    accepted(card(a_run(RunState.SUCCEEDED, runbook="status", mutates=False, plan=None, steps=(done,))))


@given(REPORTS)
def test_a_report_that_a_card_cannot_show_comes_whole_as_a_file(parts: list[Any]) -> None:
    done = StepRecord(1, "s", "u", "t", StepState.DONE, outcome={"summary": "x", "facts": {"report": parts}})
    text = shown(card(a_run(RunState.SUCCEEDED, runbook="status", mutates=False, plan=None, steps=(done,))))
    made = reply({"text": "x", "report": parts})
    if "✂️" in text or "more row" in text:
        assert made is not None
    if made is not None:
        accepted(made.message)
        (file,) = made.files
        assert file.name == "report.txt"
        for part in parts:
            cells = [cell for row in part.get("rows", []) for cell in row] if isinstance(part, dict) else [part]
            assert all(" ".join(cell.split()) in " ".join(file.content.split()) for cell in cells)


def test_a_table_with_more_rows_than_a_card_shows_names_the_file_with_all_of_them() -> None:
    rows = [[f"0.{number}.0", "upgrade", "2026-03-09"] for number in range(20)]
    report = [{"title": "Versions", "rows": [["Version", "", "Published"], *rows]}]
    done = step(1, StepState.DONE, "20 versions", outcome={"facts": {"report": report}})
    text = shown(card(a_run(RunState.SUCCEEDED, runbook="versions", mutates=False, plan=None, steps=(done,))))
    assert "*0.14.0*" in text
    assert "0.15.0" not in text
    assert "… and 5 more rows: `report.txt` in the thread." in text
    made = reply({"text": "20 versions", "report": report})
    assert made is not None
    assert "0.19.0   upgrade  2026-03-09" in made.files[0].content
    assert reply({"text": "20 versions", "report": [{"rows": [["A"], ["b"]]}]}) is None


@given(st.text(max_size=5000), st.lists(st.tuples(TEXTS, st.text(max_size=6000)), max_size=12))
def test_slack_takes_every_reply_and_what_is_cut_comes_as_a_file(text: str, evidence: list[tuple[str, str]]) -> None:
    body = {"text": text, "evidence": [{"title": title_, "text": whole} for title_, whole in evidence]}
    made = reply(body)
    assert made is not None
    accepted(made.message)
    whole_texts = {file.content for file in made.files}
    for _, whole in evidence[6:]:
        assert whole.rstrip("\n") in {text.rstrip("\n") for text in whole_texts}
    assert len({file.name for file in made.files}) == len(made.files)


def test_a_long_log_shows_its_end_and_names_the_file_with_the_whole() -> None:
    log = "\n".join(f"line {number}" for number in range(200))
    made = reply({"text": "It crashed", "evidence": [{"title": "Log of pod x", "text": log}]})
    assert made is not None
    text = shown(made.message)
    assert "line 199" in text
    assert "line 10\n" not in text
    assert "185 lines before: 1-log-of-pod-x.txt" in text
    assert [(file.name, file.content) for file in made.files] == [("1-log-of-pod-x.txt", log)]
