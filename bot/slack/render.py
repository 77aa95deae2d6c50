"""Builds messages that Slack takes: the one place that applies its limits to blocks.

Texts come in as finished mrkdwn (``bot.slack.markup`` makes others' text safe first). What does not fit is cut, and a
line says so and where the rest is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bot.slack import limits
from bot.slack.markup import cut, prose

Json = dict[str, Any]


@dataclass(frozen=True)
class Button:
    """One button. ``value`` is an opaque id, nothing else. ``confirm`` is the text of its dialog.

    ``apart``: it stands in a row above the others, so that many of its kind take no room from them.
    """

    label: str
    action: str
    value: str
    style: Literal["primary", "danger"] | None = None
    confirm: str | None = None
    apart: bool = False

    def element(self) -> Json:
        """As Slack wants it. Raises ``ValueError`` for a value that is no id: that would be a mistake in our code."""
        if len(self.value) > limits.BUTTON_VALUE:
            raise ValueError("a button carries an id, not a text")
        label = {"type": "plain_text", "text": cut(self.label, limits.BUTTON_TEXT) or "…", "emoji": True}
        element: Json = {"type": "button", "text": label, "action_id": self.action, "value": self.value}
        if self.style:
            element["style"] = self.style
        if self.confirm:
            element["confirm"] = {
                "title": {"type": "plain_text", "text": cut(self.label, limits.CONFIRM_TITLE) or "…"},
                "text": {"type": "mrkdwn", "text": cut(prose(self.confirm), limits.CONFIRM_TEXT) or "…"},
                "confirm": {"type": "plain_text", "text": "Yes"},
                "deny": {"type": "plain_text", "text": "No"},
            }
        return element


@dataclass(frozen=True)
class SlackMessage:
    """A finished message: ``text`` is for screen readers and notifications."""

    text: str
    blocks: tuple[Json, ...] = ()

    def payload(self) -> Json:
        return {"text": self.text, "blocks": list(self.blocks)}


class Page:
    """Collects blocks from top to bottom and makes the message.

    ``rest`` says where a reader finds what was cut. The end of a page (``foot``) is kept when the middle has to give way.
    """

    def __init__(self, *, rest: str = "") -> None:
        self._rest = rest
        self.shortened = False
        """Whether something was cut, known once the message is made."""
        self._blocks: list[tuple[Json, int]] = []
        self._foot: list[tuple[Json, int]] = []

    def header(self, text: str) -> None:
        """A large line, plain text."""
        said = cut(" ".join(text.split()), limits.HEADER) or "…"
        self._add({"type": "header", "text": {"type": "plain_text", "text": said, "emoji": True}}, len(said))

    def section(self, text: str, *, foot: bool = False) -> None:
        """A paragraph; an empty one is left out."""
        if text.strip():
            said = self._fit(text, limits.SECTION)
            self._add({"type": "section", "text": {"type": "mrkdwn", "text": said}}, len(said), foot=foot)

    def small(self, *texts: str, foot: bool = False) -> None:
        """Small grey texts in one row."""
        said = [self._fit(text, limits.CONTEXT) for text in texts if text.strip()][: limits.CONTEXT_ELEMENTS]
        if said:
            elements = [{"type": "mrkdwn", "text": text} for text in said]
            self._add({"type": "context", "elements": elements}, sum(map(len, said)), foot=foot)

    def lines(self, lines: Sequence[str], *, small: bool = False) -> None:
        """Lines in as few blocks as they fit into, so that none is cut in the middle."""
        most = limits.CONTEXT if small else limits.SECTION
        add = self.small if small else self.section
        block: list[str] = []
        for line in lines:
            if block and sum(len(one) + 1 for one in block) + len(line) > most:
                add("\n".join(block))
                block = []
            block.append(line)
        if block:
            add("\n".join(block))

    def divider(self) -> None:
        """A line across."""
        self._add({"type": "divider"}, 0)

    def buttons(self, buttons: Sequence[Button], *, block_id: str = "buttons") -> None:
        """Rows of buttons at the foot, those that stand ``apart`` above; none is no row."""
        for name, row in (
            (f"{block_id}-apart", [button for button in buttons if button.apart]),
            (block_id, [button for button in buttons if not button.apart]),
        ):
            if row:
                elements = [button.element() for button in row[: limits.BUTTONS]]
                block: Json = {"type": "actions", "block_id": name, "elements": elements}
                self._add(block, sum(len(button.label) for button in row), foot=True)

    def message(self, text: str) -> SlackMessage:
        """The message; ``text`` is what a screen reader says."""
        room_blocks = limits.BLOCKS - len(self._foot) - 1
        room_text = limits.BLOCKS_TEXT - sum(size for _, size in self._foot) - 300
        kept: list[Json] = []
        for block, size in self._blocks:
            if len(kept) == room_blocks or size > room_text:
                self.shortened = True
                kept.append(_note(f"✂️ {len(self._blocks) - len(kept)} parts are not shown. {self._rest}".strip()))
                break
            kept.append(block)
            room_text -= size
        foot = [block for block, _ in self._foot]
        return SlackMessage(cut(text.strip() or "…", limits.TEXT), (*kept, *foot))

    def _fit(self, text: str, limit: int) -> str:
        if len(text) <= limit:
            return text
        self.shortened = True
        return cut(text, limit, end=cut(f"…\n✂️ Cut here. {self._rest}".rstrip(), limit))

    def _add(self, block: Json, size: int, *, foot: bool = False) -> None:
        (self._foot if foot else self._blocks).append((block, size))


def _note(text: str) -> Json:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": cut(text, limits.CONTEXT)}]}
