"""Socket Mode as Slack does it: one connection an envelope, the same envelope again until it is acked."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from dev.slack import Limits, SlackWorkspace
from tests.slack.bolt import bolt_app, connected, raw_socket

Json = dict[str, Any]
APPROVE: list[Json] = [
    {"type": "section", "text": {"type": "mrkdwn", "text": "Upgrade to *0.2.1*?"}},
    {
        "type": "actions",
        "elements": [
            {
                "type": "button",
                "action_id": "approve",
                "value": "run-1",
                "text": {"type": "plain_text", "text": "Approve"},
            },
            {
                "type": "button",
                "action_id": "reject",
                "value": "run-1",
                "text": {"type": "plain_text", "text": "Reject"},
            },
        ],
    },
]


async def test_a_command_and_a_click_make_the_round_trip_with_bolt(slack: SlackWorkspace) -> None:
    app = bolt_app(slack)

    @app.command("/aeterna")
    async def asked(ack: Any, command: Json, client: AsyncWebClient) -> None:
        await ack()
        await client.chat_postMessage(channel=command["channel_id"], text="plan", blocks=APPROVE)

    @app.action("approve")
    async def approved(ack: Any, body: Json, client: AsyncWebClient) -> None:
        await ack()
        where = {"channel": body["channel"]["id"], "ts": body["message"]["ts"]}
        await client.chat_update(**where, text=f"{body['actions'][0]['value']} by <@{body['user']['id']}>", blocks=[])

    async with connected(slack, app):
        await slack.command("alice", "ops", "upgrade 0.2.1")
        card = await slack.wait_for("ops", lambda m: "Approve" in m.buttons)
        await slack.click("bob", "ops", card.ts, "approve")
        done = await slack.wait_for("ops", lambda m: m.text == "run-1 by <@U0BOB>")
    assert done.ts == card.ts
    assert slack.transcript("ops") == "\n".join(
        ["alice: /aeterna upgrade 0.2.1", "aeterna: run-1 by @bob", "bob: presses [Approve]"]
    )


async def test_a_button_that_is_not_there_cannot_be_clicked(slack: SlackWorkspace, client: AsyncWebClient) -> None:
    card = await client.chat_postMessage(channel="C0OPS", text="plan", blocks=APPROVE)
    with pytest.raises(LookupError, match=r"has no cancel.*it has approve='run-1', reject='run-1'"):
        await slack.click("bob", "ops", card["ts"], "cancel")
    secret = await client.chat_postEphemeral(channel="C0OPS", user="U0ALICE", text="plan", blocks=APPROVE)
    await slack.wait_for("ops", lambda m: m.ts == secret["message_ts"])
    with pytest.raises(LookupError, match="only U0ALICE sees"):
        await slack.click("bob", "ops", secret["message_ts"], "approve")


def delivered(count: int, workspace: SlackWorkspace) -> bool:
    return len(workspace.deliveries) == count


async def test_of_two_connections_only_one_gets_an_envelope_in_turn(slack: SlackWorkspace) -> None:
    async with raw_socket(slack) as one, raw_socket(slack) as two:
        await slack.connected(2)
        for number in range(4):
            await slack.command("alice", "ops", str(number), wait_for_ack=False)
            await slack.wait_until(partial(delivered, number + 1))
            envelope = await (one if slack.deliveries[-1].connection == 1 else two).receive_json()
            await (one if slack.deliveries[-1].connection == 1 else two).send_json(
                {"envelope_id": envelope["envelope_id"]}
            )
        await slack.wait_until(lambda workspace: all(d.acked for d in workspace.deliveries))
    assert sorted(d.connection for d in slack.deliveries) == [1, 1, 2, 2]


async def test_an_unacked_envelope_comes_again_with_retry_attributes(local_slack: Path) -> None:
    async with (
        SlackWorkspace.running(program=local_slack, redeliver_after=0.2) as slack,
        raw_socket(slack) as socket,
    ):
        await slack.command("alice", "ops", "status", wait_for_ack=False)
        first, second = await socket.receive_json(), await socket.receive_json()
        assert (first["retry_attempt"], first["retry_reason"]) == (0, "")
        assert (second["retry_attempt"], second["retry_reason"]) == (1, "timeout")
        assert first["envelope_id"] == second["envelope_id"]
        assert first["payload"] == second["payload"]
        await socket.send_json({"envelope_id": second["envelope_id"]})
        await slack.wait_until(lambda workspace: all(d.acked for d in workspace.deliveries))


async def test_after_three_tries_an_envelope_is_given_up(local_slack: Path) -> None:
    async with (
        SlackWorkspace.running(program=local_slack, redeliver_after=0.05) as slack,
        raw_socket(slack) as socket,
    ):
        await slack.command("alice", "ops", "status", wait_for_ack=False)
        assert [(await socket.receive_json())["retry_attempt"] for _ in range(3)] == [0, 1, 2]
        with pytest.raises(TimeoutError):
            await socket.receive_json(timeout=0.3)


async def test_an_envelope_goes_to_another_connection_when_the_first_closes_without_ack(slack: SlackWorkspace) -> None:
    async with raw_socket(slack) as one, raw_socket(slack) as two:
        await slack.connected(2)
        await slack.command("alice", "ops", "status", wait_for_ack=False)
        await slack.wait_until(lambda workspace: bool(workspace.deliveries))
        holder, other = (one, two) if slack.deliveries[0].connection == 1 else (two, one)
        envelope = await holder.receive_json()
        await holder.close()
        again = await other.receive_json(timeout=5)
    assert again["envelope_id"] == envelope["envelope_id"]
    assert again["retry_attempt"] == 1


async def test_a_command_typed_while_no_bot_is_connected_waits_for_one(slack: SlackWorkspace) -> None:
    await slack.command("alice", "ops", "status", wait_for_ack=False)
    async with raw_socket(slack) as socket:
        envelope = await socket.receive_json(timeout=5)
    assert envelope["payload"]["text"] == "status"
    assert envelope["retry_attempt"] == 0


async def test_a_websocket_url_works_once(slack: SlackWorkspace, client_with: Any) -> None:
    url = (await client_with(slack.app_token).apps_connections_open(app_token=slack.app_token))["url"]
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url):
            await slack.connected()
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(url)


async def test_an_acks_text_is_shown_only_to_the_one_who_asked(slack: SlackWorkspace) -> None:
    app = bolt_app(slack)

    @app.command("/aeterna")
    async def asked(ack: Any) -> None:
        await ack("unknown word")

    async with connected(slack, app):
        await slack.command("alice", "ops", "stauts")
        said = await slack.wait_for("ops", lambda m: m.text == "unknown word")
    assert said.ephemeral_to == "U0ALICE"


async def test_a_response_url_answers_privately_and_only_five_times(slack: SlackWorkspace) -> None:
    async with raw_socket(slack) as socket, aiohttp.ClientSession() as session:
        await slack.command("alice", "ops", "status", wait_for_ack=False)
        envelope = await socket.receive_json()
        await socket.send_json({"envelope_id": envelope["envelope_id"]})
        url = envelope["payload"]["response_url"]
        assert url.startswith(slack.url)
        for number in range(5):
            async with session.post(url, json={"text": str(number)}) as answer:
                assert answer.status == 200
        async with session.post(url, json={"text": "6"}) as answer:
            assert (answer.status, (await answer.json())["error"]) == (404, "used_url")
        await slack.wait_for("ops", lambda m: m.text == "4")
    assert [(m.text, m.ephemeral_to) for m in await slack.messages("ops")] == [(str(n), "U0ALICE") for n in range(5)]


async def test_a_response_url_ends_after_its_time_and_refuses_bad_messages(slack: SlackWorkspace) -> None:
    async with raw_socket(slack) as socket, aiohttp.ClientSession() as session:
        await slack.command("alice", "ops", "status", wait_for_ack=False)
        envelope = await socket.receive_json()
        await socket.send_json({"envelope_id": envelope["envelope_id"]})
        url = envelope["payload"]["response_url"]
        async with session.post(url, json={"text": "x" * 40_001}) as answer:
            assert (answer.status, (await answer.json())["error"]) == (400, "msg_too_long")
        async with session.post(url, json={}) as answer:
            assert (await answer.json())["error"] == "no_text"
        slack.limits = Limits(response_url_lifetime=0.0)
        async with session.post(url, json={"text": "late"}) as answer:
            assert (answer.status, (await answer.json())["error"]) == (404, "expired_url")


async def test_a_response_can_stay_in_its_thread(slack: SlackWorkspace, client: AsyncWebClient) -> None:
    card = await client.chat_postMessage(channel="C0OPS", text="card")
    async with raw_socket(slack) as socket, aiohttp.ClientSession() as session:
        await slack.command("alice", "ops", "status", wait_for_ack=False)
        url = (await socket.receive_json())["payload"]["response_url"]
        said = {"text": "in the thread", "thread_ts": card["ts"], "response_type": "in_channel"}
        async with session.post(url, json=said) as answer:
            assert answer.status == 200
    assert [m.text for m in await slack.thread("ops", card["ts"])] == ["in the thread"]


async def test_a_modal_opens_once_in_time_and_its_submission_arrives(slack: SlackWorkspace) -> None:
    app = bolt_app(slack)
    submitted: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
    errors: list[str] = []
    ids: list[str] = []
    asked_twice = asyncio.Event()
    text = {"type": "plain_text", "text": "Upgrade"}
    field = {"type": "plain_text_input", "action_id": "version"}
    view = {
        "type": "modal",
        "callback_id": "upgrade",
        "title": text,
        "submit": text,
        "blocks": [{"type": "input", "block_id": "v", "label": text, "element": field}],
    }

    @app.command("/aeterna")
    async def asked(ack: Any, body: Json, client: AsyncWebClient) -> None:
        await ack()
        opened = await client.views_open(trigger_id=body["trigger_id"], view=view)
        ids.append(opened["view"]["id"])
        await client.views_update(view_id=opened["view"]["id"], hash=opened["view"]["hash"], view=view)
        try:
            await client.views_update(view_id=opened["view"]["id"], hash=opened["view"]["hash"], view=view)
        except SlackApiError as error:
            errors.append(error.response["error"])
        try:
            await client.views_open(trigger_id=body["trigger_id"], view=view)
        except SlackApiError as error:
            errors.append(error.response["error"])
        asked_twice.set()

    @app.view("upgrade")
    async def sent(ack: Any, view: Json) -> None:
        await ack()
        submitted.set_result(view)

    async with connected(slack, app):
        await slack.command("alice", "ops", "upgrade")
        await asyncio.wait_for(asked_twice.wait(), 5)
        await slack.submit_view("alice", {"v": {"version": {"type": "plain_text_input", "value": "0.2.1"}}})
        sent_view = await asyncio.wait_for(submitted, 5)
        await slack.wait_until(lambda workspace: workspace.modal is None)
    assert sent_view["state"]["values"]["v"]["version"]["value"] == "0.2.1"
    assert sent_view["id"] == ids[0]
    assert errors == ["hash_conflict", "exchanged_trigger_id"]
