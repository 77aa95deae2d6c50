"""Another service outside, through Slack: dialog, test, switch-over, the bundled one switched off, and the way back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from bot.kube.loss import KEEP
from bot.kube.objects import annotations_of
from bot.services.cnpg import API
from dev.charts import light_values
from dev.redis import RedisServer
from dev.slack import Message
from dev.slack.blocks import view_problems
from dev.toolchain import Toolchain
from tests.cluster.external_world import OUTSIDE, PASSWORD, SECRET, Names, a_qdrant, database_on, with_postgres
from tests.journeys.conftest import Start
from tests.journeys.dialogs import inputs
from tests.journeys.journey import PATIENCE, Journey
from tests.journeys.test_emergency_conversation import confirm, dialog, incident_card, press
from tests.slack.support import everything

CAROL = "U0CAROL"
PROBE = {"probe": {"image": "registry.example/aeterna-bot:1.0.0"}}
QDRANT = {**light_values(), "qdrant": {"enabled": True}, "vectorBackend": {"type": "qdrant"}}


async def asked(world: Journey, service: str, *, channel: str = "inc-42", user: str = "carol") -> dict[str, Any]:
    """Somebody types the command; the dialog that asks where the other one is."""
    await world.slack.command(user, channel, f"emergency externalize {service} --target prod")
    await world.slack.wait_until(
        lambda w: (w.modal or {}).get("callback_id") == "emergency-externalize", timeout=PATIENCE
    )
    modal = world.slack.modal
    assert modal is not None
    assert view_problems(modal) == []
    return modal


def filled(modal: Mapping[str, Any], **values: str) -> dict[str, Any]:
    """What a person sends off: what stands in the fields already, and these."""
    given: dict[str, Any] = {}
    for block in inputs(dict(modal)):
        element, name = block["element"], str(block["block_id"])
        if element["type"] == "static_select":
            chosen = next(one for one in element["options"] if one["text"]["text"] == values.get(name, "off"))
            given[name] = {element["action_id"]: {"type": "static_select", "selected_option": chosen}}
            continue
        text = values.get(name, element.get("initial_value"))
        given[name] = {element["action_id"]: {"type": "plain_text_input", "value": text}}
    return given


async def approved(world: Journey, card: Message) -> Message:
    """Bob says yes in the incident channel, and it is done."""
    await world.slack.click("bob", "inc-42", card.ts, "run_approve")
    return await incident_card(world, "🚀 Upgrade prod", "✅ *Done*", f"`{world.run_id(card)}`")


async def env(world: Journey, name: str) -> str:
    path = f"/api/v1/namespaces/{world.namespace}/configmaps/aeterna"
    found = await asyncio.to_thread(world.api.get, path)
    return str(found["data"].get(name))


async def there(world: Journey, kind: str, name: str) -> bool:
    version = API if kind == "Cluster" else "apps/v1"
    return await world.cluster.get(version, kind, name, world.namespace) is not None


async def test_the_command_lists_its_three_services_and_names_the_nearest(start: Start) -> None:
    world = await start(**PROBE)
    await world.ask("emergency externalize", user="carol")
    await world.private(CAROL, "Which service", "`postgres`, `redis`, `qdrant`")
    await world.ask("emergency externalize postgrse", user="carol")
    await world.private(CAROL, "no service 'postgrse'", "Did you mean `postgres`?")
    await world.ask("emergency externalise", user="carol")
    await world.private(CAROL, "Did you mean `/aeterna emergency externalize postgres|redis|qdrant`?")
    await world.slack.command("alice", "ops", "emergency externalize postgres")
    await world.private("U0ALICE", "`emergency` on prod")
    assert world.slack.modal is None


async def test_what_is_wrong_is_said_at_its_field_and_a_password_is_never_taken(start: Start) -> None:
    world = await start(**PROBE)
    modal = await asked(world, "postgres")
    shown = {block["block_id"]: block["element"] for block in inputs(modal)}
    assert list(shown) == ["host", "port", "database", "user", "tls", "secret", "key"]
    assert (shown["port"]["initial_value"], shown["database"]["initial_value"]) == ("5432", "aeterna")
    assert shown["tls"]["initial_option"]["text"]["text"] == "on"
    assert json.loads(modal["private_metadata"])["mark"] == "postgres"
    typed = f"postgres://aeterna:{PASSWORD}@db.example.com"
    await world.slack.submit_view("carol", filled(modal, host=typed, port="70000", secret="Tr0ub4dor&3x"))
    await world.slack.wait_until(lambda w: len(w.modal_errors) == 3, timeout=PATIENCE)
    assert "only the host's name belongs here" in world.slack.modal_errors["host"]
    assert "1 to 65535" in world.slack.modal_errors["port"]
    assert "never typed into Slack" in world.slack.modal_errors["secret"]
    await world.slack.submit_view("carol", filled(modal, host=OUTSIDE, secret="nowhere"))
    await world.slack.wait_until(lambda w: "There is no Secret" in json.dumps(w.modal), timeout=PATIENCE)
    card = await incident_card(world, "🚨 Try another service for prod", "⛔ *Cannot go ahead*", "There is no Secret")
    assert PASSWORD not in everything(card)
    assert await world.statuses() == ["0.2.0 deployed"]


async def test_elsewhere_a_second_person_is_needed_and_what_is_typed_whole_needs_no_dialog(start: Start) -> None:
    world = await start(values=QDRANT, **PROBE)
    names = Names(world.api, world.namespace)
    async with a_qdrant("1.10.1", points=0) as port:
        names.lead(OUTSIDE, 6333, port)
        world.slack.faults.add("ratelimited", "views.open", times=1, retry_after=1)
        await world.ask("emergency externalize qdrant", user="carol")
        await world.private(
            CAROL, "Slack opens no dialog now", "emergency externalize qdrant --host HOST --secret NAME"
        )
        await world.ask(f"emergency externalize qdrant --host https://{OUTSIDE}", user="carol")
        await world.private(CAROL, "host: This is a URL", "a dialog asks for each")
        await world.ask(f"emergency externalize qdrant --host {OUTSIDE}", user="carol")
        card = await world.card("🚨 Try another service for prod", "Ready for approval", "someone else than <@U0CAROL>")
        await world.press(card, "Approve…", user="bob")
        said = json.dumps(await dialog(world), ensure_ascii=False)
        for part in (f"Namespace `{world.namespace}`", "Release `aeterna`", OUTSIDE):
            assert part in said
        await confirm(world, user="bob")
        await world.card("✅ *Done*", "Qdrant 1.10.1", ts=card.ts)


async def test_a_wrong_password_is_put_right_in_the_secret_and_tried_again(start: Start, toolchain: Toolchain) -> None:
    world = await start(**PROBE)
    names = Names(world.api, world.namespace)
    with RedisServer(toolchain, password=PASSWORD) as port:
        names.lead(OUTSIDE, 6379, port)
        names.secret(SECRET, redis_password="wr0ng-h0rse-battery")
        await world.slack.submit_view("carol", filled(await asked(world, "redis"), host=OUTSIDE, secret=SECRET))
        await dialog(world)
        await confirm(world)
        failed = await incident_card(world, "· redis → db.outside.example", "❌ *Failed*", "refuses key redis-password")
        assert "Nothing of the release was changed." in everything(failed)
        assert "wr0ng" not in everything(failed)
        names.secret(SECRET, redis_password=PASSWORD)
        await press(world, failed, "Plan again")
        again = await incident_card(world, "· redis → db.outside.example", "Ready to be confirmed")
        await press(world, again, "Confirm…")
        await dialog(world)
        await confirm(world)
        done = await incident_card(world, "· redis → db.outside.example", "✅ *Done*", "Redis 6")
    assert "Not looked at" in everything(done), "the light release has no Redis that could answer"
    assert await world.statuses() == ["0.2.0 deployed"]


async def test_a_vector_store_is_tested_switched_over_to_switched_off_and_taken_back(start: Start) -> None:
    world = await start(values=QDRANT, **PROBE)
    names = Names(world.api, world.namespace)
    async with a_qdrant("1.12.0", points=7) as port:
        names.lead(OUTSIDE, 6333, port)
        await world.slack.submit_view("carol", filled(await asked(world, "qdrant"), host=OUTSIDE))
        said = json.dumps(await dialog(world), ensure_ascii=False)
        for part in (f"Namespace `{world.namespace}`", "Release `aeterna`", OUTSIDE, "without a password"):
            assert part in said
        assert await world.statuses() == ["0.2.0 deployed"], "nothing is done before the tap"
        await confirm(world)
        tested = await incident_card(world, "🚨 Try another service for prod", "✅ *Done*", "Qdrant 1.12.0")
    assert tested.buttons == ["Switch over"]
    assert await world.statuses() == ["0.2.0 deployed"], "the test itself changes nothing"
    await press(world, tested, "Switch over")
    upgrade = await incident_card(world, "🚀 Upgrade prod", "*Supplied for this run*", OUTSIDE, "tested it")
    assert "`rollback 1` goes back" in everything(upgrade)
    done = await approved(world, upgrade)
    assert await env(world, "AETERNA_QDRANT_HOST") == OUTSIDE
    assert await there(world, "StatefulSet", "aeterna-qdrant"), "what is bundled runs on until somebody says otherwise"
    assert "Switch off bundled Qdrant" in done.buttons
    await press(world, done, "Switch off bundled Qdrant")
    second = await incident_card(
        world, "🚀 Upgrade prod", "*Supplied for this run*", "The bundled Qdrant is switched off"
    )
    assert "its data stays in" in everything(second)
    done = await approved(world, second)
    assert not await there(world, "StatefulSet", "aeterna-qdrant")
    assert await env(world, "AETERNA_QDRANT_HOST") == OUTSIDE
    assert not [button for button in done.buttons if button.startswith("Switch")]
    await world.slack.command("carol", "inc-42", "rollback 1 --target prod")
    back = await incident_card(world, "↩️ Roll back prod", "Ready to be confirmed")
    await world.slack.click("carol", "inc-42", back.ts, "run_approve")
    await incident_card(world, "↩️ Roll back prod", "✅ *Done*")
    assert await there(world, "StatefulSet", "aeterna-qdrant")
    assert await env(world, "AETERNA_QDRANT_HOST") == "aeterna-qdrant"


async def test_a_database_outlives_its_switch_over_and_the_way_back(
    start: Start, postgres_url: str, world: Journey
) -> None:
    names = Names(world.api, world.namespace)
    with database_on(postgres_url) as inside, database_on(postgres_url) as outside:
        inside.fill(40)
        names.lead(f"aeterna-cnpg-rw.{world.namespace}.svc", 5432, inside.port)
        names.secret("aeterna-cnpg-app", password=PASSWORD, username=inside.user)
        names.lead(OUTSIDE, 5432, outside.port)
        names.secret(SECRET, postgres_password=PASSWORD, username=outside.user)
        await start(values={**light_values(), "postgresql": with_postgres(inside)}, **PROBE)
        given = {"host": OUTSIDE, "database": outside.name, "user": outside.user, "secret": SECRET}
        await world.slack.submit_view("carol", filled(await asked(world, "postgres"), **given))
        assert "is sent to db.outside.example, port 5432" in json.dumps(await dialog(world))
        await confirm(world)
        tested = await incident_card(
            world, "🚨 Try another service for prod", "✅ *Done*", "It is empty: the data was not"
        )
        assert tested.buttons == ["Switch over"]
    kept = await world.cluster.get(API, "Cluster", "aeterna-cnpg", world.namespace)
    assert kept is not None
    assert annotations_of(kept)[KEEP] == "keep"
    await press(world, tested, "Switch over")
    upgrade = await incident_card(world, "🚀 Upgrade prod", "*Supplied for this run*", "The data was not copied")
    done = await approved(world, upgrade)
    assert await env(world, "AETERNA_POSTGRESQL_HOST") == OUTSIDE
    assert await there(world, "Cluster", "aeterna-cnpg"), (
        "the database is no part of the release any more, and is there"
    )
    assert not [button for button in done.buttons if button.startswith("Switch")]
    await press(world, done, "Roll back to 1 (0.2.0)")
    await incident_card(world, "↩️ Roll back prod", "✅ *Done*")
    assert await env(world, "AETERNA_POSTGRESQL_HOST") == "aeterna-cnpg-rw"
    again = await world.cluster.get(API, "Cluster", "aeterna-cnpg", world.namespace)
    assert again is not None
    assert again["metadata"]["uid"] == kept["metadata"]["uid"]
