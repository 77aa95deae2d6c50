"""Slack's limits on messages and views: what just fits is taken, one more is refused under Slack's own error name."""

from __future__ import annotations

from typing import Any

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from dev.slack import Limits, SlackWorkspace
from dev.slack.blocks import block_problems, view_problems

Json = dict[str, Any]


def plain(length: int) -> Json:
    return {"type": "plain_text", "text": "x" * length}


def marked(length: int) -> Json:
    return {"type": "mrkdwn", "text": "x" * length}


def button(number: int = 0, **parts: Any) -> Json:
    return {"type": "button", "action_id": f"a{number}", "text": plain(5), **parts}


def buttons(count: int) -> Json:
    return {"type": "actions", "elements": [button(number) for number in range(count)]}


def section(length: int) -> Json:
    return {"type": "section", "text": marked(length)}


def fields(count: int, length: int = 1) -> Json:
    return {"type": "section", "fields": [marked(length)] * count}


def header(length: int) -> Json:
    return {"type": "header", "text": plain(length)}


def context(count: int) -> Json:
    return {"type": "context", "elements": [marked(1)] * count}


def one_button(**parts: Any) -> Json:
    return {"type": "actions", "elements": [button(**parts)]}


def select(count: int, text: int = 5, value: int = 5) -> Json:
    option = {"text": plain(text), "value": "v" * value}
    element = {"type": "static_select", "action_id": "s", "options": [option] * count}
    return {"type": "actions", "elements": [element]}


AT_THE_LIMIT = [
    pytest.param([section(3000)], [section(3001)], "/blocks/0/text/text", id="section text"),
    pytest.param([fields(10)], [fields(11)], "/blocks/0/fields", id="fields"),
    pytest.param([fields(1, 2000)], [fields(1, 2001)], "/blocks/0/fields/0/text", id="field text"),
    pytest.param([header(150)], [header(151)], "/blocks/0/text/text", id="header"),
    pytest.param([context(10)], [context(11)], "/blocks/0/elements", id="context elements"),
    pytest.param([buttons(25)], [buttons(26)], "/blocks/0/elements", id="actions elements"),
    pytest.param(
        [one_button(text=plain(75))],
        [one_button(text=plain(76))],
        "/blocks/0/elements/0/text/text",
        id="button text",
    ),
    pytest.param(
        [one_button(value="v" * 2000)],
        [one_button(value="v" * 2001)],
        "/blocks/0/elements/0/value",
        id="button value",
    ),
    pytest.param(
        [one_button(action_id="a" * 255)],
        [one_button(action_id="a" * 256)],
        "/blocks/0/elements/0/action_id",
        id="action_id",
    ),
    pytest.param(
        [{**section(1), "block_id": "b" * 255}],
        [{**section(1), "block_id": "b" * 256}],
        "/blocks/0/block_id",
        id="block_id",
    ),
    pytest.param([select(100)], [select(101)], "/blocks/0/elements/0/options", id="options"),
    pytest.param([select(1, text=75)], [select(1, text=76)], "/blocks/0/elements/0/options/0/text/text", id="option"),
    pytest.param([section(1)] * 50, [section(1)] * 51, "/blocks", id="blocks of a message"),
]


@pytest.mark.parametrize(("fits", "too_much", "place"), AT_THE_LIMIT)
def test_what_just_fits_is_taken_and_one_more_is_refused(fits: Json, too_much: Json, place: str) -> None:
    assert block_problems(fits) == []
    problems = block_problems(too_much)
    assert problems
    assert all(problem.endswith(f"[json-pointer:{place}]") for problem in problems)


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param([{**section(1), "block_id": "b"}] * 2, id="two blocks with one block_id"),
        pytest.param([{"type": "actions", "elements": [button(1), button(1)]}], id="two buttons with one action_id"),
        pytest.param([{"type": "sektion"}], id="unknown type"),
        pytest.param([section(0)], id="empty text"),
        pytest.param([{"type": "section"}], id="section with nothing"),
        pytest.param([{"type": "header", "text": marked(3)}], id="mrkdwn in a header"),
        pytest.param([one_button(style="green")], id="unknown style"),
        pytest.param([buttons(0)], id="actions without buttons"),
        pytest.param([{"type": "actions", "elements": [{"type": "plain_text_input"}]}], id="input in actions"),
        pytest.param([one_button(confirm={"title": plain(101), "text": plain(1)})], id="long confirm title"),
    ],
)
def test_malformed_blocks_are_refused(blocks: list[Json]) -> None:
    assert block_problems(blocks)


def test_a_modal_takes_a_hundred_blocks_and_a_title_of_24() -> None:
    modal: Json = {"type": "modal", "title": plain(24), "blocks": [section(1)] * 100}
    assert view_problems(modal) == []
    assert view_problems({**modal, "blocks": [section(1)] * 101})
    assert view_problems({**modal, "title": plain(25)})
    assert view_problems({**modal, "private_metadata": "x" * 3001})
    assert view_problems({"type": "home", "blocks": [section(1)] * 100}) == []


async def error_of(client: AsyncWebClient, **message: Any) -> Any:
    with pytest.raises(SlackApiError) as raised:
        await client.chat_postMessage(channel="C0OPS", **message)
    return raised.value.response.data


async def test_the_client_sees_slacks_names_and_places(slack: SlackWorkspace, client: AsyncWebClient) -> None:
    slack.limits = Limits.unhurried()
    answer = await error_of(client, text="x", blocks=[section(3001)])
    assert answer["error"] == "invalid_blocks"
    assert answer["response_metadata"]["messages"] == [
        "[ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]"
    ]
    assert (await error_of(client, text="x" * 40_001))["error"] == "msg_too_long"
    assert (await error_of(client, text="x", blocks=[section(2800)] * 4))["error"] == "msg_blocks_too_long"
    await client.chat_postMessage(channel="C0OPS", text="x" * 40_000, blocks=[section(220)] * 50)
    assert len(await slack.messages("ops")) == 1


async def test_updates_and_ephemerals_have_the_same_limits(client: AsyncWebClient) -> None:
    card = await client.chat_postMessage(channel="C0OPS", text="card")
    too_many = [section(1)] * 51
    with pytest.raises(SlackApiError, match="invalid_blocks"):
        await client.chat_update(channel="C0OPS", ts=card["ts"], text="x", blocks=too_many)
    with pytest.raises(SlackApiError, match="invalid_blocks"):
        await client.chat_postEphemeral(channel="C0OPS", user="U0BOB", text="x", blocks=too_many)


async def test_a_home_tab_beyond_the_limit_is_refused_as_invalid_arguments(
    slack: SlackWorkspace, client: AsyncWebClient
) -> None:
    with pytest.raises(SlackApiError) as raised:
        await client.views_publish(user_id="U0BOB", view={"type": "home", "blocks": [section(1)] * 101})
    assert raised.value.response["error"] == "invalid_arguments"
    await client.views_publish(user_id="U0BOB", view={"type": "home", "blocks": [section(1)] * 100})
    await slack.wait_until(lambda workspace: workspace.home("bob") is not None)


async def test_with_the_limits_off_everything_passes(slack: SlackWorkspace, client: AsyncWebClient) -> None:
    slack.limits = Limits.off()
    await client.chat_postMessage(channel="C0OPS", text="x", blocks=[section(4000)] * 60)
    assert len(await slack.messages("ops")) == 1
