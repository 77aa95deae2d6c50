"""The card of a run that only looks: its last outcome's ``report`` is the answer, shown without ceremony.

``facts["report"]`` is a list of ``{"title", "text"}`` or ``{"title", "rows"}``; the first row of a table names its columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bot.slack import words
from bot.slack.markup import code, cut, literal, prose
from bot.slack.render import Button, Page, SlackMessage
from bot.store.records import RunRecord, RunState, StepState

_ROWS = 15


def answer(run: RunRecord) -> list[Any] | None:
    """The report, once there is one."""
    if run.mutates or not run.state.over:
        return None
    for step in reversed(run.steps):
        facts = (step.outcome or {}).get("facts") or {}
        if isinstance(facts, dict) and isinstance(facts.get("report"), list):
            return list(facts["report"])
    return None


def message(run: RunRecord, parts: Sequence[Any], *, buttons: Sequence[Button], title: str) -> SlackMessage:
    """The answer as a message."""
    page = Page(rest="The whole text is in the thread.")
    page.header(title)
    good = run.state is RunState.SUCCEEDED and all(step.state is not StepState.WARNING for step in run.steps)
    sign = "✅" if good else "⚠️" if run.state is RunState.SUCCEEDED else words.STATES[run.state][0]
    summaries = [step.summary for step in run.steps if step.summary]
    if summaries:
        page.section(f"{sign} *{prose(cut(summaries[-1], 600))}*")
    for part in parts:
        _part(page, part)
    page.small(f"{code(run.id)} · asked by <@{run.requested_by}>")
    page.buttons(buttons, block_id=f"run-{run.id}")
    return page.message(literal(". ".join([title, *summaries[-1:]])))


def _part(page: Page, part: Any) -> None:
    if not isinstance(part, dict):
        page.section(prose(str(part)))
        return
    head = f"*{literal(cut(str(part['title']), 200))}*\n" if part.get("title") else ""
    rows = part.get("rows")
    if not isinstance(rows, list):
        page.section(head + prose(str(part.get("text", ""))))
        return
    if len(rows) < 2:
        page.section(f"{head}_none_")
        return
    names, *lines = rows
    columns = " · ".join(literal(str(name)) for name in names if name)
    head += f"_{columns}_\n" if columns else ""
    page.section(head + "\n".join(_row(line) for line in lines[:_ROWS]))
    if len(lines) > _ROWS:
        page.small(f"{words.count(len(lines) - _ROWS, 'row')} more are not shown.")


def _row(cells: Sequence[Any]) -> str:
    """Columns do not line up on a phone, so a row is a line: its first cell strong, then the others."""
    first, *others = [literal(cut(" ".join(str(cell).split()), 120)) for cell in cells] or [""]
    return " · ".join([f"*{first}*" if first else "–", *(cell for cell in others if cell)])
