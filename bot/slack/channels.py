"""Which target is meant in a channel, and whether its messages may appear there.

A target answers in its own channels. With ``--target`` it also answers in other targets' channels and in incident
channels, for people who have the permission. What only the asking person sees may be asked anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Protocol

from slack_sdk.web.async_client import AsyncWebClient

from bot.errors import Refused, Temporary, UserMistake
from bot.settings import Configuration, Target
from bot.slack.calls import SlackRefused, call


class Names(Protocol):
    """Names of channels by id."""

    async def name(self, channel: str) -> str | None: ...


class ChannelNames:
    """Names of channels by id, asked for anew after ``ttl`` seconds: a name may say that one person is enough there.

    What Slack does not tell now is as it was, so that its bad day holds up no emergency.
    """

    def __init__(self, client: AsyncWebClient, *, ttl: float = 300.0, clock: Callable[[], float] | None = None) -> None:
        self._client = client
        self._ttl = ttl
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._names: dict[str, tuple[str, float]] = {}

    async def name(self, channel: str) -> str | None:
        """The name; None when Slack never told it (a private channel without the bot, a direct message)."""
        known, until = self._names.get(channel, ("", 0.0))
        if until <= self._clock():
            try:
                answer = await call("conversations.info", self._client.conversations_info(channel=channel))
            except (SlackRefused, Temporary):
                return known or None
            known = str((answer.get("channel") or {}).get("name") or "")
            self._names[channel] = known, self._clock() + self._ttl
        return known or None


class Channels:
    """Finds the target of a command."""

    def __init__(self, *, config: Configuration, names: Names) -> None:
        self._config = config
        self._names = names

    def targets_here(self, channel: str) -> list[Target]:
        """The targets whose channel it is."""
        return [target for target in self._config.targets if channel in target.channels]

    def target(self, named: str | None, channel: str, *, possible: list[str]) -> Target:
        """The target that is meant. ``possible``: the names that the person may know of, for the answer.

        Raises ``UserMistake`` for an unknown name and when the channel does not say which target is meant.
        """
        listed = ", ".join(f"`{name}`" for name in possible) or "none"
        if named is not None:
            found = self._config.target(named)
            if found is None or (possible and named not in possible):
                raise UserMistake(f"There is no target {named!r} for you.", way_out=f"Your targets: {listed}.")
            return found
        here = self.targets_here(channel)
        if len(here) == 1:
            return here[0]
        if here:
            raise UserMistake(
                "This channel belongs to several targets.",
                way_out=f"Add --target with one of {', '.join(f'`{target.name}`' for target in here)}.",
            )
        raise Refused("This channel belongs to no target.", way_out=f"Add --target NAME. Your targets: {listed}.")

    async def incident(self, target: Target, channel: str) -> bool:
        """Whether it is an incident channel of the target, by its name. A name that Slack does not tell is none."""
        patterns = target.incident_channels
        name = await self._names.name(channel) if patterns else None
        return name is not None and any(fnmatchcase(name, pattern) for pattern in patterns)

    async def check_place(self, target: Target, channel: str) -> None:
        """Raises ``Refused`` when messages about the target must not appear in the channel."""
        if any(channel in other.channels for other in self._config.targets):
            return
        if await self.incident(target, channel):
            return
        patterns = target.incident_channels
        own = " or ".join(f"<#{own}>" for own in target.channels) or "a channel of a target"
        incident = f", or in an incident channel ({', '.join(f'`{p}`' for p in patterns)})" if patterns else ""
        raise Refused(
            "Everybody in this channel would see it, and the channel belongs to no target.",
            way_out=f"Ask for {target.name} in {own}{incident}.",
        )
