"""Chart sources: a real HTTP server with good and bad charts, and charts on disk."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bot.errors import Permanent, UserMistake
from bot.helm.archive import Limits
from bot.helm.charts import ChartSource
from bot.helm.client import Helm
from bot.helm.environment import HelmSettings
from bot.helm.failures import ChartVersionNotFound, RepositoryUnreachable
from bot.helm.repository import ChartRepository, HttpRepository, chart_repository


def archive(files: dict[str, bytes], *, extra: list[tarfile.TarInfo] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in extra or []:
            tar.addfile(info)
    return buffer.getvalue()


def chart(version: str, **more: bytes) -> bytes:
    return archive(
        {
            "aeterna/Chart.yaml": f"apiVersion: v2\nname: aeterna\nversion: {version}\nappVersion: '9'\n".encode(),
            "aeterna/values.yaml": b"replicas: 1\n",
            "aeterna/values.schema.json": b'{"type": "object"}',
            "aeterna/CHANGELOG.md": b"# Changes\n",
            "aeterna/templates/a.yaml": b"a: b\n",
            "aeterna/charts/sub/Chart.yaml": b"name: sub\nversion: 1.0.0\n",
            **more,
        }
    )


class Repo:
    """A chart repository whose contents and behaviour a test sets."""

    def __init__(self) -> None:
        self.charts: dict[str, bytes] = {}
        self.digests: dict[str, str] = {}
        self.asked: list[str] = []
        self.index: bytes | None = None
        self.status = 200

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path.rsplit("/", 1)[1])
        if self.status != 200:
            return web.Response(status=self.status, headers={"Retry-After": "7"})
        if request.path.endswith("/index.yaml"):
            return web.Response(body=self.index if self.index is not None else self._index())
        return web.Response(body=self.charts[request.path.rsplit("-", 1)[1].removesuffix(".tgz")])

    def _index(self) -> bytes:
        lines = ["apiVersion: v1", "entries:", "  aeterna:"]
        for version, data in self.charts.items():
            digest = self.digests.get(version, hashlib.sha256(data).hexdigest())
            lines += [
                f"  - version: {version}",
                "    appVersion: '9'",
                "    created: 2026-01-02T03:04:05.123456789Z",
                f"    digest: {digest}",
                f"    urls: [aeterna-{version}.tgz]",
                "    annotations: {a: b}",
            ]
        return "\n".join(lines).encode()


@pytest.fixture
def repo() -> Repo:
    repo = Repo()
    repo.charts = {version: chart(version) for version in ("0.2.0", "0.10.0", "0.9.0")}
    return repo


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def charts(repo: Repo, http: aiohttp.ClientSession) -> AsyncIterator[HttpRepository]:
    app = web.Application()
    app.router.add_get("/charts/{name}", repo.answer)
    async with TestServer(app) as server:
        url = str(server.make_url("/charts"))
        yield HttpRepository(ChartSource(name="aeterna", repo=url), http=http, limits=Limits(unpacked=300_000))


async def test_versions_come_newest_first_and_afresh(charts: HttpRepository, repo: Repo) -> None:
    offers = await charts.versions()
    assert [offer.version for offer in offers] == ["0.10.0", "0.9.0", "0.2.0"]
    assert (offers[0].app_version, offers[0].annotations) == ("9", {"a": "b"})
    assert offers[0].created is not None
    repo.charts["0.11.0"] = chart("0.11.0")
    assert (await charts.versions())[0].version == "0.11.0"


async def test_a_version_that_does_not_exist_is_answered_with_the_nearest(charts: HttpRepository) -> None:
    with pytest.raises(ChartVersionNotFound) as caught:
        await charts.find("0.10.1")
    assert caught.value.nearest[0] == "0.10.0"
    assert "`0.10.0`" in caught.value.way_out


async def test_a_chart_is_pulled_with_all_that_is_read_of_it(
    charts: HttpRepository, repo: Repo, tmp_path: Path
) -> None:
    pulled = await charts.pull("v0.9.0", tmp_path)
    assert (pulled.name, pulled.version, pulled.app_version) == ("aeterna", "0.9.0", "9")
    assert pulled.digest == hashlib.sha256(repo.charts["0.9.0"]).hexdigest()
    assert pulled.path.read_bytes() == repo.charts["0.9.0"]
    assert (pulled.values, pulled.schema) == ({"replicas": 1}, {"type": "object"})
    assert pulled.files == {"CHANGELOG.md": "# Changes\n"}
    assert os.listdir(tmp_path) == [pulled.digest]


async def test_a_chart_that_is_there_already_is_not_fetched_again(
    charts: HttpRepository, repo: Repo, tmp_path: Path
) -> None:
    offer = await charts.find("0.9.0")
    first = await charts.pull(offer, tmp_path)
    repo.asked.clear()
    assert await charts.pull(offer, tmp_path) == first
    assert repo.asked == []
    first.path.write_bytes(b"damaged")
    assert (await charts.pull(offer, tmp_path)).path.read_bytes() == repo.charts["0.9.0"]


async def test_a_chart_that_is_not_what_the_index_promises_is_refused(
    charts: HttpRepository, repo: Repo, tmp_path: Path
) -> None:
    repo.digests["0.9.0"] = "ab" * 32
    with pytest.raises(Permanent, match="is not what the index"):
        await charts.pull("0.9.0", tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("digest", ["0", "md5:abc", "[]"])
async def test_a_digest_that_is_none_is_refused_and_not_left_out(
    charts: HttpRepository, repo: Repo, tmp_path: Path, digest: str
) -> None:
    repo.digests["0.9.0"] = digest
    with pytest.raises(Permanent, match="not a SHA-256"):
        await charts.pull("0.9.0", tmp_path)


async def test_a_chart_that_claims_another_version_is_refused(
    charts: HttpRepository, repo: Repo, tmp_path: Path
) -> None:
    repo.charts["0.9.0"] = chart("0.1.0")
    with pytest.raises(Permanent, match=r"says in its Chart\.yaml that it is 0\.1\.0"):
        await charts.pull("0.9.0", tmp_path)


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


BAD = {
    "a path that leads out": (archive({"aeterna/../../x": b""}), "outside of itself"),
    "an absolute path": (archive({"/etc/x": b""}), "outside of itself"),
    "a symbolic link": (archive({}, extra=[link("aeterna/x", tarfile.SYMTYPE)]), "link or a device"),
    "a hard link": (archive({}, extra=[link("aeterna/x", tarfile.LNKTYPE)]), "link or a device"),
    "a device": (archive({}, extra=[link("aeterna/x", tarfile.CHRTYPE)]), "link or a device"),
    "two charts": (archive({"a/Chart.yaml": b"", "b/Chart.yaml": b""}), "more than one chart"),
    "far too much": (chart("0.9.0", **{"aeterna/big": b"0" * 400_000}), "unpacks to too much"),
    "a bomb": (archive({"aeterna/big": b"0" * 30_000_000}), "unpacks to more than"),
    "no chart": (archive({"aeterna/README.md": b""}), r"no Chart\.yaml"),
    "no archive": (b"hello", "not a readable archive"),
    "half an archive": (chart("0.9.0")[:200], "not a readable archive"),
    "a key twice": (archive({"aeterna/Chart.yaml": b"name: a\nversion: 0.9.0\nversion: 1.0.0\n"}), "stands twice"),
}


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD.keys())
async def test_a_chart_that_means_harm_is_refused(
    charts: HttpRepository, repo: Repo, tmp_path: Path, data: bytes, reason: str
) -> None:
    repo.charts["0.9.0"] = data
    with pytest.raises(Permanent, match=reason):
        await charts.pull("0.9.0", tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (b"<html>", "index has no entries|not a mapping"),
        (b"entries: {other: []}", "has no chart `aeterna`"),
        (b"entries: {}\nentries: {}", "stands twice"),
        (b"entries: [", "not valid YAML"),
    ],
)
async def test_an_index_that_is_none_is_told_so(charts: HttpRepository, repo: Repo, index: bytes, reason: str) -> None:
    repo.index = index
    with pytest.raises(Permanent, match=reason):
        await charts.versions()


async def test_a_repository_in_trouble_may_work_later(charts: HttpRepository, repo: Repo) -> None:
    repo.status = 503
    with pytest.raises(RepositoryUnreachable, match="503") as caught:
        await charts.versions()
    assert caught.value.retry_after == 7


async def test_a_repository_that_refuses_is_permanent(charts: HttpRepository, repo: Repo) -> None:
    repo.status = 403
    with pytest.raises(Permanent, match="403"):
        await charts.versions()


async def test_a_repository_that_is_gone_may_work_later(http: aiohttp.ClientSession) -> None:
    gone = HttpRepository(ChartSource(name="aeterna", repo="http://127.0.0.1:9/charts"), http=http)
    with pytest.raises(RepositoryUnreachable):
        await gone.versions()


@pytest.fixture
def local(http: aiohttp.ClientSession, tmp_path: Path) -> ChartRepository:
    """A chart in a directory, and the repository that serves it."""
    with tarfile.open(fileobj=io.BytesIO(chart("0.9.0"))) as tar:
        tar.extractall(tmp_path / "source", filter="data")
    helm = Helm(HelmSettings("helm", tmp_path / "home"), environ={})
    return chart_repository(ChartSource(path=tmp_path / "source" / "aeterna"), http=http, helm=helm)


async def test_a_directory_is_fixed_under_a_digest(local: ChartRepository, tmp_path: Path) -> None:
    (offer,) = await local.versions()
    first = await local.pull(offer, tmp_path / "kept")
    assert (first.version, first.path.is_dir(), first.files) == ("0.9.0", True, {"CHANGELOG.md": "# Changes\n"})
    assert (await local.pull("0.9.0", tmp_path / "kept")).digest == first.digest
    (tmp_path / "source/aeterna/templates/a.yaml").write_text("a: c\n")
    second = await local.pull("0.9.0", tmp_path / "kept")
    assert second.digest != first.digest
    assert (first.path / "templates/a.yaml").read_text() == "a: b\n"
    with pytest.raises(ChartVersionNotFound):
        await local.pull("0.9.1", tmp_path / "kept")


async def test_a_directory_with_a_link_is_refused(local: ChartRepository, tmp_path: Path) -> None:
    os.symlink("/etc/passwd", tmp_path / "source/aeterna/templates/x")
    with pytest.raises(Permanent, match="link"):
        await local.pull("0.9.0", tmp_path / "kept")


async def test_a_directory_that_is_gone_is_named(local: ChartRepository, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "source")
    with pytest.raises(Permanent, match="There is no chart at"):
        await local.versions()


async def test_versions_in_a_registry_cannot_be_listed_and_the_way_out_is_told(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    helm = Helm(HelmSettings("helm", tmp_path / "home"), environ={})
    registry = chart_repository(ChartSource(oci="oci://127.0.0.1:9/aeterna"), http=http, helm=helm)
    with pytest.raises(Permanent) as caught:
        await registry.versions()
    assert caught.value.way_out == "Name the version."


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"repo": "http://x"},
        {"repo": "ftp://x", "name": "a"},
        {"oci": "http://x"},
        {"oci": "oci://x", "path": Path()},
    ],
)
def test_a_source_must_be_one_place(arguments: dict[str, object]) -> None:
    with pytest.raises(UserMistake):
        ChartSource(**arguments)  # type: ignore[arg-type]
