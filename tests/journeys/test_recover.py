"""Recovering when a rollback does not help: restarts, one workload after the other, and a database beside the old one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bot.engine.offers import RECOVERIES
from dev.charts import BadVersion, light_values
from runbooks.library import SHIPPED
from tests.journeys.conftest import Start
from tests.journeys.journey import ALICE, Journey
from tests.journeys.test_failures import EMERGENCIES
from tests.slack.support import everything

WITH_OPAL: dict[str, Any] = {**light_values(), "opal": {"enabled": True, "fetcher": {"enabled": False}}}
"""Three workloads, in the order in which they come back: opal-server, cedar-agent, the server."""
OPAL, AGENT, SERVER = "aeterna-opal-server", "aeterna-cedar-agent", "aeterna"


@pytest.fixture
def impatient_restart(tmp_path: Path) -> Path:
    """Our own `recover restart`, but it gives up on a hopeless pod after a second."""
    return _changed(tmp_path, "recover-restart", "components.restart")


@pytest.fixture
def impatient_rollback(tmp_path: Path) -> Path:
    """Our own `rollback`, but it gives up on a hopeless pod after a second."""
    return _changed(tmp_path, "rollback", "rollout.watch")


def _changed(tmp_path: Path, runbook: str, step: str) -> Path:
    text = (SHIPPED / f"{runbook}.yaml").read_text(encoding="utf-8")
    assert f"uses: {step}," in text
    text = text.replace(f"uses: {step},", f"uses: {step}, with: {{give_up_after: 1s}},")
    folder = tmp_path / "runbooks"
    folder.mkdir()
    (folder / f"{runbook}.yaml").write_text(text, encoding="utf-8")
    return folder


async def pods(world: Journey) -> dict[str, set[str]]:
    """The uids of the pods by the workload that they belong to."""
    found: dict[str, set[str]] = {OPAL: set(), AGENT: set(), SERVER: set()}
    for pod in await world.cluster.list("v1", "Pod", world.namespace, metadata_only=True):
        name = pod["metadata"]["name"]
        owner = next((one for one in (OPAL, AGENT) if name.startswith(one)), SERVER)
        if "deletionTimestamp" not in pod["metadata"] and "test" not in name:
            found[owner].add(pod["metadata"]["uid"])
    return found


async def set_image(world: Journey, name: str, tag: str) -> None:
    """Somebody gives a Deployment an image with this tag; its old pod stays until a new one is ready."""
    path = f"/apis/apps/v1/namespaces/{world.namespace}/deployments/{name}"
    obj = await asyncio.to_thread(world.api.get, path)
    container = obj["spec"]["template"]["spec"]["containers"][0]
    image = {"name": container["name"], "image": f"{container['image'].rpartition(':')[0]}:{tag}"}
    patch = {"spec": {"template": {"spec": {"containers": [image]}}}}
    await asyncio.to_thread(world.api.call, "PATCH", path, patch, "application/strategic-merge-patch+json")


async def test_a_component_is_restarted_when_another_person_approves_and_the_release_is_verified(start: Start) -> None:
    world = await start(values=WITH_OPAL)
    before = await pods(world)
    await world.ask("recover restart cedar-agnt")
    await world.private(ALICE, "There is no component 'cedar-agnt'.", "Did you mean `cedar-agent`?")
    card = await world.planned("recover restart cedar-agent")
    assert "Restarted one after the other" in everything(card)
    assert f"Deployment/{AGENT} (1 pod)" in everything(card)
    await world.press(card, "Approve")
    await world.private(ALICE, "You asked for this run, so somebody else has to approve it.")
    assert await pods(world) == before, "nothing is done before the approval"
    await world.approve(card)
    done = await world.card("✅ *Done*", "1 workload restarted and back, 1 pod", "Healthy: ", ts=card.ts)
    assert "Approved by <@U0BOB>" in everything(done)
    after = await pods(world)
    assert not before[AGENT] & after[AGENT]
    assert len(after[AGENT]) == 1
    assert (after[OPAL], after[SERVER]) == (before[OPAL], before[SERVER])
    assert await world.statuses() == ["0.2.0 deployed"]


async def test_a_restart_that_is_cancelled_between_two_workloads_says_which_are_restarted(start: Start) -> None:
    world = await start(values=WITH_OPAL)
    await set_image(world, AGENT, "never-ready")
    before = await pods(world)
    card = await world.planned("recover restart")
    assert "all of the release" not in everything(card)
    await world.approve(card)
    await world.card(f"2 of 3: Deployment/{AGENT}", ts=card.ts)
    await world.press(card, "Cancel")
    cancelled = await world.card(
        "⏹️ *Cancelled*",
        f"Interrupted: 1 of 3 workloads restarted. Begun and not back yet: Deployment/{AGENT}.",
        f"Not restarted: Deployment/{SERVER}.",
        ts=card.ts,
    )
    assert cancelled.buttons == ["Plan again"]
    after = await pods(world)
    assert not before[OPAL] & after[OPAL]
    assert after[SERVER] == before[SERVER]


async def test_the_first_workload_that_does_not_come_back_ends_it_with_its_events_and_its_log(
    start: Start, impatient_restart: Path
) -> None:
    world = await start(values=WITH_OPAL, runbooks=str(impatient_restart))
    await set_image(world, AGENT, "0.9.3-crash")
    before = await pods(world)
    card = await world.under_way("recover restart")
    failed = await world.attention(
        card, f"*Why* Deployment/{AGENT} did not come back:", f"Not restarted: Deployment/{SERVER}."
    )
    assert "*What now* Retry when the cause is removed" in everything(failed)
    await world.in_thread(card, "SchemaMismatch { expected: 21, found: 20 }")
    await world.in_thread(card, "Events of Deployment/aeterna-cedar-agent", "Scaled up replica set")
    after = await pods(world)
    assert after[SERVER] == before[SERVER]
    await set_image(world, AGENT, "0.9.3")
    await world.press(failed, "Retry")
    await world.card("✅ *Done*", "3 workloads restarted and back, 3 pods", ts=card.ts)
    assert (await pods(world))[OPAL] == after[OPAL], "what was restarted already is left alone"


async def test_a_failed_rollback_is_left_by_the_button_that_recovers_and_whoever_types_it_is_told_so(
    start: Start, impatient_rollback: Path
) -> None:
    world = await start(runbooks=str(impatient_rollback), target={"database": {"kind": "cnpg"}})
    await world.install(BadVersion.PODS_CRASH, light_values(), wait=False)
    await world.install("0.2.1", light_values())
    rollback = await world.planned("rollback 2")
    await world.press(rollback, "Approve")
    failed = await world.attention(rollback, "crash")
    assert failed.buttons == ["Retry", "Stop here", *RECOVERIES.values(), *EMERGENCIES]
    await world.ask("recover restart")
    told = await world.private(ALICE, f"prod is held by run {world.run_id(rollback)} (rollback, needs attention since")
    assert "Press `Restart the release` on its card, which ends it and asks for this." in everything(told)
    assert "|To the card>" in everything(told)
    await world.ask("upgrade 0.3.0")
    await world.private(ALICE, f"End it first (`Stop here` on its card, or `stop {world.run_id(rollback)}`)")
    await world.press(failed, "Restart the release")
    restart = await world.card("Restart prod", "Waiting for approval")
    ended = await world.card("❌ *Failed*", "Stopped here by <@U0ALICE>", ts=rollback.ts)
    assert ended.buttons == ["Plan again", *RECOVERIES.values(), *EMERGENCIES]
    assert restart.buttons == ["Approve", "Reject"]


# -- the database -----------------------------------------------------------------------------------------------

OLD = "aeterna-cnpg"
CNPG = "postgresql.cnpg.io/v1"


@pytest.fixture
def contents(postgresql_database: str) -> str:
    """A real database with migrations and rows, for what is behind both Clusters; its name."""
    plain = postgresql_database.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE _aeterna_migrations (version int, name text, checksum text, applied_at timestamptz)"
        )
        connection.execute("INSERT INTO _aeterna_migrations VALUES (17, 'quota', '', now())")
        connection.execute("CREATE TABLE memories AS SELECT generate_series(1, 5) AS id")
    return plain.partition("@")[2]


def bringing_its_database(contents: str) -> dict[str, Any]:
    owned = {"database": contents.rpartition("/")[2], "owner": "postgres"}
    cluster = {"bootstrap": {"initdb": owned}, "pgvector": {"enabled": False}}
    return {**light_values(), "postgresql": {"bundled": True, "cloudnativepg": cluster}}


async def apply(world: Journey, kind: str, name: str, version: str = "v1", **content: Any) -> None:
    document = {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": world.namespace},
        **content,
    }
    await asyncio.to_thread(world.api.apply, document)


async def services(world: Journey, contents: str, *names: str) -> None:
    """Where the Services of these Clusters lead: to the database, whether they are there yet or not."""
    server = contents.partition("/")[0]
    hosts = "".join(f"{name}-rw.{world.namespace}.svc:5432 {server}\n" for name in names)
    await apply(world, "ConfigMap", "standin-hosts", data={"hosts": hosts})


@contextlib.asynccontextmanager
async def operator_of_secrets(world: Journey) -> AsyncIterator[None]:
    """What CloudNativePG does for each Cluster: a Secret with the owner's password."""

    async def make() -> None:
        async with aclosing(world.cluster.watch(CNPG, "Cluster", world.namespace)) as events:
            async for event in events:
                if event.type == "ADDED":
                    data = {"username": "postgres", "password": "none-needed"}
                    name = f"{event.object['metadata']['name']}-app"
                    await apply(world, "Secret", name, type="kubernetes.io/basic-auth", stringData=data)

    making = asyncio.create_task(make())
    try:
        yield
    finally:
        making.cancel()
        await asyncio.wait({making})


