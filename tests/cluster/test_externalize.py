"""`emergency externalize` on the real API server: what is tried, what is said of it, and that the release stays as it is."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.engine.contract import CheckResult, Level, NotStarted, Outcome, RunInfo
from bot.errors import BotError, Permanent
from bot.kube import Cluster, ObjectRef
from bot.kube.loss import KEEP
from bot.kube.objects import annotations_of
from bot.redaction import redact_values
from bot.services.cnpg import API
from bot.store.records import PastStep, StepRecord, StepState
from dev.charts import light_values
from dev.charts.later import publish
from dev.controlplane import Api, Running
from dev.redis import RedisServer
from dev.toolchain import Toolchain
from tests.cluster.external_world import (
    KEY,
    OUTSIDE,
    PASSWORD,
    SECRET,
    Database,
    Names,
    a_qdrant,
    database_on,
    with_postgres,
)
from tests.cluster.runbook_world import World, blockers, texts, warnings, world_of

CLUSTER = "aeterna-cnpg"


@pytest.fixture
async def world(
    cluster: Cluster, control_plane: Running, helm_program: Path, namespace: str, tmp_path: Path
) -> AsyncIterator[World]:
    async with world_of(
        cluster=cluster, control_plane=control_plane, helm_program=helm_program, namespace=namespace, directory=tmp_path
    ) as world:
        yield world


@pytest.fixture
def names(api: Api, namespace: str) -> Names:
    return Names(api, namespace)


@pytest.fixture
def inside(postgres_url: str) -> Iterator[Database]:
    with database_on(postgres_url) as database:
        yield database


@pytest.fixture
def outside(postgres_url: str, names: Names) -> Iterator[Database]:
    """Reached under a name, with its password in a Secret."""
    with database_on(postgres_url) as database:
        names.lead(OUTSIDE, 5432, database.port)
        names.secret(SECRET, postgres_password=PASSWORD, username=database.user)
        yield database


@pytest.fixture
async def release(world: World, names: Names, inside: Database) -> World:
    """It brings its PostgreSQL, which has 120 memories."""
    inside.fill(120)
    names.lead(f"{CLUSTER}-rw.{world.namespace}.svc", 5432, inside.port)
    names.secret(f"{CLUSTER}-app", password=PASSWORD, username=inside.user)
    await world.install("0.2.1", {**light_values(), "postgresql": with_postgres(inside)}, settled=False)
    return world


async def plan(world: World, service: str = "postgres", **inputs: Any) -> CheckResult:
    given = {"host": OUTSIDE, "port": None, "secret": SECRET, "key": None, "tls": "off", "database": None, "user": None}
    world.asking("emergency-externalize", service=service, **{**given, **inputs})
    return await world.check("external.service")


async def planned(world: World, outside: Database, **inputs: Any) -> CheckResult:
    return await plan(world, **{"database": outside.name, "user": outside.user, **inputs})


def code(found: CheckResult) -> str:
    (one,) = [one for one in found.findings if one.level is Level.BLOCKER]
    assert one.way_out
    return f"{one.code}: {one.text}"


async def tried(world: World, found: CheckResult) -> dict[str, Outcome]:
    """The steps, one after the other."""
    assert blockers(found) == []
    done: dict[str, Outcome] = {}
    for step in ("test", "present", "compare"):
        stored = {name: redact_values(dict(one.facts)) for name, one in done.items()}  # as the journal keeps it
        context = world.context(redact_values(dict(found.facts)), stored)
        done[step] = await world.do(f"external.{step}", context)
    return done


async def failing(world: World, found: CheckResult) -> BotError:
    """What the test raises. The release is as it was, and no Job is left."""
    before = await world.statuses()
    with pytest.raises(Permanent) as failure:
        await world.do("external.test", world.context(found.facts))
    assert await world.statuses() == before
    assert await world.clients.cluster.list("batch/v1", "Job", world.namespace) == []
    assert "Nothing of the release was changed." in failure.value.way_out
    assert PASSWORD not in str(failure.value)
    return failure.value


# -- the plan -----------------------------------------------------------------------------------------------------


async def test_a_plan_names_what_is_sent_where_and_what_follows(release: World, outside: Database) -> None:
    found = await planned(release, outside)
    assert blockers(found) == []
    assert any(f"under `{KEY}` of Secret `{SECRET}` is sent to {OUTSIDE}, port 5432" in one for one in warnings(found))
    assert any(one.startswith("TLS is off") for one in warnings(found))
    told = texts(found, Level.INFO)
    assert any(f"takes Cluster/{CLUSTER} out of the chart's manifest" in one for one in told)
    assert any("`rollback 1` goes back" in one for one in told)
    assert found.facts["external_now"]["host"] == f"{CLUSTER}-rw"
    assert found.facts["permanent"]["postgresql.external.host"] == OUTSIDE
    assert found.bindings["external secret"] == f"{SECRET} {KEY}"
    assert found.bindings["chart version"] == "0.2.1"
    assert found.bindings["cluster"].endswith(f"{release.namespace}/aeterna")


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"host": "db:5432"}, "external.field: host: The port has its own field"),
        ({"secret": "nowhere"}, "external.secret: There is no Secret `nowhere`"),
        ({"key": "passwort"}, "external.key: Secret `outside` has no key `passwort`"),
        ({"user": "somebody"}, "external.user: Up to 0.5 the server's user is the key `username`"),
        ({"service": "redis", "secret": None}, "external.secret: Chart 0.2.1 always gives"),
        ({"service": "redis", "key": KEY, "tls": "on"}, "external.tls: Chart 0.2.1 has no value for TLS to Redis"),
        ({"service": "qdrant", "tls": None}, "external.unused: The release keeps its vectors somewhere else"),
    ],
)
async def test_what_cannot_be_is_said_before_anything_is_sent(
    release: World, outside: Database, inputs: dict[str, Any], said: str
) -> None:
    own = {} if "service" in inputs else {"database": outside.name, "user": outside.user}
    assert code(await plan(release, **{**own, **inputs})).startswith(said)


async def test_the_one_in_use_is_no_other_one(release: World, inside: Database) -> None:
    own = {"database": inside.name, "user": inside.user, "secret": f"{CLUSTER}-app", "key": "password"}
    assert code(await plan(release, host=f"{CLUSTER}-rw", **own)).startswith("external.same")


async def test_from_0_6_on_only_the_host_changes(world: World, outside: Database) -> None:
    publish(world.repository, "0.6.0")
    hosts = {"redis": {"host": "b.example"}, "vectorStore": {"host": "c.example"}}
    now = {"postgresql": {"host": "a.example", "existingSecret": "old"}}
    await world.install("0.6.0", {**light_values(), **hosts, **now}, settled=False)
    found = await planned(world, outside, key=KEY)
    assert blockers(found) == []
    assert found.facts["permanent"]["postgresql.passwordKey"] == KEY
    assert (found.facts["external_keeps"], found.facts["external_bundled"]) == ("", False)
    assert any("brings no PostgreSQL: there is nothing to switch off" in one for one in texts(found, Level.INFO))


async def test_what_is_held_down_is_said_for_it_cannot_be_compared_with(world: World) -> None:
    on = {"qdrant": {"enabled": True}, "vectorBackend": {"type": "qdrant"}}
    await world.install("0.2.1", {**light_values(), **on}, settled=False)
    note = {"replicas": 1, "to": 0, "run": "r-held", "by": "U1", "at": "2026-03-09T18:02:00", "component": "qdrant"}
    held = {"metadata": {"annotations": {"aeterna-bot.io/held": json.dumps(note)}}, "spec": {"replicas": 0}}
    await world.clients.cluster.patch(ObjectRef("apps/v1", "StatefulSet", "aeterna-qdrant", world.namespace), held)
    found = await plan(world, "qdrant", secret=None)
    assert blockers(found) == []
    (said,) = [one for one in texts(found, Level.INFO) if "held down" in one]
    assert said.startswith("qdrant is held down: StatefulSet aeterna-qdrant 1 → 0")
    assert said.endswith("It cannot be compared with while it is.")


# -- the look -----------------------------------------------------------------------------------------------------


async def test_both_sides_are_looked_at_and_a_whole_copy_is_called_one(release: World, outside: Database) -> None:
    outside.fill(120)
    done = await tried(release, await planned(release, outside))
    assert "2 tables, 121 rows" in done["test"].summary
    assert "2 tables, 121 rows" in done["present"].summary
    assert done["compare"].facts["warnings"] == [
        f"TLS is off: whoever is between the cluster and {OUTSIDE} can read everything, the password too."
    ]
    both, switch = done["compare"].evidence[-2:]
    assert "memories" in both.text
    assert "postgresql.bundled: false" in switch.text
    assert "rollback 1" in switch.text
    assert PASSWORD not in repr(done)


async def test_an_empty_database_is_said_in_plain_words(release: World, outside: Database) -> None:
    done = await tried(release, await planned(release, outside))
    compare = done["compare"]
    assert compare.warning
    assert compare.summary.startswith("It is empty: the data was not copied")
    assert "the present one has 121 rows" in compare.facts["warnings"][0]


async def test_missing_rows_and_an_earlier_schema_are_said(release: World, outside: Database) -> None:
    outside.fill(20, migration=30)
    warned = (await tried(release, await planned(release, outside)))["compare"].facts["warnings"]
    assert "memories has 20 of 120" in warned[0]
    assert "is at migration 30, the present one at 35" in warned[1]


async def test_a_present_one_that_does_not_answer_stops_nothing(
    release: World, outside: Database, names: Names
) -> None:
    outside.fill(3)
    names.lead(f"{CLUSTER}-rw.{release.namespace}.svc", 5432, 9)
    done = await tried(release, await planned(release, outside))
    assert done["present"].warning
    assert done["compare"].facts["away"] is True
    assert "could not be looked at" in done["compare"].facts["warnings"][0]


@pytest.mark.parametrize(
    ("inputs", "said", "way_out"),
    [
        ({"port": "9"}, f"PostgreSQL at {OUTSIDE}:9 does not answer the cluster", "firewall and NetworkPolicy"),
        ({"host": "gone.example"}, "no address for the name gone.example", "name and port"),
        ({"database": "nowhere"}, "has no database nowhere", "Create it and copy the data"),
        ({"tls": "on"}, "do not agree on TLS, which is on", "Turn TLS the other way"),
    ],
)
async def test_what_stands_against_it_is_said_with_reason_and_way_out(
    release: World, outside: Database, names: Names, inputs: dict[str, Any], said: str, way_out: str
) -> None:
    names.lead(OUTSIDE, 9, 9)
    error = await failing(release, await planned(release, outside, **inputs))
    assert said in error.message
    assert way_out in error.way_out


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        yield int(listener.getsockname()[1])


async def test_a_silent_host_is_given_up(release: World, outside: Database, names: Names, silent: int) -> None:
    names.lead("silent.example", 5432, silent)
    error = await asyncio.wait_for(failing(release, await planned(release, outside, host="silent.example")), 90)
    assert "silent.example:5432 does not answer" in error.message


async def test_a_wrong_password_names_the_secret_and_never_itself(
    release: World, outside: Database, names: Names
) -> None:
    found = await planned(release, outside)
    names.secret(SECRET, postgres_password="wr0ng-h0rse-battery", username=outside.user)
    error = await failing(release, found)
    assert f"refuses {outside.user} with key {KEY} of Secret {SECRET}" in error.message
    assert "wr0ng" not in str(error)


async def test_a_secret_that_goes_after_the_plan_is_named(release: World, outside: Database, api: Api) -> None:
    found = await planned(release, outside)
    await release.clients.cluster.delete(ObjectRef("v1", "Secret", SECRET, release.namespace))
    error = await failing(release, found)
    assert 'secret "outside" not found' in error.message


# -- Redis and Qdrant ---------------------------------------------------------------------------------------------


async def test_a_redis_is_compared_by_its_keys(world: World, names: Names, toolchain: Toolchain) -> None:
    with RedisServer(toolchain) as inside, RedisServer(toolchain, password=PASSWORD) as outside:
        with socket.create_connection(("127.0.0.1", inside)) as redis:
            redis.sendall(b"SET a 1\r\nSET b 2\r\n")
            assert redis.makefile().readline() == "+OK\n"
        names.lead(f"aeterna-dragonfly.{world.namespace}.svc", 6379, inside)
        names.lead(OUTSIDE, 6379, outside)
        names.secret(SECRET, redis_password=PASSWORD)
        on = {"cache": {"dragonfly": {"enabled": True}}, "dragonfly": {"enabled": True}}
        await world.install("0.2.1", {**light_values(), **on}, settled=False)
        found = await plan(world, "redis")
        done = await tried(world, found)
        names.secret(SECRET, redis_password="wr0ng")
        refused = await failing(world, found)
    assert found.facts["external_bundled"] is True
    assert any("The bundled Redis runs on until a second approved upgrade" in one for one in texts(found, Level.INFO))
    assert "the present one has 2 keys" in done["compare"].facts["warnings"][0]
    assert f"refuses key redis-password of Secret {SECRET}" in refused.message


async def test_an_older_server_is_called_one(world: World, names: Names) -> None:
    on = {"qdrant": {"enabled": True}, "vectorBackend": {"type": "qdrant"}}
    await world.install("0.2.1", {**light_values(), **on}, settled=True)
    async with a_qdrant("1.2.0", points=7) as port:
        names.lead(OUTSIDE, 6333, port)
        done = await tried(world, await plan(world, "qdrant", secret=None))
    assert "1.2.0" in done["test"].summary
    assert any("is older: Qdrant 1.2.0, the present one is 1.10.1" in one for one in done["compare"].facts["warnings"])


# -- what is bundled ----------------------------------------------------------------------------------------------


async def test_the_bundled_cluster_is_annotated_and_so_outlives_the_switch(release: World, outside: Database) -> None:
    outside.fill(120)
    found = await planned(release, outside)
    context = release.context(found.facts)
    intent = await release.intent("external.keep", context)
    assert isinstance(await release.reconcile("external.keep", context, intent), NotStarted)
    done = await release.do("external.keep", context)
    assert not isinstance(await release.reconcile("external.keep", context, intent), NotStarted)
    kept = await release.clients.cluster.get_ref(ObjectRef(API, "Cluster", CLUSTER, release.namespace))
    assert kept is not None
    assert annotations_of(kept)[KEEP] == "keep"
    assert "kubectl delete cluster" in done.evidence[0].text
    switched(release, found, away=False)
    release.asking("upgrade", version="0.2.1")
    release.run = _supplied(release, found.facts["permanent"])
    upgrade = await release.plan("data.loss", "external.parts")
    assert blockers(upgrade["data.loss"]) == []
    assert any("stays in the cluster" in one for one in texts(upgrade["data.loss"], Level.INFO))
    (said,) = warnings(upgrade["external.parts"])
    assert said.startswith(f"The server will use PostgreSQL at {OUTSIDE}:5432, as run r-test tested it")
    assert "`rollback 1` goes back" in said
    assert upgrade["external.parts"].facts == {"away": []}


async def test_an_upgrade_says_what_nobody_tested_and_offers_to_switch_the_bundled_one_off(world: World) -> None:
    on = {"qdrant": {"enabled": True}, "vectorBackend": {"type": "qdrant"}}
    await world.install("0.2.1", {**light_values(), **on}, settled=False)
    world.asking("upgrade", version="0.2.1")
    over = {"vectorBackend.qdrant.bundled": False, "vectorBackend.qdrant.external.host": OUTSIDE}
    world.run = _supplied(world, over)
    found = await world.check("external.parts")
    assert any("Nobody has tested Qdrant" in one for one in warnings(found))
    assert "kind: none" not in repr(found.findings)
    world.configure(vector_store={"kind": "qdrant"})
    again = await world.check("external.parts")
    assert f"`vector_store: {{kind: none}}` in the target's configuration, and back {OUTSIDE} up" in repr(
        again.findings
    )
    assert found.facts["switch_off"] == {"services": ["Qdrant"], "values": {"qdrant.enabled": False}}


async def test_what_the_server_still_uses_is_not_switched_off(world: World) -> None:
    on = {"qdrant": {"enabled": True}, "vectorBackend": {"type": "qdrant"}}
    await world.install("0.2.1", {**light_values(), **on}, settled=False)
    world.asking("upgrade", version="0.2.1")
    world.run = _supplied(world, {"qdrant.enabled": False})
    found = await world.check("external.parts")
    assert code(found).startswith("external.pointing: With these values the server still uses the bundled Qdrant")
    outside = {"bundled": False, "external": {"host": OUTSIDE}}
    await world.install(
        "0.2.1", {**light_values(), **on, "vectorBackend": {"type": "qdrant", "qdrant": outside}}, settled=False
    )
    found = await world.check("external.parts")
    assert blockers(found) == []
    (said,) = warnings(found)
    assert "`rollback 2` brings it back, with the data that its claims keep" in said


async def test_any_other_upgrade_is_left_alone(release: World) -> None:
    release.asking("upgrade", version="0.2.1")
    assert await release.check("external.parts") == CheckResult(facts={"away": []})


def switched(world: World, found: CheckResult, *, away: bool) -> None:
    """The journal knows of a test."""
    facts = {"endpoint": found.facts["external"], "said": "PostgreSQL 18.4", "warnings": [], "away": away}
    step = StepRecord(
        3,
        "compare",
        "external.compare",
        "Compare",
        StepState.DONE,
        outcome={"facts": facts},
        ended_at=datetime.now(UTC),
    )

    async def past(*uses: str) -> Sequence[PastStep]:
        return [PastStep("r-test", "emergency-externalize", "U1", step)] if "external.compare" in uses else []

    world.past = past


def _supplied(world: World, values: dict[str, Any]) -> RunInfo:
    return replace(world.run, supplied=values)
