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
from handlers import answers
from handlers.commands import Commands, Typed
from handlers.intake import Door, Work
from handlers.presses import Presses
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
    presses = Presses(desk=desk, permissions=permissions, vocabulary=vocabulary)
    commands = Commands(
        config=config,
        desk=desk,
        permissions=permissions,
        channels=Channels(config=config, names=ChannelNames(clients.web)),
        presses=presses,
        vocabulary=vocabulary,
    )
    work = Work(_Handler(commands=commands, presses=presses, responder=Responder(clients.session)))
    secret = settings.secrets.signing_secret
    app = AsyncApp(
        name="aeterna-bot",
        client=clients.web,
        signing_secret=secret.get_secret_value() if secret else "",
        before_authorize=Door(work=work, command=config.slack.command),
        request_verification_enabled=config.slack.mode == "http",
        attaching_function_token_enabled=False,
        ignoring_self_assistant_message_events_enabled=False,
    )
    return Entrance(app, work, permissions)


class _Handler:
    """Handles one acknowledged command or click, and answers the person."""

    def __init__(self, *, commands: Commands, presses: Presses, responder: Responder) -> None:
        self._commands = commands
        self._presses = presses
        self._responder = responder

    async def __call__(self, body: dict[str, Any]) -> None:
        try:
            if "command" in body:
                answer = await self._commands(Typed.of(body))
            else:
                answer = await self._presses.click(body)
        except BotError as problem:
            answer = answers.error(problem)
        except Exception as problem:  # noqa: BLE001 - a mistake of ours: the person gets a reference, the log the rest
            answer = answers.unexpected(problem, doing="command" if "command" in body else "click")
        if answer is not None and (url := body.get("response_url")):
            await self._responder.answer(str(url), answer)
