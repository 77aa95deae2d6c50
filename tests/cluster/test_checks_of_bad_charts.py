"""Charts and repositories that nobody should trust, seen by a plan: each is a blocker with a sentence, and nothing is used."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from bot.helm.charts import ChartSource
from bot.helm.repository import chart_repository
from bot.kube import Cluster
from dev.charts import CHART
from dev.controlplane import Running
from tests.cluster.runbook_world import World, blockers, world_of

META = f"apiVersion: v2\nname: {CHART}\nversion: 9.0.0\n".encode()


@pytest.fixture
async def world(
    cluster: Cluster, control_plane: Running, helm_program: Path, namespace: str, tmp_path: Path
) -> AsyncIterator[World]:
    async with world_of(
        cluster=cluster, control_plane=control_plane, helm_program=helm_program, namespace=namespace, directory=tmp_path
    ) as world:
        await world.install("0.1.0", settled=False)
        world.asking(version="9.0.0")
        yield world


def packed(files: dict[str, bytes], *, link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo(f"{CHART}/templates/x.yaml")
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
    return buffer.getvalue()


@asynccontextmanager
async def offering(world: World, archive: bytes, *, index: bytes = b"", digest: str = "") -> AsyncIterator[None]:
    """The target's repository is one that offers this archive as 9.0.0."""
    entry = {"version": "9.0.0", "urls": ["x.tgz"], "digest": digest or hashlib.sha256(archive).hexdigest()}
    text = index or json.dumps({"apiVersion": "v1", "entries": {CHART: [entry]}}).encode()

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=text if request.path.endswith("index.yaml") else archive)

    app = web.Application()
    app.router.add_get("/{name}", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as http:
        source = ChartSource(name=CHART, repo=f"http://127.0.0.1:{runner.addresses[0][1]}")
        known = world.clients
        world.clients = replace(known, repository=chart_repository(source, http=http, helm=known.helm))
        try:
            yield
        finally:
            world.clients = known
    await runner.cleanup()


GOOD = {f"{CHART}/Chart.yaml": META, f"{CHART}/values.yaml": b"a: 1\n"}


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (packed({**GOOD, f"{CHART}/../../etc/cron.d/x": b"x"}), "holds a file outside of itself"),
        (packed(GOOD, link="/etc/passwd"), "holds a link or a device"),
        (packed(GOOD)[:-40], "is not a readable archive"),
        (b"no archive at all", "is not a readable archive"),
        (gzip.compress(b"\0" * 200_000_000, 1), "unpacks to more than"),
        (packed({**GOOD, f"{CHART}/Chart.yaml": META + b"name: twice\n"}), "stands twice"),
        (packed({**GOOD, f"{CHART}/values.yaml": b"a: &a [x]\n" + b"".join(
            b"%c: &%c [%s]\n" % (98 + n, 98 + n, b", ".join([b"*%c" % (97 + n)] * 20)) for n in range(8)
        )}), "unfolds to more than"),
        (packed({**GOOD, f"{CHART}/values.schema.json": b"{"}), "is not JSON"),
    ],
    ids=["a path that leads out", "a symlink", "cut off", "no archive", "a gzip bomb", "a key twice", "a YAML bomb", "no JSON"],
)  # fmt: skip
async def test_a_chart_that_cannot_be_trusted_is_one_blocker(world: World, archive: bytes, said: str) -> None:
    async with offering(world, archive):
        result = await world.check("chart.version")
    (found,) = blockers(result)
    assert found.startswith("Fetching the chart could not be done: ")
    assert said in found
    assert not result.bindings


async def test_a_chart_of_another_digest_than_the_index_promises_is_a_blocker(world: World) -> None:
    async with offering(world, packed(GOOD), digest="0" * 64):
        result = await world.check("chart.version")
    assert "is not what the index" in blockers(result)[0]
    assert "Somebody must look at the repository" in result.findings[0].way_out


async def test_an_index_of_twenty_megabytes_is_read(world: World) -> None:
    archive = packed(GOOD)
    entry = {"version": "9.0.0", "urls": ["x.tgz"], "digest": hashlib.sha256(archive).hexdigest()}
    others = [{"version": f"8.{n}.0", "urls": ["y.tgz"], "description": "x" * 20_000} for n in range(1_000)]
    index = json.dumps({"apiVersion": "v1", "entries": {CHART: [entry, *others]}}).encode()
    assert len(index) > 20_000_000
    async with offering(world, archive, index=index):
        plan = await world.plan("chart.version", "changelog")
    assert not blockers(plan["chart.version"])
    assert len(plan["changelog"].facts["versions_between"]) == 1_001
    assert all(len(finding.text) < 1_000 for finding in plan["changelog"].findings)
    assert "and 996 more steps." in " ".join(finding.text for finding in plan["changelog"].findings)


async def test_an_index_beyond_all_measure_is_a_blocker(world: World) -> None:
    async with offering(world, b"", index=b"#" * (65 * 1024 * 1024)):
        result = await world.check("chart.version")
    assert "is larger than 64 MiB" in blockers(result)[0]
