"""Builds modals that Slack takes: texts from a ``Page``, typed fields below them. Pure.

A field is found again in a submission by its id; ``private_metadata`` carries opaque ids and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bot.slack import limits
from bot.slack.markup import cut
from bot.slack.render import Page, SlackMessage

Json = dict[str, Any]
VALUE = "value"
"""The ``action_id`` of every field's element."""


@dataclass(frozen=True)
class Field:
    """One field. ``label``, ``hint`` and ``choices`` are plain text; a chosen one comes back as its number.

    Of ``several`` any number may be chosen, none too; their numbers come back with commas between them.

    ``least`` and ``most`` bound a number; ``longest`` a text, in characters.
    """

    id: str
    label: str
    hint: str = ""
    kind: Literal["line", "text", "integer", "decimal", "choice", "several"] = "line"
    choices: tuple[str, ...] = ()
    initial: str | None = None
    least: float | None = None
    most: float | None = None
    longest: int = limits.INPUT_TEXT
    optional: bool = False

    def block(self) -> Json:
        """As Slack wants it."""
        block: Json = {
            "type": "input",
            "block_id": self.id,
            "label": _plain(self.label, limits.INPUT_LABEL),
            "element": {"action_id": VALUE, **self._element()},
        }
        if self.kind == "several" or self.optional:
            block["optional"] = True
        if self.hint.strip():
            block["hint"] = _plain(self.hint, limits.INPUT_HINT)
        return block

    def _element(self) -> Json:
        if self.kind in ("choice", "several"):
            options = [
                {"text": _plain(text, limits.OPTION_TEXT), "value": str(number)}
                for number, text in enumerate(self.choices[: limits.OPTIONS])
            ]
            if self.kind == "several":
                few = len(options) <= limits.CHECKBOXES  # a tap each; of many, a list that can be searched
                return {"type": "checkboxes" if few else "multi_static_select", "options": options}
            chosen = {"initial_option": options[self.choices.index(self.initial)]} if self._offered() else {}
            return {"type": "static_select", "options": options, **chosen}
        initial = {"initial_value": self.initial} if self.initial is not None else {}
        if self.kind in ("integer", "decimal"):
            bounds = {"min_value": self.least, "max_value": self.most}
            said = {name: f"{bound:.17g}" for name, bound in bounds.items() if bound is not None}
            return {"type": "number_input", "is_decimal_allowed": self.kind == "decimal", **said, **initial}
        multiline = {"multiline": True} if self.kind == "text" else {}
        return {"type": "plain_text_input", "max_length": min(self.longest, limits.INPUT_TEXT), **multiline, **initial}

    def _offered(self) -> bool:
        return self.initial is not None and self.initial in self.choices[: limits.OPTIONS]


def dialog(page: Page, fields: Sequence[Field], *, callback: str, title: str, submit: str, ids: str) -> Json:
    """A modal that asks. ``ids`` come back with the submission."""
    room = limits.MODAL_BLOCKS - len(fields)
    return {
        "type": "modal",
        "callback_id": callback,
        "private_metadata": ids,
        "title": _plain(title, limits.MODAL_TITLE),
        "submit": _plain(submit, limits.MODAL_TITLE),
        "close": _plain("Cancel", limits.MODAL_TITLE),
        "blocks": [*page.message("dialog").blocks[:room], *(field.block() for field in fields)],
    }


def notice(message: SlackMessage, *, title: str) -> Json:
    """A modal that only says something."""
    return {
        "type": "modal",
        "title": _plain(title, limits.MODAL_TITLE),
        "close": _plain("Close", limits.MODAL_TITLE),
        "blocks": list(message.blocks),
    }


def given(view: Mapping[str, Any]) -> dict[str, str]:
    """What a person put into a submitted modal, by field id; a field left empty is an empty text."""
    found: dict[str, str] = {}
    for block, actions in ((view.get("state") or {}).get("values") or {}).items():
        state = (actions or {}).get(VALUE) or {}
        if "selected_options" in state:
            found[str(block)] = ",".join(str(one.get("value")) for one in state["selected_options"] or ())
            continue
        chosen = (state.get("selected_option") or {}).get("value")
        found[str(block)] = str(chosen if chosen is not None else state.get("value") or "")
    return found


def _plain(text: str, limit: int) -> Json:
    return {"type": "plain_text", "text": cut(" ".join(text.split()), limit) or "…"}
