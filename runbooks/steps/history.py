"""The history: each revision with its state, who made it and why, whether we saw it healthy, and the ways back.

A revision is two short lines, for a phone. What does not fit on the card is said, and stands in a file in the thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import BaseModel

from bot.engine.contract import Facts, Outcome, StepContext
from bot.errors import Evidence
from bot.helm.models import Revision, Status
from bot.redaction import redact
from runbooks import proofs, revisions
from runbooks.proofs import Known
from runbooks.steps.common import Params, ReadingStep
from runbooks.text import counted, section, when

SHOWN = 8
"""Revisions on the card, the newest; those that can be gone back to beyond it have their button all the same."""
BUTTONS = 10
LONGEST = 100
_ACTING = str.maketrans({"<": "‹", ">": "›", "`": "ˋ"})
_SIGNS = {Status.FAILED: "❌ ", Status.DEPLOYED: "", Status.SUPERSEDED: ""}


class HistoryReport(ReadingStep):
    """Every revision that Helm keeps, newest first, which one a rollback would take, and a button for each way back."""

    name: ClassVar[str] = "report.history"
    title: ClassVar[str] = "History"
    timeout: ClassVar[timedelta] = timedelta(minutes=1)
    params: ClassVar[type[BaseModel]] = Params

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """Raises ``ReleaseNotFound`` without a release."""
        history = await context.clients.releases.history()
        known = await proofs.known(context.past, history)
        ways = proofs.best(history, known)
        newest_first = sorted(history, key=lambda one: one.revision, reverse=True)
        lines = [_card_lines(one, known, newest_first[0]) for one in newest_first]
        report: list[dict[str, Any]] = [section("", "\n".join(lines[:SHOWN]))]
        if len(lines) > SHOWN:
            rest = counted(len(lines) - SHOWN, "older revision")
            report.append(section("", f"… and {rest}: `history.txt` in the thread, or `rollback REVISION`."))
        return Outcome(
            summary=f"{counted(len(history), 'revision')} of {context.target.release}; {_back(ways, known)}.",
            facts={
                "report": report,
                "offers": [_offer(one) for one in sorted(ways, key=lambda one: -one.revision)[:BUTTONS]],
                "rollback_to": {"revision": ways[0].revision, "version": ways[0].chart.version} if ways else None,
                "good": sorted(number for number in known.proofs if known.good(number)),
            },
            evidence=(Evidence("history.txt", _written(newest_first, known)),) if len(lines) > SHOWN else (),
            warning=newest_first[0].status.pending,
        )


def _back(ways: Sequence[Revision], known: Known) -> str:
    if not ways:
        return "none to roll back to"
    seen = "seen healthy" if known.good(ways[0].revision) else "never verified by me"
    return f"a rollback goes to {ways[0].revision} ({ways[0].chart.version}, {seen})"


def _offer(one: Revision) -> dict[str, Any]:
    """A button that asks for the rollback; it is planned and approved like any other."""
    return {
        "runbook": "rollback",
        "inputs": {"revision": str(one.revision)},
        "label": f"Roll back to {one.revision} ({one.chart.version})",
    }


def _card_lines(one: Revision, known: Known, newest: Revision) -> str:
    app = f" (app {one.chart.app_version})" if one.chart.app_version not in ("", one.chart.version) else ""
    state = one.status.value
    if one is newest:
        state = "runs now" if one.status is Status.DEPLOYED else f"{state}, the newest"
    sign = "⏳ " if one.status.pending else _SIGNS.get(one.status, "")
    first = f"`{one.revision}` {one.chart.version}{app} · {sign}{state}{_health(one, known)}"
    moment = (
        f"<!date^{int(one.updated.timestamp())}^{{date_short_pretty}} {{time}}|{when(one.updated)}>"
        if one.updated
        else ""
    )
    why = " ".join(redact(revisions.purpose(one)).split()).translate(_ACTING)
    asker, run = known.asker(one), revisions.made_by(one)
    who = f"<@{asker}>" if asker else ""
    told = [_short(why.rstrip(".")), who, moment, f"`{run}`" if run else ""]
    return f"{first}\n\u2003\u2002{' · '.join(part for part in told if part)}"


def _health(one: Revision, known: Known) -> str:
    if known.good(one.revision):
        return " · ✅ healthy"
    return " · ❌ was not healthy" if known.bad(one.revision) else ""


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _written(newest_first: Sequence[Revision], known: Known) -> str:
    lines = []
    for one in newest_first:
        proof = known.proofs.get(one.revision)
        seen = (
            f"{'healthy' if proof.healthy else 'not healthy'}, run {proof.run}, {when(proof.at)}"
            if proof
            else "not verified"
        )
        who = f"by {known.asker(one)}, run {revisions.made_by(one)}" if revisions.made_by(one) else "not by me"
        head = (
            f"{one.revision}  {one.chart} (app {one.chart.app_version or '–'})  {one.status.value}  {when(one.updated)}"
        )
        lines += [head, f"    {redact(revisions.purpose(one))}", f"    {who}; {seen}"]
    return "\n".join(lines) + "\n"
