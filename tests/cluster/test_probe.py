"""The probe from the bot's call to the answer: a real Job on the real API server, whose pod the stand-in node really runs."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, aclosing
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from bot.errors import Permanent, Refused, UserMistake
from bot.kube import Cluster
from bot.kube.failures import Denied
from bot.kube.probejob import ProbeNotDone, Probes, ProbeSpec, SecretKey
from bot.probe.result import Migration, Reason
from dev.controlplane import Api, Running
from dev.postgres import WITH_PASSWORD
from dev.redis import RedisServer
from dev.standins import StandinControl, Standins
from dev.toolchain import Toolchain

PASSWORD = "c0rrect-h0rse-battery"
IMAGE = "registry.example/aeterna-bot:1.0.0"
LABELS = {"aeterna-bot/run": "r1"}
KEY = SecretKey("outside", "password")


@pytest.fixture
def probes(cluster: Cluster, namespace: str) -> Probes:
    return Probes(cluster, namespace, image=IMAGE, deadline=60)


@pytest.fixture
def secret(api: Api, namespace: str) -> Callable[[str], None]:
    """Puts a password where ``KEY`` points."""

    def put(password: str) -> None:
        data = {KEY.key: base64.b64encode(password.encode()).decode()}
        meta = {"name": KEY.name, "namespace": namespace}
        api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data})

    return put


@pytest.fixture
def postgres(postgresql_database: str) -> Iterator[ProbeSpec]:
    """A database with a user of its own, who has to bring ``PASSWORD``."""
    plain = postgresql_database.replace("postgresql+psycopg://", "postgresql://")
    parts = conninfo_to_dict(plain)
    role, database = f"user_{secrets.token_hex(4)}", str(parts["dbname"])
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' IN ROLE {WITH_PASSWORD}")
        connection.execute(f"GRANT ALL ON SCHEMA public TO {role}")
        yield ProbeSpec(
            kind="postgres",
            host=str(parts["host"]),
            port=int(str(parts["port"])),
            database=database,
            user=role,
            secret=KEY,
        )
        connection.execute(f"DROP OWNED BY {role}")
        connection.execute(f"DROP ROLE {role}")


def _as_administrator(spec: ProbeSpec, *statements: str) -> None:
    place = f"postgresql://postgres@{spec.host}:{spec.port}/{spec.database}"
    with psycopg.connect(place, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def _fill(spec: ProbeSpec) -> None:
    """What Aeterna's database looks like, as far as the probe is concerned."""
    _as_administrator(
        spec,
        "CREATE TABLE _aeterna_migrations"
        " (version int PRIMARY KEY, name text, checksum text, applied_at timestamptz DEFAULT now())",
        "INSERT INTO _aeterna_migrations VALUES (34, 'audit', 'x', now()), (35, 'tenants', 'y', '2026-03-09 18:02:00+00')",
        "CREATE TABLE memories (id int, content text)",
        "INSERT INTO memories SELECT n, 'text' FROM generate_series(1, 1200) n",
        "CREATE SCHEMA other",
        'CREATE TABLE other."odd Name" (id int)',
        "CREATE TABLE hidden (id int)",
        "INSERT INTO hidden VALUES (1)",
        "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY",
        f"GRANT USAGE ON SCHEMA other TO {spec.user}",
        f'GRANT SELECT ON _aeterna_migrations, memories, hidden, other."odd Name" TO {spec.user}',
    )


async def test_a_postgresql_tells_version_size_rows_and_its_newest_migration(
    probes: Probes, postgres: ProbeSpec, secret: Callable[[str], None], cluster: Cluster, namespace: str
) -> None:
    _fill(postgres)
    secret(PASSWORD)
    result = await probes.run(postgres, name="probe-r1-look", labels=LABELS)
    assert result.ok, result.said
    assert result.product == "PostgreSQL"
    assert int(result.version.split(".")[0]) >= 14
    assert (result.size or 0) > 1_000_000
    exact = {name: number for name, number in result.rows.items() if name not in result.estimated}
    assert exact == {"_aeterna_migrations": 2, "memories": 1200, "other.odd Name": 0}
    assert "hidden" not in exact, "row security would have counted fewer rows than there are"
    assert (result.newest_migration or Migration("")).version == "35"
    assert (result.empty, result.read_only, result.notes) == (False, False, ())
    assert await cluster.list("batch/v1", "Job", namespace) == [], "the Job is removed"


