"""What a person is told, only them: one place that turns errors into Slack text, and the lists that commands show.

An error says what happened, what it means where that helps, and what to do next. The unexpected gets a reference that
stands in the log with the traceback.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence

from bot.errors import BotError, OutcomeUnknown, Permanent, Refused, Temporary, UserMistake
from bot.slack import card, words
from bot.slack.markup import INDENT, code, cut, literal, moment, preformatted, prose, tail
from bot.slack.render import Page, SlackMessage
from bot.store.records import RunRecord
from handlers.vocabulary import Word

_log = logging.getLogger(__name__)
_SIGNS: Mapping[type[BotError], tuple[str, str]] = {
    UserMistake: ("🤔", ""),
    Refused: ("🚫", ""),
    Temporary: ("⏳", "Nothing was changed; the same again may work."),
    Permanent: ("❌", "Nothing more will happen by itself."),
    OutcomeUnknown: ("❓", "It may have happened or not; look before you repeat it."),
}


def error(problem: BotError, *, link: str | None = None) -> SlackMessage:
    """What happened, what it means, what to do next. ``link`` is the address of the card that it is about."""
    sign, meaning = next((said for kind, said in _SIGNS.items() if isinstance(problem, kind)), ("❌", ""))
    page = Page()
    page.section(f"{sign} {prose(cut(problem.message, 1_500))}")
    following = " ".join(part for part in (meaning, prose(cut(problem.way_out, 1_000))) if part)
    page.section(f"👉 {following}" if following else "")
    page.section(f"<{link}|To the card>" if link else "")
    for piece in problem.evidence[:3]:
        shown, left = tail(piece.text, characters=800, lines=12)
        before = f" · {words.count(left, 'line')} before are not shown" if left else ""
        page.section(f"*{literal(cut(piece.title, 150))}*{before}")
        page.section(preformatted(shown))
    return page.message(prose(cut(str(problem), 1_000)))


def unexpected(problem: BaseException, *, doing: str) -> SlackMessage:
    """For a mistake in the bot: a reference to give to whoever looks after it. Logs the traceback under it."""
    reference = secrets.token_hex(4)
    _log.error("reference %s: %s", reference, doing, exc_info=problem)
    page = Page()
    page.section("💥 Something went wrong in the bot itself. What was asked may or may not have been noted.")
    page.section(f"👉 Look with {code('runs')} what is under way. For the log: reference {code(reference)}.")
    return page.message(f"Something went wrong in the bot itself; reference {reference}.")


def said(text: str) -> SlackMessage:
    """One sentence."""
    page = Page()
    page.section(prose(text))
    return page.message(prose(text))


def help_(may: Mapping[Word, Sequence[str]], *, command: str, here: str | None) -> SlackMessage:
    """What the person may type here. ``may``: for each word the targets on which they may."""
    page = Page()
    page.header("What you can ask for")
    page.small(f"Each after {code(command)}, for example {code(f'{command} {next(iter(may)).form}')}.")
    page.section("\n".join(_help_line(word, targets, here=here) for word, targets in may.items()))
    if all(word.permission is None for word in may):
        page.section("Nothing else yet: no role in the configuration names you. Ask whoever looks after this bot.")
    target = f"Here {code(here)} is meant; " if here else "This channel belongs to no target; "
    page.small(f"{target}{code('--target NAME')} names another one.")
    return page.message("What you can ask for: " + ", ".join(word.form for word in may))


def _help_line(word: Word, targets: Sequence[str], *, here: str | None) -> str:
    where = f" · only on {', '.join(targets)}" if here and targets and here not in targets else ""
    return f"{code(word.form)} {prose(word.summary)}{literal(where)}"


def runs(found: Sequence[RunRecord], *, what: str, command: str) -> SlackMessage:
    """The newest runs, a line each."""
    page = Page()
    page.header(f"Runs of {what}")
    if not found:
        page.section("None yet.")
    page.section("\n".join(_run_line(run) for run in found))
    page.small(f"One of them, whole: {code(f'{command} run ID')}" if found else "")
    spoken = ", ".join(f"{run.id} {card.title(run)} {words.state(run.state)}" for run in found) or "none yet"
    return page.message(literal(f"Runs of {what}: {spoken}"))


def _run_line(run: RunRecord) -> str:
    sign, text = words.STATES[run.state]
    when = moment(run.created_at, form="{date_short_pretty} {time}")
    return f"{sign} {code(run.id)} {literal(card.title(run))}\n{INDENT}{text} · <@{run.requested_by}> · {when}"


def locks(held: Mapping[str, Sequence[RunRecord]], *, command: str) -> SlackMessage:
    """Who holds which target, since when, and how to free it."""
    page = Page()
    page.header("Locks")
    lines = [f"🔓 *{literal(target)}* is free" for target, runs_ in held.items() if not runs_]
    for target, run in [(target, run) for target, runs_ in held.items() for run in runs_]:
        since = moment(run.started_at or run.updated_at, form="{date_short_pretty} {time}")
        lines.append(
            f"{'🚨' if run.emergency else '🔒'} *{literal(target)}* is held by {code(run.id)} since {since}\n"
            f"{INDENT}{literal(card.title(run))}, asked by <@{run.requested_by}>, {words.state(run.state)} · "
            f"{code(f'{command} cancel {run.id}')}"
        )
    page.section("\n".join(lines))
    by = {target: " and ".join(run.id for run in runs_) for target, runs_ in held.items()}
    spoken = ", ".join(f"{target} {'held by ' + ids if ids else 'free'}" for target, ids in by.items())
    return page.message(literal(f"Locks: {spoken}"))
