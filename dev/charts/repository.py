"""The chart repository over HTTP, with the bad days that tests need: offline, failing, changed, corrupted.

One instance is one repository on one port of 127.0.0.1; after ``offline`` it comes back on the same port.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from aiohttp import web

from dev.charts.package import Package, build, build_all, index_of
from dev.charts.versions import CHART, ChartVersion, Edit, load_versions

HOST = "127.0.0.1"


class ChartRepository:
    """Serves ``/index.yaml`` and the archives that it names. Start it with ``running``."""

    def __init__(self, packages: Iterable[Package], *, table: dict[str, ChartVersion]) -> None:
        self._table = table
        self._packages = {package.version: package for package in packages}
        self._corrupt: set[str] = set()
        self._failing: int | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._port = 0
        self.requests: list[str] = []
        """Paths that were asked for, oldest first."""

    @classmethod
    @asynccontextmanager
    async def running(
        cls, directory: Path | None = None, *, port: int = 0, versions: Iterable[str] | None = None
    ) -> AsyncIterator[Self]:
        """Serve ``versions`` (default: the whole table) on ``port`` (0: a free one) until the block ends.

        With ``directory``, archives and index are written there too, for charts given by path.
        """
        table = load_versions()
        repository = cls(build_all(table, versions), table=table)
        if directory is not None:
            repository.write_to(directory)
        await repository._start(port)
        try:
            yield repository
        finally:
            await repository._stop()

    @property
    def url(self) -> str:
        """The repository's address, as ``helm repo add`` and ``--repo`` want it."""
        return f"http://{HOST}:{self._port}"

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that the index names now."""
        return tuple(self._packages)

    def digest(self, version: str) -> str:
        """The digest that the index gives for ``version``."""
        return self._packages[version].digest

    def write_to(self, directory: Path) -> None:
        """Write the archives and ``index.yaml`` into ``directory`` (made when missing)."""
        directory.mkdir(parents=True, exist_ok=True)
        for package in self._packages.values():
            (directory / package.filename).write_bytes(package.archive)
        (directory / "index.yaml").write_bytes(index_of(self._packages.values()))

    def add(
        self,
        version: str,
        *,
        base: str = "0.2.1",
        edits: Sequence[Edit] = (),
        delete: Sequence[str] = (),
        add: Mapping[str, str] | None = None,
        changes: Sequence[Mapping[str, str]] = (),
        created: str = "2026-11-01T09:00:00Z",
    ) -> Package:
        """Publish one more version, or the same version with other content (its digest changes)."""
        # Under a name of its own the base stays reachable, even when that very version is published anew.
        beneath = f"beneath {version}"
        entry = ChartVersion(
            version,
            created,
            base=beneath,
            changes=tuple(changes),
            edits=tuple(edits),
            delete=tuple(delete),
            add=add or {},
        )
        package = build(version, {**self._table, beneath: self._table[base], version: entry})
        self._packages[version] = package
        return package

    def publish(self, package: Package) -> None:
        """Put a package into the index that was built elsewhere, or in place of the one with its version."""
        self._packages[package.version] = package

    def remove(self, version: str) -> None:
        """Take ``version`` out of the index and its archive away."""
        del self._packages[version]

    def corrupt(self, version: str | None = None) -> None:
        """Serve a damaged archive for ``version``, or without one a damaged index."""
        self._corrupt.add(version or "index")

    def failing(self, status: int = 503) -> None:
        """Answer everything with ``status``."""
        self._failing = status

    async def offline(self) -> None:
        """Refuse connections until ``online``."""
        if self._site is not None:
            await self._site.stop()
            self._site = None

    async def online(self) -> None:
        """Undo ``offline``, ``failing`` and ``corrupt``."""
        self._failing = None
        self._corrupt.clear()
        if self._site is None and self._runner is not None:
            self._site = web.TCPSite(self._runner, HOST, self._port)
            await self._site.start()

    async def _start(self, port: int) -> None:
        app = web.Application()
        app.router.add_get("/{name}", self._serve)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        self._port = port
        await self.online()
        self._port = int(self._runner.addresses[0][1])

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        # A kept connection would outlive offline().
        closing = {"Connection": "close"}
        if self._failing is not None:
            return web.Response(status=self._failing, text="the repository is failing on purpose\n", headers=closing)
        name = request.match_info["name"]
        if name == "index.yaml":
            body = b"entries: [this is: not an index" if "index" in self._corrupt else index_of(self._packages.values())
            return web.Response(body=body, content_type="text/yaml", headers=closing)
        version = name.removeprefix(f"{CHART}-").removesuffix(".tgz")
        if name != f"{CHART}-{version}.tgz" or version not in self._packages:
            return web.Response(status=404, text="not found\n", headers=closing)
        archive = self._packages[version].archive
        if version in self._corrupt:
            archive = archive[: len(archive) // 2]
        return web.Response(body=archive, content_type="application/gzip", headers=closing)