async def test_an_empty_database_is_known_as_one(
    probes: Probes, postgres: ProbeSpec, secret: Callable[[str], None]
) -> None:
    secret(PASSWORD)
    result = await probes.run(postgres, name="probe-r1-look", labels=LABELS)
    assert (result.ok, result.empty, result.counts, result.newest_migration) == (True, True, (), None)


async def test_what_may_not_be_read_is_not_called_empty(
    probes: Probes, postgres: ProbeSpec, secret: Callable[[str], None]
) -> None:
    _as_administrator(postgres, "CREATE TABLE secret_things (id int)")
    secret(PASSWORD)
    result = await probes.run(postgres, name="probe-r1-look", labels=LABELS)
    assert (result.ok, result.empty) == (True, None)


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        ({"database": "nowhere"}, Reason.NO_DATABASE, 'database "nowhere" does not exist'),
        ({"port": 9}, Reason.NO_ANSWER, "127.0.0.1:9 refuses the connection"),
        ({"host": "db.outside.example"}, Reason.NO_ANSWER, "no address for the name db.outside.example"),
        ({"tls": "require"}, Reason.TLS, "does not support SSL"),
        ({"secret": None}, Reason.WRONG_PASSWORD, "no password supplied"),
    ],
)
async def test_what_is_wrong_with_a_postgresql_has_a_reason(
    probes: Probes,
    postgres: ProbeSpec,
    secret: Callable[[str], None],
    change: dict[str, Any],
    reason: Reason,
    said: str,
) -> None:
    secret(PASSWORD)
    result = await probes.run(replace(postgres, **change), name="probe-r1-look", labels=LABELS)
    assert result.reason is reason
    assert said in result.said


@pytest.fixture
def silent() -> Iterator[int]:
    """A port whose queue of connections is full: the kernel drops what comes, as a firewall does."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])


async def test_a_host_that_drops_packets_is_given_up(probes: Probes, postgres: ProbeSpec, silent: int) -> None:
    asked = replace(postgres, port=silent, secret=None)
    result = await asyncio.wait_for(probes.run(asked, name="probe-r1-look", labels=LABELS), 60)
    assert result.reason is Reason.NO_ANSWER
    assert "no connection came about within 5 s" in result.said


# -- the Secret ---------------------------------------------------------------------------------------------------


async def test_a_wrong_password_is_told_and_stands_nowhere(
    probes: Probes, postgres: ProbeSpec, secret: Callable[[str], None], api: Api, namespace: str
) -> None:
    secret("wr0ng-h0rse-battery")
    job = await probes.create(postgres, name="probe-r1-look", labels=LABELS)
    result = await probes.result(postgres, job)
    assert result.reason is Reason.WRONG_PASSWORD
    seen = [json.dumps(api.get(f"/api/v1/namespaces/{namespace}/{what}")) for what in ("pods", "events")]
    seen.append(json.dumps(api.get(f"/apis/batch/v1/namespaces/{namespace}/jobs/probe-r1-look")))
    (pod,) = api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    log = api.raw("GET", f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}/log")
    assert "wrong_password" in log
    secrets_shown = ("wr0ng-h0rse-battery", base64.b64encode(b"wr0ng-h0rse-battery").decode())
    assert not [one for one in (*seen, log, repr(result)) for shown in secrets_shown if shown in one]


async def test_a_secret_that_is_not_there_is_named_and_a_key_too(
    probes: Probes, postgres: ProbeSpec, secret: Callable[[str], None], cluster: Cluster, namespace: str
) -> None:
    with pytest.raises(ProbeNotDone, match='secret "outside" not found') as failure:
        await probes.run(postgres, name="probe-r1-look", labels=LABELS)
    assert failure.value.why == "secret"
    assert "key password of Secret outside" in failure.value.way_out
    assert await cluster.list("batch/v1", "Job", namespace) == [], "it does not wait on for somebody to create it"
    secret(PASSWORD)
    other = replace(postgres, secret=SecretKey("outside", "passwort"))
    with pytest.raises(ProbeNotDone, match="find key passwort in Secret"):
        await probes.run(other, name="probe-r1-look", labels=LABELS)
    result = await probes.run(postgres, name="probe-r1-look", labels=LABELS)
    assert result.ok, "the same name looks anew, once the Secret is right"


# -- Redis and Qdrant ---------------------------------------------------------------------------------------------


async def test_a_redis_without_a_password_tells_keys_and_memory(probes: Probes, toolchain: Toolchain) -> None:
    with RedisServer(toolchain) as port:
        asked = ProbeSpec(kind="redis", host="127.0.0.1", port=port)
        empty = await probes.run(asked, name="probe-r1-empty", labels=LABELS)
        with socket.create_connection(("127.0.0.1", port)) as redis:
            redis.sendall(b"SET a 1\r\nSELECT 3\r\nSET b 2\r\nSET c 3\r\n")
            assert redis.makefile().readline() == "+OK\n"
            result = await probes.run(asked, name="probe-r1-look", labels=LABELS)
    assert (empty.ok, empty.empty) == (True, True)
    assert (result.product, result.rows, result.empty) == ("Redis", {"db0": 1, "db3": 2}, False)
    assert result.version.startswith(("6.", "7.", "8."))
    assert (result.size or 0) > 100_000


async def test_a_redis_with_a_password_wants_the_right_one(
    probes: Probes, toolchain: Toolchain, secret: Callable[[str], None]
) -> None:
    with RedisServer(toolchain, password=PASSWORD) as port:
        asked = ProbeSpec(kind="redis", host="127.0.0.1", port=port, secret=KEY)
        secret("wrong")
        wrong = await probes.run(asked, name="probe-r1-wrong", labels=LABELS)
        none = await probes.run(replace(asked, secret=None), name="probe-r1-none", labels=LABELS)
        secret(PASSWORD)
        right = await probes.run(asked, name="probe-r1-right", labels=LABELS)
    assert (wrong.reason, none.reason, right.reason) == (Reason.WRONG_PASSWORD, Reason.WRONG_PASSWORD, None)


@pytest.fixture
async def qdrant(api: Api, standins: Standins, namespace: str) -> AsyncIterator[ProbeSpec]:
    """The stand-in behind a Service's name, with an API key."""
    port = {"containerPort": 6333}
    container = {"name": "qdrant", "image": "qdrant/qdrant:v1.10.1", "ports": [port]}
    meta = {"name": "qdrant-0", "namespace": namespace}
    api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}})
    async with StandinControl(standins.control_url) as control:
        await control.switch(namespace, qdrant_key=PASSWORD)
        yield ProbeSpec(kind="qdrant", host=f"qdrant.{namespace}.svc", port=6333, secret=KEY)


