"""What people do to a run, by a button of its card or by typing its id: the same rules for both.

Permission is checked here, at the moment of the click; the policy of the run itself is the desk's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bot.engine.asking import Ask
from bot.engine.desk import Desk
from bot.engine.offers import OfferKind, asking, deciding, offers
from bot.errors import Refused
from bot.settings import Configuration, Permission
from bot.slack import words
from bot.slack.channels import Channels
from bot.slack.permissions import Permissions
from bot.slack.render import SlackMessage
from bot.store.records import RunRecord, RunState
from handlers import answers, buttons
from handlers.vocabulary import Vocabulary

_LEAST = {
    OfferKind.APPROVE: Permission.APPROVE,
    OfferKind.REJECT: Permission.APPROVE,
    OfferKind.ROLL_BACK: Permission.ROLLBACK,
    OfferKind.OVERRIDE: Permission.OVERRIDE,
    OfferKind.EMERGENCY: Permission.EMERGENCY,
    OfferKind.PERMANENT: Permission.UPGRADE,
}
_DECIDING = (OfferKind.APPROVE, OfferKind.CONFIRM, OfferKind.REJECT)


class Presses:
    """Does it, or raises ``Refused`` with the reason."""

    def __init__(
        self,
        *,
        config: Configuration,
        desk: Desk,
        permissions: Permissions,
        channels: Channels,
        vocabulary: Vocabulary,
    ) -> None:
        self._config = config
        self._channels = channels
        self._desk = desk
        self._permissions = permissions
        self._vocabulary = vocabulary

    async def click(self, body: dict[str, Any]) -> SlackMessage | None:
        """A button of a card; the answer is only for the person who pressed it, None when the card says it all."""
        action = (body.get("actions") or [{}])[0]
        kind, mark = buttons.kind(str(action.get("action_id", ""))), str(action.get("value") or "")
        if kind is None or not mark:
            raise Refused("This button belongs to an older version of the bot.", way_out="Use the run's newest card.")
        user = str(body["user"]["id"])
        message = str((body.get("container") or {}).get("message_ts") or "")
        key = f"click:{mark}:{kind.value}:{message}:{user}"
        if kind is OfferKind.ASK:
            return await self._ask(mark, user=user, key=key, trigger=str(body.get("trigger_id") or ""))
        run = await self.press(kind, mark, user=user, key=key)
        if run.id != mark.partition(":")[0] and kind in (OfferKind.RETRY, OfferKind.PERMANENT):
            return answers.said(f"It is planned anew as run `{run.id}`; its card is in <#{run.channel}>.")
        return None

    async def press(self, kind: OfferKind, mark: str, *, user: str, key: str, reason: str = "") -> RunRecord:
        """``mark`` is a run's id, or the id and the plan that the person saw. The run as it is afterwards.

        A new run that comes of it has its card where the old one has it, wherever the person is.
        """
        run_id = mark.partition(":")[0]
        run = await self.permitted(kind, run_id, user=user)
        match kind:
            case OfferKind.APPROVE:
                await self.approve(run, mark, user=user)
                return await self._desk.run(run_id)
            case OfferKind.REJECT:
                return await self._desk.reject(mark, user=user, reason=reason)
            case OfferKind.CANCEL:
                return await self._desk.cancel(run_id, user=user)
            case OfferKind.STOP:
                return await self._desk.stop(run_id, user=user)
            case OfferKind.RETRY:
                return await self._desk.retry(run_id, user=user, key=key, channel=run.channel)
            case OfferKind.ROLL_BACK:
                incident = await self.incident(run)
                channel = run.channel
                return await self._desk.roll_back(run_id, user=user, key=key, channel=channel, incident=incident)
            case OfferKind.PERMANENT:
                return await self._desk.make_permanent(run_id, user=user, key=key, channel=run.channel)
            case OfferKind.TICK:
                return await self._desk.tick(mark, user=user)
            case OfferKind.CHOOSE:
                return await self._desk.choose(mark, user=user)
            case OfferKind.CONFIRM | OfferKind.EMERGENCY | OfferKind.OVERRIDE | OfferKind.SUPPLY | OfferKind.ASK:
                raise Refused("This needs its dialog.", way_out="Press its button on the card.")

    async def _ask(self, mark: str, *, user: str, key: str, trigger: str) -> SlackMessage:
        """Asks for the run that a card offers, in the card's own channel. Two taps are one run, unless that is over.

        A run that waits for a decision and offers it is stopped first: until then it holds the target.
        """
        answer = await self._desk.run(mark.partition(":")[0])
        wanted = asking(answer, mark)
        if wanted is None:
            raise Refused("This button offers nothing any more.", way_out="Ask again for what it stands on.")
        permission = self._vocabulary.permission(self._desk.runbooks.text(wanted.runbook))
        await self._permissions.require(user, permission, answer.target)
        if answer.state is RunState.NEEDS_ATTENTION:
            await self.permitted(OfferKind.STOP, answer.id, user=user)
            await self._desk.stop(answer.id, user=user)
        incident = await self.incident(answer)
        ask = Ask(
            wanted.runbook, answer.target, wanted.inputs, user=user, channel=answer.channel, key=key, incident=incident
        )
        run = await self._desk.ask(ask)
        if run.state.over:
            run = await self._desk.ask(replace(ask, key=f"{key}:{trigger}"))
        return answers.said(f"It is planned as run `{run.id}`; its card is in <#{run.channel}>.")

    async def permitted(self, kind: OfferKind, run_id: str, *, user: str) -> RunRecord:
        """The run, if the person may do this to it; raises ``Refused`` otherwise.

        Overriding takes the permission of every blocker that is left.
        """
        run = await self._desk.run(run_id)
        if kind in _DECIDING and run.incident is not None and await self.alone(run, user=user):
            return run
        needed = {Permission.APPROVE if kind in _DECIDING else self._needed(kind, run)}
        if kind in _DECIDING and run.incident is not None and not await self._approves(run, user=user):
            needed = {deciding(run)}  # the permission that is enough here; for the refusal
        if kind is OfferKind.OVERRIDE:
            needed |= {Permission(finding.override) for finding in run.blockers if finding.override}
        for permission in sorted(needed):
            await self._permissions.require(user, permission, run.target)
        return run

    async def require(self, user: str, permission: Permission, target: str) -> None:
        """Raises ``Refused`` unless some role allows it."""
        await self._permissions.require(user, permission, target)

    async def incident(self, run: RunRecord) -> bool:
        """Whether the run's card stands in an incident channel of its target."""
        target = self._config.target(run.target)
        return target is not None and await self._channels.incident(target, run.channel)

    async def alone(self, run: RunRecord, *, user: str) -> bool:
        """Whether the person may decide about the run alone: its permission, and its place as it is called now."""
        if run.incident is None or not await self._permissions.allowed(user, Permission(run.incident), run.target):
            return False
        return await self.incident(run)

    async def approve(self, run: RunRecord, mark: str, *, user: str, excepted: Sequence[str] = ()) -> None:
        """A yes of somebody who is ``permitted``; said alone only where it would not be enough otherwise.

        A second click of the same person is told so, whichever of the two came through.
        """
        mine = run.exclude_requester and user == run.requested_by
        enough = not mine and run.approvals_needed <= len(run.valid_approvals) + 1
        usual = run.incident is None or (enough and await self._approves(run, user=user))
        alone = not usual and await self.alone(run, user=user)
        try:
            await self._desk.approve(mark, user=user, alone=alone, excepted=excepted, seen=run)
        except Refused as refused:
            now = await self._desk.run(run.id)
            mine = any(voice.user == user for voice in now.valid_approvals)
            if mine and now.state is not RunState.AWAITING_APPROVAL:
                text = f"You have approved run {run.id} already; it {words.state(now.state)}."
                raise Refused(text, way_out="Nothing is left to press.") from refused
            raise

    async def _approves(self, run: RunRecord, *, user: str) -> bool:
        return await self._permissions.allowed(user, Permission.APPROVE, run.target)

    def _needed(self, kind: OfferKind, run: RunRecord) -> Permission:
        """The offer's permission while it stands; otherwise what such a thing needs at the least."""
        for offer in offers(run):
            if offer.kind is kind:
                return offer.permission
        return _LEAST.get(kind) or self._vocabulary.permission(run.runbook_text)
