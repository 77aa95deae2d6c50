"""Slack's limits on blocks and views, with the wording of its ``response_metadata.messages``.

Numbers from the Block Kit reference. Block types that the project does not use (rich_text, table, video …)
are known by name and only checked for their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dev.slack.model import Json

MESSAGE_BLOCKS = 50
VIEW_BLOCKS = 100
MESSAGE_TEXT = 40_000
# Not in the reference: all blocks of a message together hold about 12,000 characters, then Slack answers
# msg_blocks_too_long; a refusal was seen at 11,341 (slackapi/bolt-js 2509, 2867). We refuse a little earlier.
ALL_BLOCKS_TEXT = 11_000
TEXT = 3000
PLAIN, MARKDOWN = ("plain_text",), ("plain_text", "mrkdwn")

_UNCHECKED = {"divider", "file", "markdown", "rich_text", "table", "video"}
_IN_ACTIONS = {
    "button",
    "channels_select",
    "checkboxes",
    "conversations_select",
    "datepicker",
    "datetimepicker",
    "external_select",
    "multi_static_select",
    "overflow",
    "radio_buttons",
    "static_select",
    "timepicker",
    "users_select",
}
_OPTIONS = {
    "static_select": 100,
    "multi_static_select": 100,
    "overflow": 5,
    "checkboxes": 10,
    "radio_buttons": 10,
}
_OPTION_VALUE = 150


def block_problems(blocks: Any, *, at: str = "/blocks", most: int = MESSAGE_BLOCKS) -> list[str]:
    """What Slack would say about these blocks; an empty list when it would take them."""
    check = _Check()
    check.blocks(blocks, at, most)
    return check.found


def view_problems(view: Any) -> list[str]:
    """The same for a modal or Home view."""
    check = _Check()
    if not isinstance(view, dict) or view.get("type") not in ("modal", "home"):
        check.say("missing or unsupported type", "/view/type")
        return check.found
    check.blocks(view.get("blocks"), "/view/blocks", VIEW_BLOCKS)
    if view["type"] == "modal":
        check.text(view.get("title"), "/view/title", most=24, kinds=PLAIN)
        for part in ("submit", "close"):
            if part in view:
                check.text(view[part], f"/view/{part}", most=24, kinds=PLAIN)
        if any(b.get("type") == "input" for b in view.get("blocks") or ()) and "submit" not in view:
            check.say("missing required field: submit", "/view")
    check.length(view.get("private_metadata"), "/view/private_metadata", TEXT)
    check.length(view.get("callback_id"), "/view/callback_id", 255)
    return check.found


def text_length(part: Any) -> int:
    """The characters of every ``text`` in these blocks."""
    if isinstance(part, list):
        return sum(text_length(one) for one in part)
    if not isinstance(part, dict):
        return 0
    own = len(part["text"]) if isinstance(part.get("text"), str) else 0
    return own + sum(text_length(value) for value in part.values())


class _Check:
    """Walks blocks and collects findings; a pointer says where each one is."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def say(self, what: str, at: str) -> None:
        self.found.append(f"[ERROR] {what} [json-pointer:{at}]")

    def length(self, value: Any, at: str, most: int) -> None:
        if value is None:
            return
        if not isinstance(value, str):
            self.say("must be a string", at)
        elif len(value) > most:
            self.say(f"must be less than {most + 1} characters", at)

    def count(self, items: Any, at: str, most: int) -> Sequence[Any]:
        """The items when they are a list of an allowed length; findings and nothing otherwise."""
        if not isinstance(items, list):
            self.say("must be an array", at)
            return ()
        if not items:
            self.say("no less than 1 items allowed", at)
        if len(items) > most:
            self.say(f"no more than {most} items allowed", at)
        return items

    def text(self, value: Any, at: str, *, most: int, kinds: Sequence[str] = MARKDOWN) -> None:
        if not isinstance(value, dict):
            self.say("missing required text object", at)
            return
        if value.get("type") not in kinds:
            self.say(f"must be a valid enum value: {', '.join(kinds)}", f"{at}/type")
        text = value.get("text")
        if not isinstance(text, str):
            self.say("missing required field: text", at)
        elif not text:
            self.say("must be more than 0 characters", f"{at}/text")
        else:
            self.length(text, f"{at}/text", most)

    def blocks(self, blocks: Any, at: str, most: int) -> None:
        if blocks in (None, []):
            return
        ids: set[str] = set()
        for number, block in enumerate(self.count(blocks, at, most)):
            here = f"{at}/{number}"
            if not isinstance(block, dict):
                self.say("must be an object", here)
                continue
            self.length(block.get("block_id"), f"{here}/block_id", 255)
            if (block_id := block.get("block_id")) is not None:
                if block_id in ids:
                    self.say(f"block_id already exists: {block_id}", f"{here}/block_id")
                ids.add(block_id)
            self._block(block, here)

    def _block(self, block: Json, at: str) -> None:
        walk: dict[str, Callable[[Json, str], None]] = {
            "section": self._section,
            "header": lambda b, a: self.text(b.get("text"), f"{a}/text", most=150, kinds=PLAIN),
            "context": self._context,
            "actions": self._actions,
            "image": self._image,
            "input": self._input,
        }
        kind = block.get("type")
        if kind in walk:
            walk[kind](block, at)
        elif kind not in _UNCHECKED:
            self.say(f"unsupported type: {kind}", f"{at}/type")

    def _section(self, block: Json, at: str) -> None:
        if "text" not in block and "fields" not in block:
            self.say("missing required field: text or fields", at)
        if "text" in block:
            self.text(block["text"], f"{at}/text", most=TEXT)
        if "fields" in block:
            for number, one in enumerate(self.count(block["fields"], f"{at}/fields", 10)):
                self.text(one, f"{at}/fields/{number}", most=2000)
        if "accessory" in block:
            accessory = block["accessory"]
            here = f"{at}/accessory"
            if isinstance(accessory, dict) and accessory.get("type") == "image":
                self._image(accessory, here)
            else:
                self._element(accessory, here)

    def _context(self, block: Json, at: str) -> None:
        for number, element in enumerate(self.count(block.get("elements"), f"{at}/elements", 10)):
            here = f"{at}/elements/{number}"
            if isinstance(element, dict) and element.get("type") == "image":
                self._image(element, here)
            else:
                self.text(element, here, most=TEXT)

    def _actions(self, block: Json, at: str) -> None:
        ids: set[str] = set()
        for number, element in enumerate(self.count(block.get("elements"), f"{at}/elements", 25)):
            here = f"{at}/elements/{number}"
            self._element(element, here)
            action_id = str(element.get("action_id") or "") if isinstance(element, dict) else ""
            if action_id and action_id in ids:
                self.say(f"action_id already exists: {action_id}", f"{here}/action_id")
            ids.add(action_id)

    def _image(self, block: Json, at: str) -> None:
        if "alt_text" not in block:
            self.say("missing required field: alt_text", at)
        self.length(block.get("alt_text"), f"{at}/alt_text", 2000)
        self.length(block.get("image_url"), f"{at}/image_url", 3000)

    def _input(self, block: Json, at: str) -> None:
        self.text(block.get("label"), f"{at}/label", most=2000, kinds=PLAIN)
        if "hint" in block:
            self.text(block["hint"], f"{at}/hint", most=2000, kinds=PLAIN)
        element = block.get("element")
        if not isinstance(element, dict):
            self.say("missing required field: element", at)
            return
        self.length(element.get("action_id"), f"{at}/element/action_id", 255)
        self._options(element, f"{at}/element")

    def _element(self, element: Any, at: str) -> None:
        if not isinstance(element, dict) or element.get("type") not in _IN_ACTIONS:
            kind = element.get("type") if isinstance(element, dict) else element
            self.say(f"unsupported type: {kind}", f"{at}/type")
            return
        self.length(element.get("action_id"), f"{at}/action_id", 255)
        if element["type"] == "button":
            self.text(element.get("text"), f"{at}/text", most=75, kinds=PLAIN)
            self.length(element.get("value"), f"{at}/value", 2000)
            self.length(element.get("url"), f"{at}/url", 3000)
            self.length(element.get("accessibility_label"), f"{at}/accessibility_label", 75)
            if element.get("style") not in (None, "primary", "danger"):
                self.say("must be a valid enum value: primary, danger", f"{at}/style")
        self._options(element, at)
        if "confirm" in element:
            self._confirm(element["confirm"], f"{at}/confirm")

    def _options(self, element: Json, at: str) -> None:
        if "placeholder" in element:
            self.text(element["placeholder"], f"{at}/placeholder", most=150, kinds=PLAIN)
        if (most := _OPTIONS.get(element["type"])) is None or "option_groups" in element:
            return
        for number, option in enumerate(self.count(element.get("options"), f"{at}/options", most)):
            here = f"{at}/options/{number}"
            self.text(option.get("text"), f"{here}/text", most=75)
            self.length(option.get("value"), f"{here}/value", _OPTION_VALUE)

    def _confirm(self, confirm: Json, at: str) -> None:
        self.text(confirm.get("title"), f"{at}/title", most=100, kinds=PLAIN)
        self.text(confirm.get("text"), f"{at}/text", most=300)
        for part in ("confirm", "deny"):
            if part in confirm:
                self.text(confirm[part], f"{at}/{part}", most=30, kinds=PLAIN)