async def test_a_qdrant_wants_its_key_and_tells_points(
    probes: Probes, qdrant: ProbeSpec, secret: Callable[[str], None]
) -> None:
    secret("wrong")
    wrong = await probes.run(qdrant, name="probe-r1-wrong", labels=LABELS)
    assert wrong.reason is Reason.WRONG_PASSWORD
    secret(PASSWORD)
    right = await probes.run(qdrant, name="probe-r1-right", labels=LABELS)
    assert (right.product, right.version, right.rows) == ("Qdrant", "1.10.1", {"memory_embeddings": 0})
    assert right.empty


# -- the Job ------------------------------------------------------------------------------------------------------


async def test_after_a_crash_the_same_name_finds_the_same_job(
    probes: Probes, postgres: ProbeSpec, secret: Callable[[str], None], cluster: Cluster, namespace: str
) -> None:
    secret(PASSWORD)
    first = await probes.create(postgres, name="probe-r1-look", labels=LABELS)
    again = await Probes(cluster, namespace, image=IMAGE, deadline=60).create(
        postgres, name="probe-r1-look", labels=LABELS
    )
    assert first["metadata"]["uid"] == again["metadata"]["uid"]
    running = asyncio.create_task(probes.run(postgres, name="probe-r1-look", labels=LABELS))
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    there = await probes.find("probe-r1-look")
    assert there is not None
    assert there["metadata"]["uid"] == first["metadata"]["uid"], "what is cut off leaves its Job"
    assert (await probes.run(postgres, name="probe-r1-look", labels=LABELS)).ok
    assert await probes.find("probe-r1-look") is None


async def test_a_job_that_asks_something_else_is_not_taken_for_ours(probes: Probes, postgres: ProbeSpec) -> None:
    await probes.create(postgres, name="probe-r1-look", labels=LABELS)
    with pytest.raises(Permanent, match="asks something else"):
        await probes.create(replace(postgres, port=5433), name="probe-r1-look", labels=LABELS)


