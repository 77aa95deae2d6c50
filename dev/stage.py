"""What the demo's scenes are played with: people who type, press and fill in, and a narrator who tells it.

Everything goes through the workspace, as a person's browser would; nothing here knows what a scene is about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from dev import release
from dev.slack import DEFAULT_USERS, Message
from dev.world import NAMESPACE, World

CHANNEL, INCIDENT = "ops", "inc-42"
_USERS = {user.name: user.id for user in DEFAULT_USERS}
_BAR = re.compile(r"[🟩🟦🟥⬜]+ +\d+ of \d+")
_UNDER_WAY = re.compile(r"🔄 \*(?!Running)(.+?)\*")


class StoryFailed(Exception):
    """A scene did not come out as told; the text says where."""


def say(text: str) -> None:
    """A line of the narrator's."""
    print(text, flush=True)


@dataclass(frozen=True)
class Stage:
    """The world, and what people do in its channel."""

    world: World
    channel: str = CHANNEL
    _told: set[str] = field(default_factory=set)
    """Lines of cards that were told already."""

    async def types(self, user: str, text: str) -> None:
        """Somebody types ``/aeterna TEXT``."""
        say(f"• {user.capitalize()} types: /aeterna {text}")
        await self.world.slack.command(user, self.channel, text)

    async def presses(self, user: str, card: Message, label: str) -> None:
        """Somebody presses the button whose label begins so, as the card has it now."""
        now = await self.sees(lambda message: message.ts == card.ts, "the card", 5)
        found = next((one for one in now.elements if one["text"]["text"].startswith(label)), None)
        if found is None:
            raise StoryFailed(f"The card has {now.buttons}, and no {label!r}:\n{self.text(now)}")
        await self.world.slack.click(user, self.channel, card.ts, found["action_id"])

    async def chooses(self, user: str, card: Message, label: str, choice: str) -> None:
        """Presses a button that opens a dialog with one list, chooses from it, and sends the dialog off."""
        await self.presses(user, card, label)
        try:
            await self.world.slack.wait_until(lambda workspace: _lists(workspace.modal) != [], timeout=20)
        except TimeoutError as error:
            raise StoryFailed(f"{label!r} opened no dialog with a list.") from error
        view = self.world.slack.modal or {}
        (field,) = _lists(view)
        options = {one["text"]["text"]: one for one in field["element"]["options"]}
        if choice not in options:
            raise StoryFailed(f"The dialog offers {list(options)}, not {choice!r}.")
        say(f"• {user.capitalize()} presses “{label}”; the dialog asks for {field['label']['text']}: {choice}.")
        state = {"type": "static_select", "selected_option": options[choice]}
        await self.world.slack.submit_view(user, {field["block_id"]: {field["element"]["action_id"]: state}})

    async def confirms(self, user: str) -> None:
        """Reads the one dialog before an emergency, and confirms it."""
        slack = self.world.slack
        try:
            await slack.wait_until(
                lambda workspace: (workspace.modal or {}).get("callback_id") == "confirm", timeout=30
            )
        except TimeoutError as error:
            raise StoryFailed("No dialog asked for a confirmation.") from error
        view = slack.modal or {}
        say(f"• The dialog “{view['title']['text']}”:")
        self.quote(slack.shown(view["blocks"]))
        say(f"• {user.capitalize()} presses “{view['submit']['text']}”.")
        await slack.submit_view(user, {})

    async def sees(self, true: Callable[[Message], bool], what: str, patience: float = 60) -> Message:
        """The newest message that fits, now or as soon as one does."""
        try:
            return await self.world.slack.wait_for(self.channel, true, timeout=patience)
        except TimeoutError as error:
            raise StoryFailed(f"Waited {patience:.0f} s for {what} in vain.") from error

    async def card(self, *parts: str, ts: str | None = None, what: str, patience: float = 60) -> Message:
        """A card that shows all of these parts; its text is told, what was told before only counted."""

        def fits(message: Message) -> bool:
            root = message.ephemeral_to is None and message.thread_ts in (None, message.ts)
            return root and ts in (None, message.ts) and all(part in self.text(message) for part in parts)

        found = await self.sees(fits, what, patience)
        lines = self.text(found).splitlines()
        self.quote("\n".join(folded(lines, self._told)))
        self._told.update(lines)
        return found

    async def refused(self, user: str, *parts: str) -> None:
        """What only this person sees; told."""
        person = _USERS[user]
        found = await self.sees(
            lambda m: m.ephemeral_to == person and all(part in self.text(m) for part in parts), "a refusal", 30
        )
        self.quote(self.text(found))

    async def done(self, card: Message) -> Message:
        """The card once its run is over; each new state of its progress bar is told on the way."""
        told: list[str] = []

        def over(message: Message) -> bool:
            if message.ts != card.ts:
                return False
            text = self.text(message)
            bar, step = _BAR.search(text), _UNDER_WAY.search(text)
            line = f"{bar[0]}{f' · {step[1]}' if step else ''}" if bar else ""
            if line and line not in told:
                told.append(line)
                self.quote(line)
            return bool(message.buttons) and not {"Cancel", "Approve"} & set(message.buttons)

        await self.sees(over, "the run's end", 240)
        return await self.sees(lambda message: message.ts == card.ts, "the card", 5)

    async def file(self, card: Message, name: str, part: str) -> str:
        """The newest file of that name in the card's thread, once it is one that has ``part``."""

        def there(message: Message) -> bool:
            return message.thread_ts == card.ts and any(one["name"] == name for one in message.files)

        seen: set[str] = set()
        while True:
            found = await self.sees(lambda m: there(m) and m.ts not in seen, f"{name} with {part!r}", 20)
            text = await self.world.slack.file_text(next(one for one in found.files if one["name"] == name))
            if part in text:
                return text
            seen.add(found.ts)

    async def by_hand(self, *arguments: str) -> None:
        """Helm past the bot, as somebody on a laptop would."""
        program = self.world.toolchain.path("helm")
        await release.helm(program, self.world.cluster.kubeconfig, *arguments, f"--namespace={NAMESPACE}")

    def text(self, message: Message) -> str:
        """A message as it is now, in plain text."""
        return self.world.slack.shown(message.blocks) or message.text

    @staticmethod
    def quote(text: str) -> None:
        """What Slack shows, set apart from what is told."""
        say("\n".join(f"  │ {line}".rstrip() for line in text.splitlines()))


def folded(lines: Sequence[str], told: Collection[str]) -> list[str]:
    """Lines in a row that were told before become one that counts them; two are not worth it."""
    shown: list[str] = []
    for known, group in groupby(lines, key=lambda line: line in told):
        run = list(group)
        shown += [f"⋮ {len(run)} lines as before"] if known and len(run) > 2 else run
    return shown


def _lists(view: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = json.loads(json.dumps((view or {}).get("blocks") or []))
    return [one for one in blocks if one["type"] == "input" and one["element"]["type"] == "static_select"]
