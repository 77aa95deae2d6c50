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
from bot.slack import card, impact, modal, words
from bot.slack.limits import OPTIONS
from bot.slack.markup import code, cut, literal, prose
from bot.slack.modal import Field
from bot.slack.render import Page
from bot.store.records import RunRecord, RunState

Json = dict[str, Any]
EXCEPTED = "excepted"
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
    page.small(_who(run))
    return modal.dialog(
        page,
        _choice(run),
        callback=OfferKind.CONFIRM.value,
        title=cut(f"{as_typed(run.runbook).partition(' ')[2] or run.runbook} {run.target}".capitalize(), 24),
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
    names = _optional(run)
    ticked = [number for number in given.get(EXCEPTED, "").split(",") if number]
    if any(not number.isdecimal() or int(number) >= len(names) for number in ticked):
        raise Refused("The plan has changed since this dialog was opened.", way_out="Open it again.")
    return tuple(names[int(number)] for number in ticked)


def nothing_left(run: RunRecord, left_out: Sequence[str]) -> bool:
    """Whether everything that the plan would stop is left out."""
    stops = run.plan.facts.get("stops") if run.plan else None
    return bool(stops) and {str(one.get("component")) for one in stops or ()} <= set(left_out)


def _choice(run: RunRecord) -> list[Field]:
    names = _optional(run)
    if not names:
        return []
    hint = "What you tick here stays as it is."
    return [Field(EXCEPTED, "Leave alone", hint, kind="several", choices=tuple(names))]


def _optional(run: RunRecord) -> list[str]:
    """In the plan's order, each once."""
    may = optional(run)
    stops = run.plan.facts.get("stops") if run.plan else None
    return list(dict.fromkeys(name for one in stops or () if (name := str(one.get("component"))) in may))[:OPTIONS]


def _who(run: RunRecord) -> str:
    if run.incident:
        return "In an incident channel your word is enough; the approvers are told."
    need = words.count(run.approvals_needed, "approval")
    return f"This is no incident channel: it takes {need}{' by somebody else' if run.exclude_requester else ''}."
