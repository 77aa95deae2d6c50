"""Chart sources: what versions there are, asked afresh each time, and one of them fixed on our disk by its
digest.

A repository is read by our own HTTP client (typed, fresh, bounded); a registry by the program, which has the
protocol and the credentials; a directory is copied, so that what was planned is what is applied.
"""

from __future__ import annotations

import abc
import asyncio
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp

from bot.errors import Permanent, Temporary
from bot.helm.archive import ChartContents, Limits, contents, expanded, read_archive, wanted
from bot.helm.charts import ChartSource, ChartVersion, PulledChart
from bot.helm.client import Helm
from bot.helm.failures import ChartVersionNotFound, RepositoryUnreachable
from bot.helm.versions import nearest, newest_first
from bot.helm.yamldocs import load_mapping
from bot.silence import silence

MIB = 1024 * 1024
LARGEST_INDEX = 64 * MIB
HTTP_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10, sock_read=20)


class ChartRepository(abc.ABC):
    """Where a chart's versions are. Any method may raise `RepositoryUnreachable`."""

    def __init__(self, source: ChartSource, *, limits: Limits | None = None) -> None:
        self.source = source
        self._limits = limits or Limits()

    @abc.abstractmethod
    async def versions(self) -> list[ChartVersion]:
        """All versions, newest first, fetched afresh."""

    @abc.abstractmethod
    async def pull(self, version: str | ChartVersion, into: Path) -> PulledChart:
        """The chart, kept under ``into`` by its digest; one that is there already is not fetched again.

        Raises `ChartVersionNotFound`, and `Permanent` when it is not what the source promised or not fit to
        be read.
        """

    async def find(self, version: str) -> ChartVersion:
        """One version. Raises `ChartVersionNotFound` with the nearest ones."""
        found = await self.versions()
        for offer in found:
            if offer.version.removeprefix("v") == version.removeprefix("v"):
                return offer
        raise _not_found(self.source, version, [offer.version for offer in found])


def chart_repository(
    source: ChartSource,
    *,
    http: aiohttp.ClientSession,
    helm: Helm,
    auth: aiohttp.BasicAuth | None = None,
    limits: Limits | None = None,
) -> ChartRepository:
    """The repository for a source.

    ``auth`` is sent to the repository's own host only. Make ``http`` with ``trust_env=True`` where a proxy is used.
    """
    if source.repo is not None:
        return HttpRepository(source, http=http, auth=auth, limits=limits)
    if source.oci is not None:
        return OciRepository(source, helm=helm, limits=limits)
    return LocalChart(source, limits=limits)


