"""The one dialog before an emergency: what it hits, what stops, what may be left out; and back as a confirmation. Pure.

Everything in it is from the stored plan, so that it opens at once and says what will be done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bot.engine.contract import as_typed
from bot.engine.offers import OfferKind, optional
from bot.errors import Refused
from bot.settings import Target
from bot.slack import card, impact, modal, planned, words
from bot.slack.limits import MODAL_TITLE, OPTIONS
from bot.slack.markup import code, cut, literal, prose
from bot.slack.modal import Field
from bot.slack.render import Page
from bot.store.records import RunRecord, RunState

Json = dict[str, Any]
EXCEPTED = "excepted"
_LISTS = 5
"""Lists of what may be left alone, each with as many components as Slack takes in one."""
_LISTED = 40
_WARNINGS = 10


def view(run: RunRecord, target: Target, *, ids: str) -> Json:
    """The dialog for a run whose plan waits. Raises ``Refused`` for any other."""
    if run.plan is None or run.state is not RunState.AWAITING_APPROVAL:
        raise Refused(
            f"Run {run.id} {words.state(run.state)}; there is nothing to confirm.", way_out="Look at its card."
        )
    page = Page(rest="The rest is on the card.")
    page.section(f"*{literal(card.title(run))}*")
    page.section("\n".join(place(target, run)))
    page.lines(impact.lines(run.plan.facts, most=_LISTED))
    found = [finding for finding in run.plan.findings if finding.level == "warning"]
    page.lines([f"⚠️ {prose(cut(finding.text, 400))}" for finding in found[:_WARNINGS]])
    if len(found) > _WARNINGS:
        page.small(f"… and {words.count(len(found) - _WARNINGS, 'more warning')} on the card.")
    notes = [finding for finding in run.plan.findings if finding.level == "info"]
    if len(notes) <= planned.NOTES:
        page.lines([f"▪️ {prose(cut(finding.text, 300))}" for finding in notes], small=True)
    page.small(_who(run))
    page.small("A button on its card undoes it." if run.plan.facts.get("stops") else "")
    fields, hidden = _choice(run)
    if hidden:
        text = f"{words.count(hidden, 'more component')} cannot be left alone here: no dialog has room for so many."
        page.small(f"✂️ {text} To leave one of them alone, disable the others one by one.")
    return modal.dialog(
        page,
        fields,
        callback=OfferKind.CONFIRM.value,
        title=cut(f"{_verb(run)} {run.inputs.get('component') or run.target}".capitalize(), MODAL_TITLE),
        submit="Confirm" if run.incident else "Approve",
        ids=ids,
    )


def place(target: Target, run: RunRecord | None = None) -> list[str]:
    """Cluster, namespace and release, a line each: what nobody wants to mix up at night. The address is what the plan saw."""
    seen = run.plan.bindings.get("cluster", "").partition(" ")[0] if run and run.plan else ""
    named = " ".join(code(name) for name in (target.cluster.context, seen) if name)
    return [
        f"Cluster {named or 'of this bot'}",
        f"Namespace {code(target.namespace)}",
        f"Release {code(target.release)}",
    ]


def excepted(run: RunRecord, given: Mapping[str, str]) -> tuple[str, ...]:
    """The components that were ticked. Raises ``Refused`` for one that the dialog did not have."""
    found: list[str] = []
    for field, names in _lists(run).items():
        ticked = [number for number in given.get(field, "").split(",") if number]
        if any(not number.isdecimal() or int(number) >= len(names) for number in ticked):
            raise Refused("The plan has changed since this dialog was opened.", way_out="Open it again.")
        found += [names[int(number)] for number in ticked]
    return tuple(found)


def nothing_left(run: RunRecord, left_out: Sequence[str]) -> bool:
    """Whether everything that the plan would stop is left out."""
    stops = run.plan.facts.get("stops") if run.plan else None
    return bool(stops) and {str(one.get("component")) for one in stops or ()} <= set(left_out)


def _choice(run: RunRecord) -> tuple[list[Field], int]:
    """A field a list, and how many components are in none of them."""
    lists, hint = _lists(run), "What you tick here stays as it is."
    shown, number, fields = sum(map(len, lists.values())), 0, []
    for field, names in lists.items():
        which = f" ({number + 1} to {number + len(names)} of {shown})" if len(lists) > 1 else ""
        fields.append(Field(field, f"Leave alone{which}", hint, kind="several", choices=tuple(names)))
        number += len(names)
    return fields, len(_optional(run)) - shown


def _lists(run: RunRecord) -> dict[str, list[str]]:
    """What may be left alone, by field: in one list as far as Slack takes it."""
    names = _optional(run)
    parts = [names[first : first + OPTIONS] for first in range(0, len(names), OPTIONS)][:_LISTS]
    return {EXCEPTED if number == 0 else f"{EXCEPTED}-{number}": part for number, part in enumerate(parts)}


def _optional(run: RunRecord) -> list[str]:
    """In the plan's order, each once."""
    may = optional(run)
    stops = run.plan.facts.get("stops") if run.plan else None
    return list(dict.fromkeys(name for one in stops or () if (name := str(one.get("component"))) in may))


def _verb(run: RunRecord) -> str:
    """``Scale down``, ``Disable``: what the dialog is called for."""
    return (as_typed(run.runbook).partition(" ")[2] or run.runbook).replace("-", " ")


def _who(run: RunRecord) -> str:
    if run.incident:
        return "In an incident channel your word is enough; the approvers are told."
    need = words.count(run.approvals_needed, "approval")
    return f"This is no incident channel: it takes {need}{' by somebody else' if run.exclude_requester else ''}."
