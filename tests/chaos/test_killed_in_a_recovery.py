"""SIGKILL at every write of the journal of a restart and of a database's restore: each workload once, one new Cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from bot.kube.restart import RESTARTED_AT, RESTARTED_BY
from bot.services.cnpg_recovery import RECOVERED_FROM
from bot.store.records import RunRecord
from runbooks.steps.backup import RUN_LABEL
from tests.chaos.conftest import Estate
from tests.chaos.house import OLD, Ground, House

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMMON = ("create", "claim planning", "save_plan awaiting_approval", "approve", "claim running", "lay_out")
RESTART = (*COMMON, "begin_step restart", "end_step restart", "begin_step verify", "end_step verify", "move succeeded")
DATABASE = (*COMMON, "begin_step restore", "end_step restore", "begin_step check", "end_step check", "move succeeded")
OWN = ("begin_step restart", "end_step restart", "begin_step restore", "end_step restore", "begin_step check")
"""What other stories do not have; at the rest of the writes they are killed at on both sides, here after the commit only."""
CNPG = "/apis/postgresql.cnpg.io/v1/namespaces"
TARGET = {"database": {"kind": "cnpg", "cluster": "db"}}


def _points(labels: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(moment, label) for label in labels for moment in ("before", "after") if moment == "after" or label in OWN]


@pytest.fixture(scope="session")
def contents(postgres_url: str) -> Iterator[str]:
    """`HOST:PORT/DATABASE` of a database with migrations and rows."""
    plain = postgres_url.replace("postgresql+psycopg://", "postgresql://")
    name = f"recovered_{datetime.now(UTC):%H%M%S%f}"
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(plain.removesuffix("postgres") + name, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE _aeterna_migrations (version int, name text, checksum text, applied_at timestamptz)"
        )
        connection.execute("INSERT INTO _aeterna_migrations VALUES (17, 'quota', '', now())")
        connection.execute("CREATE TABLE memories AS SELECT 1 AS id")
    yield f"{plain.partition('@')[2].rpartition('/')[0]}/{name}"
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def vault(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Estate]:
    """A house whose release uses the Cluster `db`."""
    estate = Estate(ground, tmp_path_factory, target=TARGET)
    yield estate
    await estate.close()


async def test_the_points_are_all_the_writes_that_the_recoveries_make(vault: Estate, contents: str) -> None:
    async with vault.house() as house:
        await house.at_old()
        before = len(house.writes)
        await restart(house)
        middle = len(house.writes)
        await restore(house, contents)
        assert tuple(dict.fromkeys(house.writes[before:middle])) == RESTART
        assert tuple(dict.fromkeys(house.writes[middle:])) == DATABASE


@pytest.mark.parametrize(("moment", "label"), _points(RESTART))
async def test_a_bot_killed_in_a_restart_restarts_each_workload_once(vault: Estate, moment: str, label: str) -> None:
    async with vault.house() as house:
        await house.at_old()
        started = len(house.bots)
        house.order("SIGKILL", moment, label)
        await restart(house)
        assert len(house.bots) == started + 1, "it did not come to that write"


@pytest.mark.parametrize(("moment", "label"), _points(DATABASE))
async def test_a_bot_killed_in_a_restore_makes_one_new_cluster_and_leaves_the_old_one(
    vault: Estate, contents: str, moment: str, label: str
) -> None:
    async with vault.house() as house:
        await house.at_old()
        started = len(house.bots)
        house.order("SIGKILL", moment, label)
        await restore(house, contents)
        assert len(house.bots) == started + 1, "it did not come to that write"


async def restart(house: House) -> None:
    """The server is restarted, once."""
    old = house.server()
    run = await _through(house, "recover restart")
    new = house.server()
    assert new["metadata"]["generation"] - old["metadata"]["generation"] == 1, house.told()
    marks = new["spec"]["template"]["metadata"]["annotations"]
    assert marks[RESTARTED_BY] == run.id, house.told()
    assert RESTARTED_AT in marks


async def restore(house: House, contents: str) -> None:
    """One new Cluster beside the old one, which nothing happens to; then somebody clears up."""
    await _database(house, contents)
    old = _clusters(house)["db"]
    run = await _through(house, "recover database")
    assert run.steps[-1].state == "done", "the new one was looked into, and is as the old one"
    clusters = _clusters(house)
    assert clusters.pop("db")["spec"] == old["spec"], house.told()
    ((name, new),) = clusters.items()
    assert new["metadata"]["labels"] == {RUN_LABEL: run.id, RECOVERED_FROM: "db"}, house.told()
    assert new["spec"]["bootstrap"]["recovery"]["backup"] == {"name": "nightly"}
    jobs = house.ground.api.get(f"/apis/batch/v1/namespaces/{house.namespace}/jobs?labelSelector=aeterna-bot.io/probe")
    assert not [job for job in jobs["items"] if "deletionTimestamp" not in job["metadata"]], "a look was left behind"
    house.ground.api.call("DELETE", f"{CNPG}/{house.namespace}/clusters/{name}")
    await house.until(lambda: name not in _clusters(house), f"the end of {name}")


async def _through(house: House, text: str) -> RunRecord:
    story = await house.begin()

    async def asks() -> None:
        await house.slack.command("alice", "ops", text, wait_for_ack=False)

    await house.see_through(story, asks)
    return await house.ended_well(story, OLD, revisions=())


def _clusters(house: House) -> dict[str, Mapping[str, Any]]:
    found = house.ground.api.get(f"{CNPG}/{house.namespace}/clusters")["items"]
    return {str(one["metadata"]["name"]): one for one in found}


async def _database(house: House, contents: str) -> None:
    """The Cluster, a backup of it, and the way to what is in both: one real database."""
    if "db" in _clusters(house):
        return
    server, _, name = contents.rpartition("/")
    namespace = {"namespace": house.namespace}
    secret = {"name": "db-owner", **namespace}
    today = datetime.now(UTC)
    names = ["db", *(f"db-r{day:%Y%m%d}" for day in (today, today + timedelta(days=1)))]
    hosts = "".join(f"{one}-rw.{house.namespace}.svc:5432 {server}\n" for one in names)
    owned = {"database": name, "owner": "postgres", "secret": {"name": "db-owner"}}
    spec = {"instances": 1, "storage": {"size": "1Gi"}, "bootstrap": {"initdb": owned}}
    for document in (
        {"apiVersion": "v1", "kind": "Secret", "metadata": secret, "stringData": {"password": "none-needed"}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "standin-hosts", **namespace},
            "data": {"hosts": hosts},
        },
        {
            "apiVersion": "postgresql.cnpg.io/v1",
            "kind": "Cluster",
            "metadata": {"name": "db", **namespace},
            "spec": spec,
        },
        {
            "apiVersion": "postgresql.cnpg.io/v1",
            "kind": "Backup",
            "metadata": {"name": "nightly", **namespace},
            "spec": {"cluster": {"name": "db"}},
        },
    ):
        house.ground.api.apply(document)
    backup = f"{CNPG}/{house.namespace}/backups/nightly"
    await house.until(
        lambda: (house.ground.api.get(backup).get("status") or {}).get("phase") == "completed", "the end of the backup"
    )
