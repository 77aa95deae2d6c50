"""The dialogs of a plan: going on in spite of its blockers, supplying values that it misses, confirming an emergency.

Permission is checked when a dialog opens and again when it is sent off; between the two a plan may have changed, which the
mark in the dialog's ids shows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.engine.desk import Desk
from bot.engine.offers import OfferKind, plan_mark
from bot.errors import BotError, Refused, Temporary, UserMistake
from bot.settings import Configuration, Target
from bot.slack import card, modal, planned, words
from bot.slack.markup import code, cut, literal, prose
from bot.slack.modal import Field
from bot.slack.render import Page, SlackMessage
from bot.slack.views import Views
from bot.store.records import RunRecord, RunState
from handlers import answers, buttons, confirming, externalizing, supplying
from handlers.emergencies import CHOSEN, Emergencies, filling
from handlers.externalizing import Externalizing
from handlers.presses import Presses

Json = dict[str, Any]
RELEASE, REASON = "release", "reason"
SHORTEST_REASON = 5
_LISTED = 15


@dataclass(frozen=True)
class Answer:
    """What came of a dialog: problems by field, or something to say or another view instead of closing it, or nothing.

    ``follow`` is what is left to do for that view, once Slack shows it.
    """

    problems: Mapping[str, str] = field(default_factory=dict)
    said: SlackMessage | None = None
    view: Json | None = None
    follow: Json | None = None

    def response(self) -> Json:
        """As Slack wants it in the acknowledgement; empty closes the dialog."""
        if self.problems:
            return {"response_action": "errors", "errors": dict(self.problems)}
        if self.said is not None:
            return {"response_action": "update", "view": modal.notice(self.said, title="Not done")}
        if self.view is not None:
            return {"response_action": "update", "view": self.view}
        return {}

    def late(self) -> SlackMessage | None:
        """The same for a person whose dialog is closed already."""
        if self.problems:
            return answers.said(f"Not done. {' '.join(self.problems.values())} Press the button again.")
        return self.said


class Dialogs:
    """Opens dialogs and takes what comes back. ``patience``: seconds until one that is not ready opens with a line."""

    def __init__(
        self,
        *,
        config: Configuration,
        desk: Desk,
        presses: Presses,
        emergencies: Emergencies,
        externalizing: Externalizing,
        views: Views,
        patience: float = 1.0,
    ) -> None:
        self._emergencies = emergencies
        self._externalizing = externalizing
        self._config = config
        self._desk = desk
        self._presses = presses
        self._views = views
        self._patience = patience

    async def open(self, body: Json) -> None:
        """The dialog for a click on one of ``buttons.DIALOGS``. Raises ``Refused`` when the person may not."""
        action, user = body["actions"][0], str(body["user"]["id"])
        kind = buttons.kind(str(action.get("action_id")))
        mark, channel = str(action.get("value") or ""), str((body.get("channel") or {}).get("id") or "")
        trigger = str(body.get("trigger_id") or "")
        if kind is OfferKind.EMERGENCY:
            message = str((body.get("container") or {}).get("message_ts") or "")
            key = f"click:{mark}:{message}:{user}"
            await self._emergencies.press(mark, user=user, trigger=trigger, key=key)
            return
        making = asyncio.create_task(self._made(kind, mark, user=user, channel=channel))
        done, _ = await asyncio.wait({making}, timeout=self._patience)
        if done:
            view = making.result()
            try:
                await self._views.open(trigger, view)
            except Temporary as problem:
                raise _typed(problem, kind, mark, command=self._config.slack.command) from problem
            return
        # Slack's trigger would be over before the permission is known (a user group is asked of Slack)
        waiting = await self._views.open(trigger, modal.notice(answers.said("One moment …"), title="One moment"))
        try:
            view = await making
        except BotError as problem:
            view = modal.notice(answers.error(problem), title="Not possible")
        await self._views.change(waiting, view)

    async def submitted(self, body: Json) -> Answer:
        """What came of a dialog that was sent off. Never raises a ``BotError``."""
        view, user = body["view"], str(body["user"]["id"])
        ids, given, trigger = _ids(view), modal.given(view), str(body.get("trigger_id") or "")
        try:
            match view.get("callback_id"):
                case OfferKind.OVERRIDE.value:
                    return await self._override(ids["mark"], given, user=user)
                case OfferKind.SUPPLY.value:
                    return await self._supply(ids["mark"], given, user=user)
                case OfferKind.CONFIRM.value:
                    return await self._confirm(ids["mark"], given, user=user)
                case OfferKind.EMERGENCY.value:
                    view_, run_id = await self._emergencies.choose(
                        ids, given.get(CHOSEN, ""), user=user, trigger=trigger
                    )
                    follow = filling(str(view["id"]), run_id, channel=ids["channel"]) if run_id else None
                    return Answer(view=view_, follow=follow)
                case externalizing.EXTERNALIZE:
                    sent = await self._externalizing.submitted(ids, given, user=user, trigger=trigger)
                    follow = filling(str(view["id"]), sent.run, channel=ids["channel"]) if sent.run else None
                    return Answer(sent.problems, view=sent.view, follow=follow)
                case _:
                    raise Refused("This dialog belongs to an older version of the bot.", way_out="Open it again.")
        except BotError as problem:
            return Answer(said=answers.error(problem))

    async def tell(self, body: Json, answer: Answer) -> None:
        """Says what came of a dialog that is closed already, if there is something to say."""
        message, channel = answer.late(), _ids(body["view"]).get("channel")
        if message is not None and channel:
            await self._views.whisper(channel, str(body["user"]["id"]), message)

    # -- dialogs --------------------------------------------------------------------------------------------

    async def _made(self, kind: OfferKind | None, mark: str, *, user: str, channel: str) -> Json:
        makers: dict[OfferKind | None, Callable[[RunRecord, str], Json]] = {
            OfferKind.SUPPLY: self._supplying,
            OfferKind.OVERRIDE: self._overriding,
            OfferKind.CONFIRM: self._confirming,
        }
        assert kind is not None  # noqa: S101 - nothing else gets here
        make = makers[kind]
        run = await self._presses.permitted(kind, mark.partition(":")[0], user=user)
        _same_plan(run, mark)
        return make(run, json.dumps({"mark": mark, "channel": channel}))

    def _overriding(self, run: RunRecord, ids: str) -> Json:
        left = run.blockers
        if not left or any(not finding.override for finding in left):
            raise Refused("The plan has a blocker that nobody may override.", way_out="Put that right, and plan again.")
        release = self._release(run)
        page = Page(rest="The rest is on the card.")
        page.section(
            f"*{literal(card.title(run))}*\nTarget {code(run.target)}, release {code(release)} · {code(run.id)}"
        )
        page.section(f"You go on in spite of {words.count(len(left), 'blocker')}:")
        for finding in left[:_LISTED]:
            named = not finding.subject or finding.subject in finding.text
            about = "" if named else f" · {code(cut(finding.subject, 120))}"
            page.section(f"⛔ {prose(cut(finding.text, 400))}{about}")
        if len(left) > _LISTED:
            page.section(f"… and {words.count(len(left) - _LISTED, 'more blocker')}: `plan.json` in the card's thread.")
        page.lines(planned.backups(run.plan.facts) if run.plan else [])
        page.small(
            "Your name and the reason stand on the card and in the audit trail. Approval is asked for as always."
        )
        asked = [
            Field(RELEASE, f"Type the release's name, {release}, to show that you mean it", longest=100),
            Field(REASON, "Why is it right to go on?", kind="text", longest=500),
        ]
        return modal.dialog(
            page, asked, callback=OfferKind.OVERRIDE.value, title="Override blockers", submit="Override", ids=ids
        )

    def _confirming(self, run: RunRecord, ids: str) -> Json:
        return confirming.view(run, self._target(run), ids=ids)

    def _supplying(self, run: RunRecord, ids: str) -> Json:
        missing = _missing(run)
        page = Page()
        page.section(f"*{literal(card.title(run))}*\nTarget {code(run.target)} · {code(run.id)}")
        page.section(
            "The new chart needs these values. They belong to this run only, and it is planned again with them."
        )
        kept = [code(cut(one.path, 150)) for one in missing if not one.askable]
        if kept:
            page.section(
                f"🔒 Not asked for: {', '.join(kept)}. The chart takes no Secret's name in place of a secret there; "
                "set it in the target's values, and plan again."
            )
        asked_for = len(run.plan.facts["missing_values"]) if run.plan else 0
        if asked_for > len(missing):
            page.small(f"{asked_for - len(missing)} more do not fit; the next plan asks for them.")
        return modal.dialog(
            page,
            supplying.fields(missing),
            callback=OfferKind.SUPPLY.value,
            title="Supply values",
            submit="Plan again",
            ids=ids,
        )

    # -- submissions ----------------------------------------------------------------------------------------

    async def _override(self, mark: str, given: Mapping[str, str], *, user: str) -> Answer:
        run = await self._presses.permitted(OfferKind.OVERRIDE, mark.partition(":")[0], user=user)
        release, reason = given.get(RELEASE, "").strip(), given.get(REASON, "").strip()
        problems: dict[str, str] = {}
        if release != self._release(run):
            problems[RELEASE] = "That is not the release's name. Type it exactly, to show that you mean it."
        if len(reason) < SHORTEST_REASON:
            problems[REASON] = "Say in a few words why it is right to go on."
        if problems:
            return Answer(problems)
        try:
            await self._desk.override(mark, user=user, reason=reason, release=release)
        except UserMistake as mistake:
            return Answer({REASON: str(mistake)})
        return Answer()

    async def _supply(self, mark: str, given: Mapping[str, str], *, user: str) -> Answer:
        run = await self._presses.permitted(OfferKind.SUPPLY, mark.partition(":")[0], user=user)
        _same_plan(run, mark)
        values, problems = supplying.read(_missing(run), given)
        if problems:
            return Answer(problems)
        await self._desk.supply(mark, user=user, values=values)
        return Answer()

    async def _confirm(self, mark: str, given: Mapping[str, str], *, user: str) -> Answer:
        run = await self._presses.permitted(OfferKind.CONFIRM, mark.partition(":")[0], user=user)
        if run.state is RunState.AWAITING_APPROVAL:
            _same_plan(run, mark)
        left_out = confirming.excepted(run, given)
        if confirming.nothing_left(run, left_out):
            return Answer({confirming.EXCEPTED: "Nothing would be left to do. Close this dialog instead."})
        await self._presses.approve(run, mark, user=user, excepted=left_out)
        return Answer()

    def _release(self, run: RunRecord) -> str:
        return self._target(run).release

    def _target(self, run: RunRecord) -> Target:
        target = self._config.target(run.target)
        if target is None:
            raise Refused(f"The target {run.target} is no longer in the configuration.")
        return target


def _ids(view: Mapping[str, Any]) -> dict[str, str]:
    try:
        found = json.loads(str(view.get("private_metadata") or "{}"))
    except ValueError:
        found = {}
    return {"mark": "", "channel": "", **{str(name): str(value) for name, value in dict(found).items()}}


def _typed(problem: Temporary, kind: OfferKind | None, mark: str, *, command: str) -> Temporary:
    """A dialog that Slack does not open now must not stop an emergency: it can be confirmed by typing."""
    if kind is not OfferKind.CONFIRM:
        return problem
    typed = f"Or type `{command} approve {mark.partition(':')[0]}`."
    return Temporary(problem.message, way_out=f"{problem.way_out} {typed}".strip(), retry_after=problem.retry_after)


def _same_plan(run: RunRecord, mark: str) -> None:
    if plan_mark(run) != mark:
        raise Refused(
            "The plan has changed since this card was shown.", way_out="Look at the card as it is now, then decide."
        )


def _missing(run: RunRecord) -> list[supplying.Missing]:
    missing = supplying.missing_values(run.plan.facts) if run.plan else []
    if not missing:
        raise Refused(f"Run {run.id} misses no values now.", way_out="Look at its card.")
    if not any(one.askable for one in missing):
        raise Refused(
            "What this run misses are secrets, and the chart takes no Secret's name in their place.",
            way_out="Set them in the target's values, and plan again.",
        )
    return missing
