"""What a person does with a dialog: waits for it, fills it in, reads what it says is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dev.slack import Message
from tests.journeys.journey import Journey


async def opened(world: Journey, card: Message, button: str, *, user: str, part: str) -> dict[str, Any]:
    """The dialog of a button, once it shows this part."""
    await world.press(card, button, user=user)
    await world.slack.wait_until(lambda slack: part in json.dumps(slack.modal, ensure_ascii=False), timeout=30)
    assert world.slack.modal is not None
    return world.slack.modal


def typed(view: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """A submission of texts, by a part of each field's label."""
    given = {}
    for part, value in values.items():
        block = next(one for one in inputs(view) if part in one["label"]["text"])
        given[block["block_id"]] = {block["element"]["action_id"]: {"type": "plain_text_input", "value": value}}
    return given


def inputs(view: dict[str, Any]) -> list[dict[str, Any]]:
    """The fields of a dialog."""
    return [block for block in view["blocks"] if block["type"] == "input"]


async def closed(world: Journey) -> None:
    """Until no dialog is open."""
    await world.slack.wait_until(lambda slack: slack.modal is None, timeout=20)