async def test_it_passes_the_restricted_pod_security_standard(
    probes: Probes, postgres: ProbeSpec, secret: Callable[[str], None], api: Api, namespace: str
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    secret(PASSWORD)
    assert (await probes.run(postgres, name="probe-r1-look", labels=LABELS)).ok


async def test_without_an_image_nothing_is_created(cluster: Cluster, namespace: str, postgres: ProbeSpec) -> None:
    with pytest.raises(UserMistake, match="no image") as failure:
        await Probes(cluster, namespace, image=None).run(postgres, name="probe-r1-look", labels=LABELS)
    assert "probe.image" in failure.value.way_out


async def test_an_image_that_cannot_be_pulled_is_named(cluster: Cluster, namespace: str, postgres: ProbeSpec) -> None:
    probes = Probes(cluster, namespace, image="registry.example/aeterna-bot:no-such-image", deadline=60)
    asked = replace(postgres, secret=None)
    with pytest.raises(ProbeNotDone, match="aeterna-bot:no-such-image") as failure:
        await probes.run(asked, name="probe-r1-look", labels=LABELS)
    assert (failure.value.why, "probe.image" in failure.value.way_out) == ("image", True)


async def test_a_probe_that_does_not_end_in_time_is_ended(
    cluster: Cluster, namespace: str, postgres: ProbeSpec, silent: int
) -> None:
    probes = Probes(cluster, namespace, image=IMAGE, deadline=2)
    with pytest.raises(ProbeNotDone, match="not over after 2 s") as failure:
        await probes.run(replace(postgres, port=silent, secret=None), name="probe-r1-look", labels=LABELS)
    assert failure.value.why == "deadline"


_WRONG: dict[str, Any] = {"port": "many"}


async def test_a_pod_that_somebody_deletes_is_told_as_such(
    cluster: Cluster, api: Api, namespace: str, postgres: ProbeSpec, silent: int
) -> None:
    probes = Probes(cluster, namespace, image=IMAGE, deadline=60)
    asked = replace(postgres, port=silent, secret=None)
    looking = asyncio.create_task(probes.run(asked, name="probe-r1-look", labels=LABELS))
    async with asyncio.timeout(30), aclosing(cluster.watch("v1", "Pod", namespace)) as changes:
        async for change in changes:
            if (change.object.get("status") or {}).get("phase") == "Running":
                break
    api.delete(change.object)
    with pytest.raises(ProbeNotDone, match="taken away before it ended") as failure:
        await looking
    assert failure.value.why == "gone"


async def test_a_pod_that_says_nothing_is_shown(cluster: Cluster, namespace: str, postgres: ProbeSpec) -> None:
    """An image of another version, for example: here a port that no version takes."""
    probes = Probes(cluster, namespace, image=IMAGE, deadline=60)
    asked = replace(postgres, secret=None, **_WRONG)
    with pytest.raises(ProbeNotDone, match="gave no result: its program ended with code 2") as failure:
        await probes.run(asked, name="probe-r1-look", labels=LABELS)
    assert "invalid int value" in failure.value.evidence[0].text


async def test_a_quota_that_refuses_the_pod_is_told_at_once(
    probes: Probes, postgres: ProbeSpec, api: Api, cluster: Cluster, namespace: str
) -> None:
    meta = {"name": "none", "namespace": namespace}
    api.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": {"pods": "0"}}})
    async with asyncio.timeout(20), aclosing(cluster.watch("v1", "ResourceQuota", namespace)) as changes:
        async for change in changes:
            if (change.object.get("status") or {}).get("hard"):
                break
    with pytest.raises(Denied, match="exceeded quota") as failure:
        await probes.run(replace(postgres, secret=None), name="probe-r1-look", labels=LABELS)
    assert failure.value.by == "quota"


async def test_who_may_create_no_job_is_told_the_rule(
    control_plane: Running, namespace: str, postgres: ProbeSpec
) -> None:
    async with await Cluster.connect(
        kubeconfig=control_plane.kubeconfig, context=None, as_user="system:serviceaccount:bots:aeterna-bot"
    ) as nobody:
        probes = Probes(nobody, namespace, image=IMAGE)
        with pytest.raises(Refused, match="create jobs") as failure:
            await probes.run(postgres, name="probe-r1-look", labels=LABELS)
    assert 'resources: ["jobs"], verbs: ["create"]' in failure.value.way_out
