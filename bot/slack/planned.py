"""The part of a card that shows the plan: verdict, what would change, findings, what people added, the way back. Pure.

What is left out is named in a line that says how much it is and where it stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import zip_longest
from typing import Any

from bot.redaction import redact_values
from bot.slack import words
from bot.slack.markup import INDENT, code, cut, duration, literal, moment, prose
from bot.slack.render import Page
from bot.store.records import FindingRecord, OverrideRecord, RunRecord, RunState

FINDINGS = 8
"""Blockers on the card; as many breaking changes, and as many other warnings."""
NOTES = 3
"""More notes than these are only counted: whoever decides on a phone reads what may go wrong."""
_LINES = 10
_TEXT, _WAY_OUT = 400, 300
_BREAKING = "breaking"
_SAID_BY_ITS_SIGN = re.compile(r"^(\S+: )?BREAKING(?: CHANGE)?: ")
_DECIDING = {RunState.PLANNING, RunState.AWAITING_APPROVAL, RunState.BLOCKED}
_OUT = {RunState.BLOCKED, RunState.REJECTED, RunState.EXPIRED, RunState.CANCELLED}
_FILE = "plan.json"
_DATABASE = {
    True: "the notes say that the database can go back",
    False: "*the database cannot go back*, only its backup leads there",
    None: "no notes say whether the database can go back",
}


def deciding(run: RunRecord) -> bool:
    """Whether somebody reads the card to decide about the plan, or because the plan is all there is."""
    return run.state in _DECIDING or (run.state is RunState.SUCCEEDED and not run.steps)


def verdict(run: RunRecord) -> str:
    """What the plan comes to, after the words of the state: ``2 warnings``, ``blocked by 1, 2 warnings``."""
    if run.plan is None:
        return ""
    blockers, lifted = len(run.blockers), len(_lifted(run))
    parts = [f"blocked by {blockers}"] if blockers and run.state is RunState.BLOCKED else []
    parts += [words.count(lifted, "blocker") + " overridden"] if lifted else []
    parts += _warned(run.plan.findings)
    if unseen := sum(finding.unseen for finding in run.plan.findings):
        parts.append(f"*incomplete*, {words.count(unseen, 'thing')} could not be looked at")
    return ", ".join(parts) or ("no warnings" if run.state is not RunState.BLOCKED else "")


def counts(findings: Sequence[FindingRecord]) -> str:
    """How many findings of which kind."""
    blockers = sum(finding.level == "blocker" for finding in findings)
    said = [*([words.count(blockers, "blocker")] if blockers else []), *_warned(findings)]
    notes = sum(finding.level == "info" for finding in findings)
    return ", ".join([*(said or ["no warnings"]), *([words.count(notes, "note")] if notes else [])])


def _warned(findings: Sequence[FindingRecord]) -> list[str]:
    """``5 breaking changes``, ``1 warning``; what is none is not said."""
    warnings = [finding for finding in findings if finding.level == "warning"]
    breaking = sum(map(_breaking, warnings))
    numbers = ((breaking, "breaking change"), (len(warnings) - breaking, "warning"))
    return [words.count(number, what) for number, what in numbers if number]


def show(page: Page, run: RunRecord, *, command: str, whole: bool) -> None:
    """Everything while somebody has to decide, afterwards what stays worth knowing."""
    if run.plan is None:
        return
    rest = f"{_FILE} in the thread, or {code(f'{command} run {run.id}')}"
    if whole or deciding(run):
        page.section(_objects(run.plan.facts))
        _findings(page, run, whole=whole, rest=rest)
        page.lines(backups(run.plan.facts))
        page.lines(_choices(run.plan.facts))
        if run.state is RunState.AWAITING_APPROVAL and not run.emergency:  # that says workload by workload what it does
            page.lines([line for line in (_steps(run.plan.facts), _longest(run.plan.facts)) if line])
    elif any(finding.level != "info" for finding in run.plan.findings):
        page.small(f"Plan: {counts(run.plan.findings)} · {code(f'{command} run {run.id}')}")
    page.lines(_overridden(run))
    page.lines(_supplied(run.supplied, rest=rest))
    if whole or run.state not in _OUT:
        page.lines(_checklist(run, rest=rest))
    if run.state in (RunState.AWAITING_APPROVAL, RunState.BLOCKED) or (whole and not run.state.over):
        page.section(_way_back(run))


# -- findings -----------------------------------------------------------------------------------------------


def _findings(page: Page, run: RunRecord, *, whole: bool, rest: str) -> None:
    assert run.plan is not None  # noqa: S101 - show looked
    found = run.plan.findings
    warnings = [finding for finding in found if finding.level == "warning"]
    for what, group in (
        ("blocker", [finding for finding in found if finding.level == "blocker"]),
        ("breaking change", [finding for finding in warnings if _breaking(finding)]),
        ("warning", [finding for finding in warnings if not _breaking(finding)]),
    ):
        page.lines(_told(run, group, what, len(group) if whole else FINDINGS, rest=rest))
    notes = [finding for finding in found if finding.level == "info"]
    if len(notes) > NOTES and not whole:
        page.small(f"▪️ {words.count(len(notes), 'note')}: {rest}")
    else:
        page.lines(_told(run, notes, "note", len(notes), rest=rest), small=True)


def _told(run: RunRecord, group: Sequence[FindingRecord], what: str, most: int, *, rest: str) -> list[str]:
    """A line a finding, up to ``most``, and lines that say what is missing."""
    lifted = set(map(id, _lifted(run)))
    shown = group[:most]
    lines = []
    for finding, then in zip_longest(shown, shown[1:]):
        repeated = then is not None and then.way_out == finding.way_out  # said once in a row, below all of it
        way_out = "" if repeated else finding.way_out
        lines.append(_finding(finding, lifted=id(finding) in lifted, way_out=way_out))
    if len(group) > len(shown):
        lines.append(f"… and {words.count(len(group) - len(shown), f'more {what}')}: {rest}")
    if any(len(one.text) > _TEXT or len(one.way_out) > _WAY_OUT for one in shown):
        lines.append(f"✂️ What ends in … is shortened; whole: {rest}")
    return lines


def _breaking(finding: FindingRecord) -> bool:
    return _BREAKING in finding.code.split(".")


def _finding(finding: FindingRecord, *, lifted: bool, way_out: str) -> str:
    text = prose(cut(_SAID_BY_ITS_SIGN.sub(r"\1", finding.text) if _breaking(finding) else finding.text, _TEXT))
    if lifted:
        return f"🔓 {text}"
    sign = words.LEVELS.get(finding.level, "▪️")
    if _breaking(finding):
        sign = "💥" if finding.level == "warning" else f"{sign}💥"
    return f"{sign} {text}" + (f"\n{INDENT}↳ {prose(cut(way_out, _WAY_OUT))}" if way_out else "")


def _objects(facts: Mapping[str, Any]) -> str:
    """``+2 ~14 −3``: objects that the plan creates, changes and removes."""
    names = ("objects_created", "objects_changed", "objects_removed")
    numbers = [facts.get(name) for name in names]
    if not any(isinstance(number, int) for number in numbers):
        return ""
    created, changed, removed = (number if isinstance(number, int) else 0 for number in numbers)
    if not created and not changed and not removed:
        return "*Objects* none changes"
    said = [f"{created} new", f"{changed} changed", f"{removed} removed"]
    told = ", ".join(text for text in said if not text.startswith("0 "))
    return f"*Objects* {code(f'+{created} ~{changed} −{removed}')} {told}"


def _steps(facts: Mapping[str, Any]) -> str:
    """What will be done, in one paragraph."""
    wanted = facts.get("steps")
    titles = [literal(cut(str(title), 60)) for title in wanted] if isinstance(wanted, list) else []
    return f"*What will be done*\n{' → '.join(titles)}" if titles else ""


def backups(facts: Mapping[str, Any]) -> list[str]:
    """Of what the upgrade takes for good: what a step of this run backs up first, and what none does, with the reason."""
    kinds, titles, lost = (facts.get(name) or [] for name in ("step_kinds", "steps", "loses"))
    if not kinds or not lost:
        return []
    steps = dict(zip(kinds, titles, strict=False))
    saved: dict[str, list[str]] = {}
    unsaved: dict[str, list[str]] = {}
    for one in lost:
        name, kind = f"{one['kind']}/{one['name']}", str(one.get("backup") or "")
        if kind in steps:
            saved.setdefault(str(steps[kind]), []).append(name)
        else:
            reason = "this run makes no backup of it" if kind else str(one.get("unsaved") or "no step backs it up")
            unsaved.setdefault(reason, []).append(name)
    lines = [f"💾 *Backed up before*, by {literal(cut(title, 60))}: {_named(names)}" for title, names in saved.items()]
    return lines + [f"🕳️ *Not backed up*: {_named(names)} ({prose(cut(why, 120))})" for why, names in unsaved.items()]


def _choices(facts: Mapping[str, Any]) -> list[str]:
    """What the plan can be told to do instead, what it does now marked; what cannot be pressed stands below."""
    found, note = facts.get("choices") or [], str(facts.get("choices_note") or "")
    lines = [f"*{literal(cut(str(facts.get('choices_of') or 'Instead'), 120))}*"] if found or note else []
    for one in found[:_LINES]:
        lines.append(f"{'▶️' if one.get('taken') else '▫️'} {prose(cut(str(one.get('text')), 200))}")
    if len(found) > _LINES:
        lines.append(f"… and {len(found) - _LINES} more ({_FILE} in the thread)")
    return [*lines, *([f"{INDENT}{prose(cut(note, 300))}"] if note else [])]


def _named(names: Sequence[str]) -> str:
    known = list(dict.fromkeys(names))
    shown = ", ".join(code(cut(name, 120)) for name in known[:_LINES])
    return shown if len(known) <= _LINES else f"{shown} and {len(known) - _LINES} more ({_FILE} in the thread)"


def _longest(facts: Mapping[str, Any]) -> str:
    """Which step takes longest, and how that is known."""
    found = facts.get("longest_step")
    if not isinstance(found, dict):
        return ""
    name, span = literal(cut(str(found.get("title")), 60)), duration(timedelta(seconds=float(found["seconds"])))
    if runs := int(found.get("runs") or 0):
        known = f"{span} last time" if runs == 1 else f"up to {span} in the last {runs} runs"
    else:
        known = f"at most {span}, its limit; it was not done here before"
    return f"⏱️ *Longest step* {name}: {known}"


# -- what people added --------------------------------------------------------------------------------------


def _lifted(run: RunRecord) -> tuple[FindingRecord, ...]:
    if run.plan is None:
        return ()
    left = set(map(id, run.blockers))  # the very records of the plan, so that twins stay two
    return tuple(finding for finding in run.plan.findings if finding.level == "blocker" and id(finding) not in left)


def _overridden(run: RunRecord) -> list[str]:
    """Who goes on in spite of what, and why; overrides of an older plan count no more."""
    digest = run.plan.digest if run.plan else ""
    said: dict[tuple[str, str], list[OverrideRecord]] = {}
    for one in run.overrides:
        if one.digest == digest:
            said.setdefault((one.user, one.reason), []).append(one)
    lines = []
    for (user, reason), group in list(said.items())[:_LINES]:
        codes = ", ".join(code(one.code) for one in group[:_LINES])
        more = f" and {len(group) - _LINES} more kinds (`{_FILE}` in the thread)" if len(group) > _LINES else ""
        lines.append(f"🔓 *Overridden* by <@{user}>: {codes}{more}\n{INDENT}“{literal(cut(reason, 500))}”")
    return lines


def _supplied(supplied: Mapping[str, Any], *, rest: str) -> list[str]:
    lines = ["*Supplied for this run*"] if supplied else []
    shortened = False
    for path, value in list(supplied.items())[:_LINES]:
        name = path.rpartition(".")[2]
        shown = redact_values({name: value})[name]
        text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
        shortened = shortened or len(text) > 100
        lines.append(f"{code(cut(path, 150))} = {code(cut(text, 100))}")
    if len(supplied) > _LINES:
        lines.append(f"… and {words.count(len(supplied) - _LINES, 'more value')}: {rest}")
    return [*lines, f"✂️ What ends in … is shortened; whole: {rest}"] if shortened else lines


def _checklist(run: RunRecord, *, rest: str) -> list[str]:
    """What people do by hand, with who says that it is done."""
    ticked = {tick.item: tick for tick in run.ticks}
    lines: list[str] = []
    for when, heading in (("before", "*By hand, before the start*"), ("after", "*By hand, afterwards*")):
        items = [item for item in run.checklist if item.get("when") == when]
        lines += [heading] if items else []
        for item in items[: 2 * _LINES]:
            tick = ticked.get(str(item["id"]))
            done = f" · <@{tick.user}> {moment(tick.at)}" if tick else ""
            lines.append(f"{'☑️' if tick else '◻️'} {prose(cut(str(item['text']), _TEXT))}{done}")
        if len(items) > 2 * _LINES:
            lines.append(f"… and {words.count(len(items) - 2 * _LINES, 'more item')}: {rest}")
    if any(len(str(item["text"])) > _TEXT for item in run.checklist):
        lines.append(f"✂️ What ends in … is shortened; whole: {rest}")
    return lines


# -- the way back -------------------------------------------------------------------------------------------


def _way_back(run: RunRecord) -> str:
    facts = run.plan.facts if run.plan else {}
    back = facts.get("rollback_to")
    if not run.mutates or not isinstance(back, dict):
        return ""
    where = f"to revision {back.get('revision')} ({literal(cut(str(back.get('version')), 40))}) with one button"
    if isinstance(runs := facts.get("migrations"), list) and runs:
        named = ", ".join(literal(cut(str(one), 80)) for one in runs[:3])
        more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
        where += f"; what {named}{more} changes in the database stays"
    if "database_reversible" not in facts or facts.get("no_database"):
        return f"↩️ *Back* {where}"
    return f"↩️ *Back* {where}; {_DATABASE[facts['database_reversible']]}"
