"""Puts the Slack entry points together: one call by the composition root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slack_bolt.async_app import AsyncApp

from bot.engine.desk import Desk
from bot.errors import BotError
from bot.settings import Settings
from bot.slack.channels import ChannelNames, Channels
from bot.slack.client import SlackClients
from bot.slack.permissions import Permissions, UserGroups
from bot.slack.responder import Responder
from bot.slack.views import Views
from bot.store.journal import TargetHeld
from handlers import answers
from handlers.buttons import opens_dialog, urgent
from handlers.commands import Commands, Typed
from handlers.dialogs import Dialogs
from handlers.emergencies import FILL, Emergencies
from handlers.externalizing import Externalizing
from handlers.intake import Door, Work
from handlers.presses import Presses
from handlers.submissions import Submissions
from handlers.vocabulary import Vocabulary


@dataclass(frozen=True)
class Entrance:
    """``app`` takes Slack's requests (Socket Mode or HTTP); ``work.run()`` has to run as a task beside it."""

    app: AsyncApp
    work: Work
    permissions: Permissions


def register(*, settings: Settings, clients: SlackClients, desk: Desk) -> Entrance:
    """Builds the Bolt app with everything behind it. Nothing is sent and nothing started yet."""
    config = settings.config
    permissions = Permissions(config=config, members=UserGroups(clients.web))
    vocabulary = Vocabulary(desk.runbooks)
    channels = Channels(config=config, names=ChannelNames(clients.web))
    views = Views(clients.web)
    presses = Presses(config=config, desk=desk, permissions=permissions, channels=channels, vocabulary=vocabulary)
    emergencies = Emergencies(config=config, desk=desk, presses=presses, vocabulary=vocabulary, views=views)
    externalizing = Externalizing(
        config=config, desk=desk, presses=presses, channels=channels, emergencies=emergencies, views=views
    )
    commands = Commands(
        config=config,
        desk=desk,
        permissions=permissions,
        channels=channels,
        presses=presses,
        emergencies=emergencies,
        externalizing=externalizing,
        vocabulary=vocabulary,
    )
    dialogs = Dialogs(
        config=config, desk=desk, presses=presses, emergencies=emergencies, externalizing=externalizing, views=views
    )
    submissions = Submissions(dialogs=dialogs)
    responder = Responder(clients.session)
    handler = _Handler(
        commands=commands,
        presses=presses,
        dialogs=dialogs,
        emergencies=emergencies,
        submissions=submissions,
        responder=responder,
        desk=desk,
        views=views,
    )
    work = Work(handler)

    async def submitted(body: dict[str, Any]) -> dict[str, Any]:
        return await submissions.acknowledge(body, work)

    secret = settings.secrets.signing_secret
    app = AsyncApp(
        name="aeterna-bot",
        client=clients.web,
        signing_secret=secret.get_secret_value() if secret else "",
        before_authorize=Door(work=work, command=config.slack.command, submitted=submitted, urgent=urgent),
        request_verification_enabled=config.slack.mode == "http",
        attaching_function_token_enabled=False,
        ignoring_self_assistant_message_events_enabled=False,
    )
    return Entrance(app, work, permissions)


class _Handler:
    """Handles one acknowledged command, click or dialog, and answers the person."""

    def __init__(
        self,
        *,
        commands: Commands,
        presses: Presses,
        dialogs: Dialogs,
        emergencies: Emergencies,
        submissions: Submissions,
        responder: Responder,
        desk: Desk,
        views: Views,
    ) -> None:
        self._desk = desk
        self._views = views
        self._commands = commands
        self._presses = presses
        self._dialogs = dialogs
        self._emergencies = emergencies
        self._submissions = submissions
        self._responder = responder

    async def __call__(self, body: dict[str, Any]) -> None:
        if body.get("type") == "view_submission":
            await self._submissions.finish(body)
            return
        if body.get("type") == FILL:
            await self._emergencies.fill(body["view"], body["run"], channel=body["channel"], settle=True)
            return
        answer = None
        try:
            if "command" in body:
                answer = await self._commands(Typed.of(body))
            elif opens_dialog(body):
                await self._dialogs.open(body)
            else:
                answer = await self._presses.click(body)
        except TargetHeld as problem:
            answer = answers.error(problem, link=await self._card(problem.holder))
        except BotError as problem:
            answer = answers.error(problem)
        except Exception as problem:  # noqa: BLE001 - a mistake of ours: the person gets a reference, the log the rest
            answer = answers.unexpected(problem, doing="command" if "command" in body else "click")
        if answer is not None and (url := body.get("response_url")):
            await self._responder.answer(str(url), answer)

    async def _card(self, run_id: str | None) -> str | None:
        """The address of the card of whoever holds the target, for whom the person has to wait."""
        place = await self._desk.card(run_id) if run_id else None
        return await self._views.link(*place) if place else None
