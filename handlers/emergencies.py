"""Emergencies with the fewest taps: a command or a button opens one dialog at once, which is filled when the plan is there.

The run and its card do not depend on the dialog: where Slack does not open it, the card's button does the same.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

from bot.engine.asking import Ask
from bot.engine.contract import as_typed
from bot.engine.desk import Desk
from bot.engine.offers import DISABLE, OfferKind, plan_mark
from bot.errors import BotError, Refused, Temporary
from bot.settings import Configuration, Target
from bot.slack import card, modal
from bot.slack.calls import SlackRefused
from bot.slack.limits import OPTIONS
from bot.slack.markup import code, cut, literal
from bot.slack.modal import Field
from bot.slack.render import Page
from bot.slack.views import Views
from bot.store.records import RunRecord, RunState
from handlers import answers, confirming
from handlers.presses import Presses
from handlers.vocabulary import Vocabulary

Json = dict[str, Any]
CHOSEN = "component"
FILL = "fill"
"""The type of what is left to do for an open dialog, among the work that was acknowledged."""
_PLANNED_WITHIN = 45.0  # seconds; a dialog that is not filled by then says where to look
_AT_ONCE = 1.0  # seconds; so long the acknowledgement of a dialog may wait for a plan
_SETTLE = 0.4


class Emergencies:
    """Asks for emergencies and shows them in dialogs."""

    def __init__(
        self, *, config: Configuration, desk: Desk, presses: Presses, vocabulary: Vocabulary, views: Views
    ) -> None:
        self._config = config
        self._desk = desk
        self._presses = presses
        self._vocabulary = vocabulary
        self._views = views

    async def ask(self, ask: Ask, *, trigger: str, anew: bool = False) -> RunRecord:
        """Asks for a run that the person may confirm, with its dialog open meanwhile. Raises what asking raises.

        ``anew``: what was asked for under the same key and is over is asked for again.
        """
        opening = asyncio.create_task(self._views.open(trigger, _reading(ask.target)))
        try:
            run = await self._anew(ask, trigger=trigger) if anew else await self._desk.ask(ask)
        except BaseException as problem:
            opened = await _opened(opening)
            if opened and isinstance(problem, BotError):
                await self._show(opened, modal.notice(answers.error(problem), title="Not possible"))
            raise
        if opened := await _opened(opening):
            await self.fill(opened, run.id, channel=ask.channel)
        return run

    async def press(self, value: str, *, user: str, trigger: str, key: str) -> None:
        """A button ``RUN:RUNBOOK`` of a card: the dialog to confirm, or first the one that asks which component."""
        about, _, runbook = value.partition(":")
        run = await self._presses.permitted(OfferKind.EMERGENCY, about, user=user)
        self._target(run)
        if runbook == DISABLE:
            await self._views.open(trigger, self._choosing(run, key=key))
            return
        await self.ask(await self._asked(run, runbook, {}, user=user, key=key), trigger=trigger, anew=True)

    async def choose(self, ids: dict[str, str], chosen: str, *, user: str, trigger: str) -> tuple[Json, str | None]:
        """A component was chosen: asks for the run. The view to show now, and the run that it has to be filled with yet."""
        run = await self._presses.permitted(OfferKind.EMERGENCY, ids["mark"], user=user)
        names = list(self._target(run).components)
        if not chosen.isdecimal() or int(chosen) >= len(names):
            raise Refused("This is no component of the target.", way_out="Open the dialog again.")
        inputs = {"component": names[int(chosen)]}
        key = f"{ids['key']}:{inputs['component']}"
        return await self.asked(await self._asked(run, DISABLE, inputs, user=user, key=key), trigger=trigger)

    async def asked(self, ask: Ask, *, trigger: str) -> tuple[Json, str | None]:
        """Asks for what a dialog said. The view to show now, and the run that it has to be filled with yet."""
        asked = await self._anew(ask, trigger=trigger)
        asked = await self._desk.planned(asked.id, within=_AT_ONCE)
        if asked.state is RunState.PLANNING:
            return _reading(ask.target), asked.id
        return self.shown(asked, channel=ask.channel), None

    async def fill(self, view: str, run_id: str, *, channel: str, settle: bool = False) -> None:
        """Puts the plan into an open dialog. ``settle``: Slack may still be showing what the dialog was changed to."""
        run = await self._desk.planned(run_id, within=_PLANNED_WITHIN)
        if settle:
            await asyncio.sleep(_SETTLE)
        await self._show(view, self.shown(run, channel=channel))

    def shown(self, run: RunRecord, *, channel: str) -> Json:
        """The dialog to confirm a run, or what there is to say instead."""
        target = self._target(run)
        if run.state is RunState.AWAITING_APPROVAL:
            return confirming.view(run, target, ids=json.dumps({"mark": plan_mark(run), "channel": channel}))
        page = Page(rest="The rest is on the card.")
        page.section(f"*{literal(card.title(run))}*")
        page.section("\n".join(confirming.place(target, run)))
        if run.state is RunState.PLANNING:
            page.section("The plan takes longer. The card has a button as soon as it is there.")
        elif run.note:
            page.section(literal(cut(run.note, 600)))
        for finding in run.blockers[:10]:
            page.section(f"⛔ {literal(cut(finding.text, 400))}")
        page.small(code(run.id))
        return modal.notice(page.message(card.spoken(run)), title="Nothing to confirm")

    # -- inside ---------------------------------------------------------------------------------------------

    async def _asked(self, about: RunRecord, runbook: str, inputs: dict[str, str], *, user: str, key: str) -> Ask:
        """An emergency asked for on the card of ``about``, which is where its own card goes."""
        permission = self._vocabulary.permission(self._desk.runbooks.text(runbook))
        await self._presses.require(user, permission, about.target)
        given = inputs or self._same_component(about, runbook)
        incident = await self._presses.incident(about)
        return Ask(runbook, about.target, given, user, about.channel, key, incident=incident)

    async def _anew(self, ask: Ask, *, trigger: str) -> RunRecord:
        """Two taps are one run, unless that is over."""
        run = await self._desk.ask(ask)
        return await self._desk.ask(replace(ask, key=f"{ask.key}:{trigger}")) if run.state.over else run

    def _same_component(self, about: RunRecord, runbook: str) -> dict[str, str]:
        wanted = {one.name for one in self._desk.runbooks.parse(self._desk.runbooks.text(runbook)).inputs}
        component = about.inputs.get("component")
        return {"component": str(component)} if component and "component" in wanted else {}

    def _choosing(self, run: RunRecord, *, key: str) -> Json:
        target = self._target(run)
        page = Page()
        page.section(f"*Disable a component of {literal(target.name)}*")
        page.section("\n".join(confirming.place(target)))
        labels = tuple(f"{name} · {one.title}" if one.title else name for name, one in target.components.items())
        hint = "What stops with it is shown before anything is done."
        if len(labels) > OPTIONS:
            hint += f" The list has the first {OPTIONS} of {len(labels)}; the others are typed, as here."
        typed = f"{self._config.slack.command} {as_typed(DISABLE)} NAME"
        page.small(f"What is not in the list, such as a workload that nobody described: {code(typed)}.")
        asked = [Field(CHOSEN, "Component", hint, "choice", labels)]
        ids = json.dumps({"mark": run.id, "channel": run.channel, "key": key})
        return modal.dialog(
            page, asked, callback=OfferKind.EMERGENCY.value, title="Disable a component", submit="Next", ids=ids
        )

    def _target(self, run: RunRecord) -> Target:
        target = self._config.target(run.target)
        if target is None:
            raise Refused(f"The target {run.target} is no longer in the configuration.")
        return target

    async def _show(self, view: str, content: Json) -> None:
        """A dialog that was closed meanwhile, or that Slack does not change now: the card has the same."""
        try:
            await self._views.change(view, content)
        except (SlackRefused, Temporary):
            return


async def _opened(opening: asyncio.Task[str]) -> str:
    """The view's id; empty when Slack did not open it."""
    try:
        return await opening
    except (SlackRefused, Temporary):
        return ""


def _reading(target: str) -> Json:
    return modal.notice(answers.said(f"Reading the cluster of {target} …"), title="One moment")


def filling(view: str, run_id: str, *, channel: str) -> Json:
    """What is left to do for a dialog that was changed by its acknowledgement."""
    return {"type": FILL, "view": view, "run": run_id, "channel": channel}
