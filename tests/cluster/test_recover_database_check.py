"""Looking into a restored database: two real PostgreSQL servers behind two Clusters, looked at by Jobs of the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from bot.engine.contract import Outcome
from bot.errors import Permanent
from bot.kube import Json
from bot.services.cnpg import API
from bot.services.cnpg_recovery import Recoveries
from dev.postgres import PostgresServer
from dev.toolchain import Toolchain
from runbooks.external import Endpoint
from tests.cluster.runbook_world import World

OLD, NEW = "aeterna-cnpg", "aeterna-cnpg-r20260309"
POINT = "2026-03-09T17:55:00+00:00"
MIGRATED = (
    "CREATE TABLE _aeterna_migrations (version int, name text, checksum text, applied_at timestamptz)",
    "INSERT INTO _aeterna_migrations VALUES (16, 'tenants', '', now()), (17, 'quota', '', now())",
    "CREATE TABLE memories AS SELECT generate_series(1, 12) AS id",
    "CREATE TABLE tenants AS SELECT 1 AS id",
)


@pytest.fixture(scope="module")
def restored_server(toolchain: Toolchain) -> Iterator[str]:
    """The server of the restored database; the run's own one is that of the old database."""
    with PostgresServer(toolchain) as url:
        yield url


@dataclass
class Databases:
    """The world, and the two databases of one name on two servers."""

    world: World
    old: str
    new: str

    def fill(self, url: str, *statements: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    async def cluster(self, name: str) -> None:
        """A healthy Cluster with a Secret, as the operator leaves it."""
        owned = {"database": self.old.rpartition("/")[2], "owner": "postgres"}
        spec = {"instances": 1, "storage": {"size": "1Gi"}, "bootstrap": {"initdb": owned}}
        await self._create(API, "Cluster", name, spec=spec)
        await self._create("v1", "Secret", f"{name}-app", stringData={"password": "none-needed"})
        await Recoveries(self.world.clients.cluster, self.world.namespace).wait_ready(name, deadline=60)

    async def lead(self, **to: str) -> None:
        """Where the Services lead."""
        names = {"old": OLD, "new": NEW}
        hosts = [
            f"{names[which]}-rw.{self.world.namespace}.svc:5432 {url.partition('@')[2].partition('/')[0]}"
            for which, url in to.items()
        ]
        await self._create("v1", "ConfigMap", "standin-hosts", data={"hosts": "\n".join(hosts)})

    async def check(self) -> Outcome:
        planned = {
            "from": OLD,
            "name": NEW,
            "point": POINT,
            "database": self.old.rpartition("/")[2],
            "owner": "postgres",
            "backup": "before",
        }
        permanent = {"postgresql.external.host": f"{NEW}-rw"}
        plan = {"recovery": planned, "permanent": permanent, "current_version": "0.2.1"}
        return await self.world.do("database.check", self.world.context(plan))

    async def jobs(self) -> list[Json]:
        return await self.world.clients.cluster.list("batch/v1", "Job", self.world.namespace)

    async def _create(self, api_version: str, kind: str, name: str, **content: Any) -> None:
        meta = {"name": name, "namespace": self.world.namespace}
        await self.world.clients.cluster.create({"apiVersion": api_version, "kind": kind, "metadata": meta, **content})


@pytest.fixture
async def databases(world: World, postgresql_database: str, restored_server: str) -> Databases:
    """Two healthy Clusters, and both databases empty."""
    old, server = (
        one.replace("postgresql+psycopg://", "postgresql://") for one in (postgresql_database, restored_server)
    )
    name = old.rpartition("/")[2]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    world.configure(database={"kind": "cnpg"})
    found = Databases(world, old, server.rpartition("/")[0] + f"/{name}")
    for one in (OLD, NEW):
        await found.cluster(one)
    return found


async def test_the_same_migration_and_rows_are_a_success_that_the_switch_over_is_told_of(databases: Databases) -> None:
    databases.fill(databases.old, *MIGRATED)
    databases.fill(databases.new, *MIGRATED)
    await databases.lead(old=databases.old, new=databases.new)
    found = await databases.check()
    assert not found.warning, found.summary
    assert "newest migration 17 (quota), 3 tables with 15 rows." in found.summary
    assert f"Its rows are those of {OLD}, table by table." in found.summary
    beside, switch, _ = found.evidence
    assert beside.title == f"{NEW} beside {OLD}"
    assert any(line.split() == ["memories", "12", "12"] for line in beside.text.splitlines())
    assert "Switch over" in switch.text
    assert (found.facts["migration"], found.facts["warnings"], found.facts["away"]) == ("17", [], False)
    assert Endpoint.of(found.facts["endpoint"]).host == f"{NEW}-rw"
    assert await databases.jobs() == [], "nothing of the looks is left"


async def test_what_was_written_after_the_recovery_point_is_named_and_is_no_failure(databases: Databases) -> None:
    databases.fill(databases.old, *MIGRATED, "INSERT INTO memories VALUES (13), (14)", "DELETE FROM tenants")
    databases.fill(databases.new, *MIGRATED)
    await databases.lead(old=databases.old, new=databases.new)
    found = await databases.check()
    assert found.warning
    fewer = (
        f"2 rows fewer than {OLD} (memories −2): what was written after 2026-03-09 17:55 UTC is not in it, as expected."
    )
    assert fewer in found.summary
    assert f"1 row more (tenants +1): deleted from {OLD} since 2026-03-09 17:55 UTC." in found.summary
    assert fewer in found.facts["warnings"]


async def test_an_empty_database_and_one_without_its_tables_are_failures(databases: Databases) -> None:
    databases.fill(databases.old, *MIGRATED)
    await databases.lead(old=databases.old, new=databases.new)
    with pytest.raises(Permanent, match="It has no tables at all") as empty:
        await databases.check()
    assert f"`kubectl delete cluster {NEW}" in empty.value.way_out
    databases.fill(databases.new, *MIGRATED, "DROP TABLE memories")
    with pytest.raises(Permanent, match=f"1 table of {OLD} missing, and no migration explains it: memories."):
        await databases.check()


async def test_one_that_nobody_can_connect_to_is_a_failure_with_the_reason(databases: Databases) -> None:
    databases.fill(databases.old, *MIGRATED)
    await databases.lead(old=databases.old)
    with pytest.raises(Permanent, match=f"Nobody can connect to {NEW}: ") as raised:
        await databases.check()
    assert "The old database is as it was." in raised.value.way_out
    assert await databases.jobs() == []


async def test_an_old_one_that_does_not_answer_is_said_and_leaves_nothing_to_compare_with(databases: Databases) -> None:
    databases.fill(databases.new, *MIGRATED)
    await databases.lead(new=databases.new)
    found = await databases.check()
    assert found.warning
    assert f"{OLD} could not be looked at to compare: " in found.summary
    assert found.facts["away"] is True
