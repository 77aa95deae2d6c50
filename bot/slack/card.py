"""The card of a run: one message that tells the whole story, edited in place. Pure: a run in, a message out.

Made for a phone: short lines, the state first, what a person has to decide last, right above the buttons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from types import MappingProxyType

from bot.slack import impact, planned, report, words
from bot.slack.markup import INDENT, code, cut, duration, literal, moment, one_line, prose
from bot.slack.render import Button, Page, SlackMessage
from bot.store.records import (
    Decision,
    RunRecord,
    RunState,
    StepRecord,
    StepState,
)

METADATA = "aeterna_run"
"""The metadata event type under which a card carries its run's id."""
_VOID = "The approval is void"
_IMPACT = 12
"""Objects of an emergency on its card; the dialog has more, the plan all."""
_WORTH_SAYING = timedelta(seconds=1)
_NOT_STARTED = {
    RunState.PLANNING,
    RunState.AWAITING_APPROVAL,
    RunState.BLOCKED,
    RunState.REJECTED,
    RunState.EXPIRED,
}
_STARTED = {RunState.RUNNING, RunState.NEEDS_ATTENTION, RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


def card(
    run: RunRecord,
    *,
    buttons: Sequence[Button] = (),
    command: str = "/aeterna",
    whole: bool = False,
    links: Mapping[str, str] = MappingProxyType({}),
) -> SlackMessage:
    """The card as it should look now. ``whole`` shows every finding, for the answer to ``run ID``.

    ``links`` are the addresses of other runs' cards, by the run's id, as far as they are known.
    """
    if (answer := report.answer(run)) is not None:
        return report.message(run, answer, buttons=buttons, title=title(run))
    page = Page(
        rest="All of it: `plan.json` in the thread." if whole else f"All of it: {code(f'{command} run {run.id}')}."
    )
    page.header(title(run))
    page.small(_who(run))
    page.section(_state(run))
    _progress(page, run)
    if run.plan is not None and planned.deciding(run):
        page.lines(impact.lines(run.plan.facts, most=_IMPACT))
    elif run.plan is not None and run.emergency and run.state is RunState.SUCCEEDED and run.ended_at:
        page.lines(impact.done(run.plan.facts, most=_IMPACT, excepted=run.excepted, at=run.ended_at))
    planned.show(page, run, command=command, whole=whole)
    _failure(page, run)
    _footer(page, run, links)
    page.buttons(buttons, block_id=f"run-{run.id}")
    return page.message(spoken(run))


def title(run: RunRecord) -> str:
    """``🚀 Upgrade prod · 0.2.0 → 0.2.1``."""
    sign, name = words.runbook(run.runbook)
    before, after = versions(run)
    change = f" · {before} → {after}" if before and after else f" · {after}" if after else ""
    if component := run.inputs.get("component"):
        change = f" · {_short(component)}"
    if (service := run.inputs.get("service")) and (host := run.inputs.get("host")):
        change = f" · {_short(service)} → {_short(host)}"
    return f"{sign} {name} {run.target}{change}"


def versions(run: RunRecord) -> tuple[str, str]:
    """From which version to which, as far as the plan or the inputs know."""
    facts = run.plan.facts if run.plan else {}
    back = facts.get("rollback_to")
    before = facts.get("current_version") or (back.get("version") if isinstance(back, dict) else None) or ""
    after = facts.get("new_version") or run.inputs.get("version") or ""
    if not after and run.inputs.get("revision"):
        after = f"revision {run.inputs['revision']}"
    return _short(before), _short(after)


def spoken(run: RunRecord) -> str:
    """The card in one sentence, for notifications and screen readers."""
    parts = [title(run), words.STATES[run.state][1]]
    if run.state in _STARTED and len(run.steps) > 1:
        parts.append(f"{_done(run)} of {len(run.steps)} steps")
    if run.failed_step is not None and run.state not in (RunState.RUNNING, RunState.ROLLED_BACK):
        parts.append(one_line(run.failed_step.summary, 200))
    elif run.state is RunState.AWAITING_APPROVAL:
        parts.append(planned.counts(run.plan.findings if run.plan else ()))
    return literal(" · ".join(part for part in parts if part)) + f" · {run.id}"


# -- parts --------------------------------------------------------------------------------------------------


def _done(run: RunRecord) -> int:
    return sum(step.state in (StepState.DONE, StepState.WARNING, StepState.SKIPPED) for step in run.steps)


def _short(version: object) -> str:
    return one_line(str(version), 40)


def _who(run: RunRecord) -> str:
    dry = " · dry run" if run.dry_run else ""
    return f"{code(run.id)} · asked by <@{run.requested_by}>{dry}"  # Slack itself shows when


def _state(run: RunRecord) -> str:
    sign, words_ = words.STATES[run.state]
    if run.state in (RunState.RUNNING, RunState.QUEUED, RunState.PLANNING) and run.cancel_requested_by:
        sign, words_ = "⏹️", f"Stopping at the next safe point, as <@{run.cancel_requested_by}> asked"
        if run.preempted_by:
            words_ = "Stopping at the next safe point: an emergency goes first"
    if run.state is RunState.QUEUED and run.preempts:
        words_ = f"Starts as soon as {code(run.preempts)} is at a safe point"
    if run.state is RunState.AWAITING_APPROVAL:
        words_ = "Ready to be confirmed" if run.incident else "Ready for approval"
    said = planned.verdict(run) if planned.deciding(run) and run.state is not RunState.PLANNING else ""
    found = f": {said}" if said else ""
    lines = [f"{sign} *{words_}*{found}{_span(run)}"]
    if voices := _voices(run):
        lines.append(voices)
    if run.note and not _said_below(run):
        said = prose(cut(run.note, 600))
        lines.append(f"♻️ *{_VOID}*{said.removeprefix(_VOID)}" if said.startswith(_VOID) else said)
    return "\n".join(lines)


def _said_below(run: RunRecord) -> bool:
    """The engine's note on a failure repeats the step's summary, which stands above the buttons."""
    step = run.failed_step
    return step is not None and bool(step.summary) and step.summary in run.note


def _span(run: RunRecord) -> str:
    if run.ended_at and run.started_at:
        return f" after {duration(run.ended_at - run.started_at)}"
    if run.state is RunState.AWAITING_APPROVAL and run.expires_at:
        return f" · until {moment(run.expires_at, form='{date_short_pretty} {time}')}"
    return ""


def _voices(run: RunRecord) -> str:
    """Who said yes or no; while the run waits, who is still missing."""
    rejected = next((voice for voice in reversed(run.approvals) if voice.decision is Decision.REJECT), None)
    if run.state is RunState.REJECTED and rejected:
        why = f": {literal(cut(rejected.reason, 300))}" if rejected.reason else ""
        return f"by <@{rejected.user}>{why}"
    if run.state is RunState.CANCELLED and run.cancel_requested_by and not run.note:
        return f"by <@{run.cancel_requested_by}>"  # nobody carried it, so nobody left a note
    given = ", ".join(f"<@{voice.user}>" for voice in run.valid_approvals)
    if run.state is RunState.AWAITING_APPROVAL and run.incident:
        return f"👤 One person with the permission {code(run.incident)} is enough here"
    if run.state is RunState.AWAITING_APPROVAL:
        need = f"{len(run.valid_approvals)} of {run.approvals_needed}"
        someone = f", needs someone else than <@{run.requested_by}>" if run.exclude_requester else ""
        return f"👥 {need}{someone}{f' · yes from {given}' if given else ''}"
    alone = " alone, in an incident channel" if any(voice.alone for voice in run.valid_approvals) else ""
    left_out = f"; left alone: {', '.join(map(code, run.excepted))}" if run.excepted else ""
    verb = "Confirmed" if alone else "Approved"
    return f"👍 {verb} by {given}{alone}{left_out}" if given else ""


def _progress(page: Page, run: RunRecord) -> None:
    """The bar and the steps; before the start the plan names them."""
    if not run.steps or run.state in _NOT_STARTED:
        return
    if 1 < len(run.steps) <= 20:  # of one step a bar would count beside what that step counts itself
        page.section("".join(words.SQUARES[step.state] for step in run.steps) + f"  {_done(run)} of {len(run.steps)}")
    page.section("\n".join(_lines(run)))


def _lines(run: RunRecord) -> list[str]:
    """A line a step; steps in a row that have not begun after the end are folded into one."""
    lines: list[str] = []
    for pending, group in groupby(run.steps, key=lambda step: step.state is StepState.PENDING):
        steps = list(group)
        if pending and run.state.over and len(steps) > 1:
            lines.append(f"{words.STEPS[StepState.PENDING]} {words.count(len(steps), 'step')} not begun")
        else:
            lines.extend(_step(step, said=run.note) for step in steps)
    return lines


def _step(step: StepRecord, *, said: str) -> str:
    name = literal(cut(step.title, 80))
    if step.state in (StepState.RUNNING, StepState.FAILED, StepState.UNKNOWN, StepState.WARNING):
        name = f"*{name}*"
    took = ""
    if step.started_at and step.ended_at and (span := step.ended_at - step.started_at) >= _WORTH_SAYING:
        took = f" · {duration(span)}"
    if step.state is StepState.RUNNING and step.started_at:
        took = f" · since {moment(step.started_at, form='{time_secs}')}"
    more = step.progress if step.state is StepState.RUNNING else step.summary
    detail = ""
    below = step.state in (StepState.FAILED, StepState.UNKNOWN)  # those stand above the buttons, whole
    if more and not below and more != said:
        detail = f"\n{INDENT}{prose(one_line(more, 140))}"
    again = f" · try {step.attempt}" if step.attempt > 1 else ""
    return f"{words.STEPS[step.state]} {name}{took}{again}{detail}"


def _failure(page: Page, run: RunRecord) -> None:
    """Why it failed and what to do, right above the buttons."""
    step = run.failed_step
    if step is None or run.state not in (RunState.FAILED, RunState.NEEDS_ATTENTION, RunState.ROLLED_BACK):
        return
    why = f"*Why* {prose(cut(step.summary, 900))}" if step.summary else ""
    way_out = str((step.outcome or {}).get("way_out") or "")
    what = f"*What now* {prose(cut(way_out, 600))}" if way_out and run.state is not RunState.ROLLED_BACK else ""
    page.section("\n".join(line for line in (why, what) if line))


def _footer(page: Page, run: RunRecord, links: Mapping[str, str]) -> None:
    about = [f"takes back {_other(run.parent, links)}"] if run.parent else []
    about += [f"taken back by {_other(run.child, links)}"] if run.child else []
    about += [f"goes before {_other(run.preempts, links)}"] if run.preempts else []
    if run.preempted_by:
        about.append(f"pre-empted by {_other(run.preempted_by, links)} of <@{run.cancel_requested_by}>")
    page.small(" · ".join(about))


def _other(run_id: str, links: Mapping[str, str]) -> str:
    return f"<{links[run_id]}|{run_id}>" if run_id in links else code(run_id)