async def completed(world: Journey, backup: str) -> None:
    async with asyncio.timeout(30), aclosing(world.cluster.watch(CNPG, "Backup", world.namespace)) as events:
        async for event in events:
            named = event.object and event.object["metadata"].get("name") == backup
            if named and (event.object.get("status") or {}).get("phase") == "completed":
                return


async def clusters(world: Journey) -> dict[str, dict[str, Any]]:
    found = await world.cluster.list(CNPG, "Cluster", world.namespace)
    return {str(one["metadata"]["name"]): one for one in found}


async def test_a_database_is_chosen_restored_checked_and_switched_over_to_while_the_old_one_stays(
    start: Start, contents: str
) -> None:
    world = await start(values=bringing_its_database(contents), target={"database": {"kind": "cnpg"}})
    async with operator_of_secrets(world):
        await _restored_and_switched_over_to(world, contents)


async def _restored_and_switched_over_to(world: Journey, contents: str) -> None:
    new = f"{OLD}-r{datetime.now(UTC):%Y%m%d}"
    await services(world, contents, OLD, new)
    upgrade = await world.under_way("upgrade 0.2.1")
    await world.card("✅ *Done*", ts=upgrade.ts)
    ours = f"aeterna-bot-{world.run_id(upgrade)}"
    await apply(world, "Backup", "nightly", CNPG, spec={"cluster": {"name": OLD}})
    await completed(world, "nightly")

    await world.ask("recover database —to yesterday")
    blocked = await world.card("⛔ *Cannot go ahead*", "`yesterday` is not a time that I can read.")
    assert blocked.buttons == [f"Take {ours}", "Take nightly", "Plan again"]
    await world.ask("recover database")
    heading = f"*What can be restored of {OLD} into the new Cluster {new}*"
    card = await world.card("✋ *Ready for approval*", heading)
    text = everything(card)
    first, second = text.index(f"▶️ `{ours}` of "), text.index("▫️ `nightly` of ")
    assert first < second, "our own backup of before the upgrade comes first"
    assert f"I made it for run {world.run_id(upgrade)} (`upgrade`), before that changed anything" in text
    assert "No WAL is archived: only the moments of these backups, nothing between them." in text
    assert "The schema of " in text
    assert (
        "is that of 0.2.0. Migrations only go forward: with 0.2.1, the release's migration Job does them again" in text
    )
    assert "To stay on 0.2.0, `rollback` to revision 1 first, and ask for this again then." in text
    assert card.buttons == ["Take nightly", "Approve", "Reject"]

    await world.press(card, "Take nightly")
    card = await world.card("✋ *Ready for approval*", "▶️ `nightly`", ts=card.ts)
    assert card.buttons == [f"Take {ours}", "Approve", "Reject"]
    await world.press(card, "Approve")
    await world.private(ALICE, "You asked for this run, so somebody else has to approve it.")
    assert list(await clusters(world)) == [OLD], "nothing is done before the approval"
    await world.approve(card)
    done = await world.card("✅ *Done*", f"Cluster {new}: 1 of 1 instance ready", "Nothing uses it yet.", ts=card.ts)
    assert f"newest migration 17 (quota), 2 tables with 6 rows. Its rows are those of {OLD}" in everything(done)
    assert (await clusters(world))[new]["spec"]["bootstrap"]["recovery"]["backup"] == {"name": "nightly"}
    assert done.buttons == ["Switch over"]

    await world.press(done, "Switch over")
    switch = await world.card("Upgrade prod", "*Ready for approval*", f"`postgresql.external.host` = `{new}-rw`")
    assert f"{new}-rw:5432, as run {world.run_id(card)} tested it " in everything(switch)
    assert f"Cluster/{OLD} would be deleted" not in everything(switch)
    await world.approve(switch)
    await world.card("✅ *Done*", "Healthy: ", ts=switch.ts)
    assert await world.statuses() == ["0.2.0 superseded", "0.2.1 superseded", "0.2.1 deployed"]
    assert f"{new}-rw" in await world.helm("get", "manifest", "aeterna")
    assert sorted(await clusters(world)) == [OLD, new]


async def test_a_restore_that_is_cancelled_while_the_new_cluster_comes_up_says_what_is_there(
    start: Start, contents: str
) -> None:
    world = await start(values=bringing_its_database(contents), target={"database": {"kind": "cnpg"}})
    await apply(world, "Backup", "nightly-unreadable", CNPG, spec={"cluster": {"name": OLD}})
    await completed(world, "nightly-unreadable")
    card = await world.under_way("recover database")
    await world.card("Setting up primary", ts=card.ts)
    await world.press(card, "Cancel")
    cancelled = await world.card(
        "⏹️ *Cancelled*", "It goes on by itself; delete it if nobody wants it any more.", ts=card.ts
    )
    assert cancelled.buttons == ["Plan again"]
    assert len(await clusters(world)) == 2
    await world.ask("locks")
    await world.private(ALICE, "*prod* is free")