class HttpRepository(ChartRepository):
    """A chart repository: an ``index.yaml`` and archives, over HTTP."""

    def __init__(
        self,
        source: ChartSource,
        *,
        http: aiohttp.ClientSession,
        auth: aiohttp.BasicAuth | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(source, limits=limits)
        self._http = http
        self._auth = auth
        self._base = f"{source.repo}".rstrip("/") + "/"

    async def versions(self) -> list[ChartVersion]:
        url = urljoin(self._base, "index.yaml")
        text = bytearray()
        async with self._get(url) as response:
            async for block in response.content.iter_chunked(MIB):
                text += block
                if len(text) > LARGEST_INDEX:
                    raise Permanent(f"The index of {self.source.repo} is larger than {LARGEST_INDEX // MIB} MiB.")
        # In a thread: a megabyte of index takes a tenth of a second.
        return await asyncio.to_thread(_read_index, bytes(text), self.source)

    async def pull(self, version: str | ChartVersion, into: Path) -> PulledChart:
        offer = version if isinstance(version, ChartVersion) else await self.find(version)
        if offer.digest:
            kept = _place(into, offer.digest, f"{self.source.name}-{offer.version}.tgz")
            if kept.is_file() and await asyncio.to_thread(_sha256, kept) == offer.digest:
                return await asyncio.to_thread(_pulled_archive, kept, offer.digest, self._limits)
        if not offer.urls:
            raise Permanent(f"The index of {self.source.repo} names no address for {offer.version}.")
        with _scratch(into) as scratch:
            archive = scratch / "chart.tgz"
            digest = await self._download(urljoin(self._base, offer.urls[0]), archive)
            if offer.digest and digest != offer.digest:
                raise Permanent(
                    f"{self.source.name} {offer.version} is not what the index of {self.source.repo} promises: "
                    f"its digest is {digest[:12]}…, not {offer.digest[:12]}….",
                    way_out="Somebody must look at the repository before this version is used.",
                )
            return await asyncio.to_thread(_keep_archive, archive, digest, into, self._limits, offer.version)

    async def _download(self, url: str, to: Path) -> str:
        digest, size = hashlib.sha256(), 0
        async with self._get(url) as response:
            with to.open("wb") as file:
                async for block in response.content.iter_chunked(MIB):
                    size += len(block)
                    if size > self._limits.packed:
                        raise Permanent(f"The chart at {_shown(url)} is larger than {self._limits.packed // MIB} MiB.")
                    digest.update(block)
                    file.write(block)
        return digest.hexdigest()

    @asynccontextmanager
    async def _get(self, url: str) -> AsyncIterator[aiohttp.ClientResponse]:
        own = urlsplit(url)[:2] == urlsplit(self._base)[:2]
        fresh = {"Cache-Control": "no-cache"}
        try:
            async with self._http.get(
                url, auth=self._auth if own else None, timeout=HTTP_TIMEOUT, headers=fresh
            ) as response:
                _check(response, url)
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            why = silence(error)
            raise RepositoryUnreachable(
                f"The chart repository {self.source.repo} does not answer: {why.reason}.", way_out=f"{why.way_out}."
            ) from error


class OciRepository(ChartRepository):
    """A chart in a registry. Helm cannot list the versions there, so they must be named."""

    def __init__(self, source: ChartSource, *, helm: Helm, limits: Limits | None = None) -> None:
        super().__init__(source, limits=limits)
        self._helm = helm
        self._reference = str(source.oci)

    async def versions(self) -> list[ChartVersion]:
        raise Permanent(
            f"The versions in {self._reference} cannot be listed: Helm has no way to do it.",
            way_out="Name the version.",
        )

    async def find(self, version: str) -> ChartVersion:
        text = await self._helm.show_chart(self._reference, version)
        return _offer(load_mapping(text, what=f"Chart.yaml of {self._reference}"))

    async def pull(self, version: str | ChartVersion, into: Path) -> PulledChart:
        wanted_version = version.version if isinstance(version, ChartVersion) else version
        with _scratch(into) as scratch:
            await self._helm.pull(self._reference, wanted_version, scratch)
            archives = [scratch / name for name in os.listdir(scratch) if name.endswith(".tgz")]
            if len(archives) != 1:
                raise Permanent(f"{self._reference} {wanted_version} did not give one archive.")
            digest = await asyncio.to_thread(_sha256, archives[0])
            return await asyncio.to_thread(_keep_archive, archives[0], digest, into, self._limits, wanted_version)


class LocalChart(ChartRepository):
    """A chart on our own disk, as a directory or an archive; it has the one version that its Chart.yaml
    names.
    """

    async def versions(self) -> list[ChartVersion]:
        return [await asyncio.to_thread(self._offer)]

    async def pull(self, version: str | ChartVersion, into: Path) -> PulledChart:
        wanted_version = version.version if isinstance(version, ChartVersion) else version
        await self.find(wanted_version)
        return await asyncio.to_thread(self._keep, into, wanted_version)

    def _offer(self) -> ChartVersion:
        path = self._path()
        found = _read_directory(path, self._limits)[0] if path.is_dir() else read_archive(path, limits=self._limits)
        return _offer(found.metadata)

    def _keep(self, into: Path, version: str) -> PulledChart:
        path = self._path()
        with _scratch(into) as scratch:
            if path.is_file():
                copy = scratch / path.name
                shutil.copyfile(path, copy)
                return _keep_archive(copy, _sha256(copy), into, self._limits, version)
            copy = scratch / "chart"
            # Links are copied as links, and refused when the copy is read.
            shutil.copytree(path, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"))
            found, digest = _read_directory(copy, self._limits)
            kept = _moved(copy, _place(into, digest, str(found.metadata["name"])))
            return _pulled(kept, digest, found)

    def _path(self) -> Path:
        path = self.source.path
        if path is None or not path.exists():
            raise Permanent(f"There is no chart at {path}.", way_out="Correct the path in the configuration.")
        return path


@contextmanager
def _scratch(into: Path) -> Iterator[Path]:
    """A directory beside the kept charts, on the same disk, so that one rename puts a chart into its place."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into, prefix=".new-") as scratch:
        yield Path(scratch)


def _check(response: aiohttp.ClientResponse, url: str) -> None:
    if response.status == 200:
        return
    where = f"{_shown(url)} answered {response.status} {response.reason}"
    if response.status == 429 or response.status >= 500:
        after = response.headers.get("Retry-After", "")
        raise RepositoryUnreachable(
            f"The chart repository does not work as it should: {where}.",
            way_out="Try again later.",
            retry_after=float(after) if after.isdecimal() else None,
        )
    raise Permanent(
        f"The chart repository does not have it: {where}.", way_out="Check the repository's address and credentials."
    )


def _read_index(text: bytes, source: ChartSource) -> list[ChartVersion]:
    index = load_mapping(text, what=f"the index of {source.repo}", unique_keys=True)
    entries = index.get("entries")
    if not isinstance(entries, dict):
        raise Permanent(
            f"{source.repo} is not a chart repository: its index has no entries.",
            way_out="Check the repository's address.",
        )
    if source.name not in entries:
        raise Permanent(
            f"{source.repo} has no chart `{source.name}`.",
            way_out=f"It has {', '.join(f'`{name}`' for name in sorted(entries)[:5]) or 'none at all'}.",
        )
    lines = [line for line in entries[source.name] or [] if isinstance(line, dict)]
    offers = {offer.version: offer for offer in (_offer(line) for line in reversed(lines)) if offer.version}
    return [offers[version] for version in newest_first(offers)]


def _offer(line: Mapping[str, Any]) -> ChartVersion:
    annotations, digest = line.get("annotations"), line.get("digest")
    urls = line.get("urls")
    return ChartVersion(
        version=str(line.get("version") or ""),
        app_version=str(line.get("appVersion") or ""),
        created=_time(line.get("created")),
        # Whatever stands there counts, so that a digest that is none is refused and not left out.
        digest="" if digest is None else str(digest).removeprefix("sha256:").lower(),
        urls=tuple(str(url) for url in urls) if isinstance(urls, list) else (),
        deprecated=line.get("deprecated") is True,
        description=str(line.get("description") or ""),
        annotations={str(k): str(v) for k, v in annotations.items()} if isinstance(annotations, dict) else {},
    )


def _time(text: object) -> datetime | None:
    """RFC 3339; Go writes nine digits of a second, Python reads six."""
    try:
        value = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", str(text)))
    except ValueError:
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _not_found(source: ChartSource, version: str, offered: list[str]) -> ChartVersionNotFound:
    near = tuple(nearest(version, offered))
    listed = ", ".join(f"`{text}`" for text in near)
    name = source.name or str(source)
    return ChartVersionNotFound(
        f"There is no version `{version[:60]}` of {name}.",
        nearest=near,
        way_out=f"Nearest: {listed}." if near else "The repository has no versions of it.",
    )


def _place(into: Path, digest: str, name: str) -> Path:
    """A directory by digest, and in it a name that cannot lead out of it."""
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise Permanent("The chart's digest is not a SHA-256.")
    return into / digest / re.sub(r"[^A-Za-z0-9._+-]", "_", name).lstrip(".")


def _keep_archive(archive: Path, digest: str, into: Path, limits: Limits, version: str) -> PulledChart:
    found = read_archive(archive, limits=limits)
    told = str(found.metadata["version"])
    if told.removeprefix("v") != version.removeprefix("v"):
        raise Permanent(f"The archive of {version} says in its Chart.yaml that it is {told}. It is not used.")
    kept = _moved(archive, _place(into, digest, f"{found.metadata['name']}-{told}.tgz"))
    return _pulled(kept, digest, found)


def _pulled_archive(kept: Path, digest: str, limits: Limits) -> PulledChart:
    return _pulled(kept, digest, read_archive(kept, limits=limits))


def _pulled(kept: Path, digest: str, found: ChartContents) -> PulledChart:
    return PulledChart(kept, digest, found.metadata, found.values, found.schema, found.files, found.parts)


def _moved(what: Path, to: Path) -> Path:
    """Into its place in one step; if somebody else was first, theirs has the same digest."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(what, to)
    except OSError as error:
        if not to.exists():
            raise Temporary(f"The chart could not be kept: {error}.") from error
    return to


def _read_directory(path: Path, limits: Limits) -> tuple[ChartContents, str]:
    """What is read of a chart's directory, and the digest of all its files (names and contents)."""
    digest, total, files = hashlib.sha256(), 0, {}
    entries = sorted(entry for entry in path.rglob("*") if ".git" not in entry.relative_to(path).parts)
    if len(entries) > limits.entries:
        raise Permanent(f"The chart {path.name} has more than {limits.entries} files.")
    for entry in entries:
        inner = entry.relative_to(path).as_posix()
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise Permanent(f"The chart {path.name} holds a link or a device: {inner}. It is not used.")
        if entry.is_dir():
            continue
        total += entry.stat().st_size
        if total > limits.unpacked or (wanted(inner) and entry.stat().st_size > limits.one_file):
            raise Permanent(f"The chart {path.name} is too large: {inner} goes over the limit.")
        digest.update(f"{inner}\0{_sha256(entry)}\n".encode())
        if wanted(inner):
            files[inner] = entry.read_bytes()
    return contents(expanded(files, limits, path.name), path.name, limits), digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shown(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
