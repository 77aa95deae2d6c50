"""Databases outside and inside for `emergency externalize`: real ones, under the names that the cluster knows them by."""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import psycopg
from aiohttp import web
from psycopg.conninfo import conninfo_to_dict

from dev.controlplane import Api
from dev.postgres import WITH_PASSWORD

PASSWORD = "c0rrect-h0rse-battery"
OUTSIDE = "db.outside.example"
SECRET = "outside"
KEY = "postgres-password"
"""What charts up to 0.5 look for."""


@dataclass(frozen=True)
class Database:
    """One database with a user who has to bring ``PASSWORD``. Statements are an administrator's."""

    server: str
    name: str
    user: str
    port: int

    def do(self, *statements: str) -> None:
        with psycopg.connect(f"{self.server}/{self.name}", autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def fill(self, memories: int, *, migration: int = 35) -> None:
        """As Aeterna's looks, as far as anybody asks."""
        self.do(
            "CREATE TABLE _aeterna_migrations"
            " (version int PRIMARY KEY, name text, checksum text, applied_at timestamptz DEFAULT now())",
            f"INSERT INTO _aeterna_migrations VALUES ({migration}, 'tenants', 'x', '2026-03-09 18:02:00+00')",
            "CREATE TABLE memories (id int, content text)",
            f"INSERT INTO memories SELECT n, 'text' FROM generate_series(1, {memories}) n",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {self.user}",
        )


@contextmanager
def database_on(url: str) -> Iterator[Database]:
    """A database of one's own on the server of SQLAlchemy's ``url``."""
    server = url.replace("postgresql+psycopg://", "postgresql://").rpartition("/")[0]
    name, user = (f"{what}_{secrets.token_hex(4)}" for what in ("ext", "user"))
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}' IN ROLE {WITH_PASSWORD}")
        yield Database(server, name, user, int(str(conninfo_to_dict(f"{server}/postgres")["port"])))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        connection.execute(f"DROP ROLE {user}")


@dataclass
class Names:
    """What a namespace knows: Secrets, and where names lead."""

    api: Api
    namespace: str
    hosts: dict[str, str] = field(default_factory=dict)

    def secret(self, name: str, **data: str) -> None:
        packed = {key.replace("_", "-"): base64.b64encode(text.encode()).decode() for key, text in data.items()}
        meta = {"name": name, "namespace": self.namespace}
        self.api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": packed})

    def lead(self, name: str, port: int, to: int) -> None:
        self.hosts[f"{name}:{port}"] = f"127.0.0.1:{to}"
        text = "\n".join(f"{name} {where}" for name, where in self.hosts.items())
        meta = {"name": "standin-hosts", "namespace": self.namespace}
        self.api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"hosts": text}})


def with_postgres(database: Database) -> dict[str, object]:
    """The chart's values for a bundled PostgreSQL that is this one."""
    names = {"database": database.name, "owner": database.user}
    return {"bundled": True, "cloudnativepg": {"bootstrap": {"initdb": names}}, "external": {"host": ""}}


@asynccontextmanager
async def a_qdrant(version: str, *, points: int) -> AsyncIterator[int]:
    """A Qdrant outside of the cluster with one collection, as far as a look needs it; its port."""

    async def answer(request: web.Request) -> web.Response:
        match request.path:
            case "/":
                return web.json_response({"title": "qdrant - vector search engine", "version": version})
            case "/collections":
                return web.json_response({"result": {"collections": [{"name": "memory_embeddings"}]}, "status": "ok"})
            case path if path.endswith("/points/count"):
                return web.json_response({"result": {"count": points}, "status": "ok"})
            case _:
                return web.json_response({"result": {"points_count": points, "config": {}, "status": "green"}})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
