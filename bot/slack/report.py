"""The card of a run that only looks: its last outcome's ``report`` is the answer, shown without ceremony.

``facts["report"]`` is a list of ``{"title", "text"}`` or ``{"title", "rows"}``; the first row of a table names its columns.
What does not fit on the card makes the whole a file in its thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bot.slack import words
from bot.slack.markup import code, cut, literal, prose
from bot.slack.render import Button, Page, SlackMessage
from bot.store.records import RunRecord, RunState, StepState

FILE = "report.txt"
_ROWS = 15
_CELL, _TITLE = 120, 200
_REST = f"The whole is `{FILE}` in the thread."


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
    page = Page(rest=_REST)
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


def whole(parts: Sequence[Any]) -> str | None:
    """The whole report as plain text, when a card cannot show all of it; None when it does."""
    page = Page(rest=_REST)
    shown = [_part(page, part) for part in parts]
    page.message("")
    return "\n".join(map(_written, parts)) if page.shortened or not all(shown) else None


def _part(page: Page, part: Any) -> bool:
    """Adds one part; whether all of it stands there (a page knows itself what it had to cut)."""
    if not isinstance(part, dict):
        page.section(prose(str(part)))
        return True
    title = str(part.get("title") or "")
    head = f"*{literal(cut(title, _TITLE))}*\n" if title else ""
    rows = part.get("rows")
    if not isinstance(rows, list):
        page.section(head + prose(str(part.get("text", ""))))
        return len(title) <= _TITLE
    if len(rows) < 2:
        page.section(f"{head}_none_")
        return len(title) <= _TITLE
    names, *lines = rows
    columns = " · ".join(literal(str(name)) for name in names if name)
    head += f"_{columns}_\n" if columns else ""
    page.section(head + "\n".join(_row(line) for line in lines[:_ROWS]))
    if len(lines) > _ROWS:
        page.small(f"… and {words.count(len(lines) - _ROWS, 'more row')}: `{FILE}` in the thread.")
    long = len(title) > _TITLE or any(len(_cell(cell)) > _CELL for line in lines for cell in line)
    return len(lines) <= _ROWS and not long


def _row(cells: Sequence[Any]) -> str:
    """Columns do not line up on a phone, so a row is a line: its first cell strong, then the others."""
    first, *others = [literal(cut(_cell(cell), _CELL)) for cell in cells] or [""]
    return " · ".join([f"*{first}*" if first else "–", *(cell for cell in others if cell)])


def _cell(cell: Any) -> str:
    return " ".join(str(cell).split())


def _written(part: Any) -> str:
    """One part as plain text; in a file columns do line up."""
    if not isinstance(part, dict):
        return f"{part}\n"
    title = f"{part['title']}\n{'-' * min(len(str(part['title'])), 80)}\n" if part.get("title") else ""
    rows = part.get("rows")
    if not isinstance(rows, list):
        return f"{title}{part.get('text', '')}\n"
    lines = [[_cell(cell) for cell in row] for row in rows]
    widths = [
        max(len(row[number]) for row in lines if number < len(row)) for number in range(max(map(len, lines), default=0))
    ]
    told = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in lines]
    return title + "\n".join(told) + "\n"
