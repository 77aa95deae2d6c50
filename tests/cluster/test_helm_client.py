"""The real Helm against a real API server: each method, and the texts from which errors are read."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import psutil
import pytest
import yaml

from bot.errors import OutcomeUnknown, Permanent
from bot.helm.charts import ChartSource
from bot.helm.client import Helm
from bot.helm.environment import HelmSettings
from bot.helm.failures import (
    ApplyConflict,
    ClusterForbids,
    ClusterUnreachable,
    HookFailed,
    ManifestRefused,
    NotReadyInTime,
    ReleaseNotFound,
    ReleasePending,
    RenderFailed,
    RepositoryUnreachable,
    RevisionNotFound,
    ValuesRefused,
)
from bot.helm.flags import Wait
from bot.helm.models import Progress, Release, Status
from bot.helm.releases import ReleaseStore, newest_good, pending, rollback_target
from bot.helm.repository import chart_repository
from dev.charts import BadVersion, ChartRepository, build, light_values, load_versions
from dev.controlplane import Api, Running, user_kubeconfig

MINUTE = timedelta(minutes=1)
NAME = "aeterna"


class Secrets:
    """The Secrets of the cluster, as `ReleaseStore` wants them."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def secrets(
        self, namespace: str, label_selector: str, *, metadata_only: bool = False
    ) -> list[dict[str, Any]]:
        path = f"/api/v1/namespaces/{namespace}/secrets?labelSelector={quote(label_selector)}"
        found: list[dict[str, Any]] = (await asyncio.to_thread(self._api.get, path))["items"]
        return found


@dataclass
class Bench:
    """A namespace, Helm, and charts to install in it."""

    helm: Helm
    store: ReleaseStore
    namespace: str
    directory: Path
    api: Api

    def chart(self, version: str) -> Path:
        path = self.directory / f"{NAME}-{version}.tgz"
        path.write_bytes(build(version, load_versions()).archive)
        return path

    def values(self, more: Mapping[str, Any] | None = None) -> Path:
        path = self.directory / "values.yaml"
        path.write_text(yaml.safe_dump(light_values() | dict(more or {})))
        return path

    async def upgrade(self, version: str, *, values: Mapping[str, Any] | None = None, **more: Any) -> Release:
        arguments: dict[str, Any] = {"timeout": MINUTE, "install": True} | more
        return await self.helm.upgrade(
            release=NAME, namespace=self.namespace, chart=self.chart(version), values=self.values(values), **arguments
        )

    def settings(self, helm_program: Path, kubeconfig: Path) -> HelmSettings:
        return HelmSettings(helm_program, self.directory / "home", kubeconfig=kubeconfig)

    def deployment(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments"


@pytest.fixture
def bench(control_plane: Running, helm_program: Path, namespace: str, api: Api, tmp_path: Path) -> Bench:
    helm = Helm(HelmSettings(helm_program, tmp_path / "home", kubeconfig=control_plane.kubeconfig))
    store = ReleaseStore(Secrets(api), namespace=namespace, release=NAME)
    return Bench(helm, store, namespace, tmp_path, api)


async def test_the_life_of_a_release(bench: Bench) -> None:
    notes: list[Progress] = []
    first = await bench.upgrade("0.1.0", description="run 1", labels={"bot.example/run": "r-1"})
    assert (first.revision, first.status, str(first.chart)) == (1, Status.DEPLOYED, "aeterna 0.1.0")
    second = await bench.upgrade(
        "0.2.0", server_side="true", description="run 2", labels={"bot.example/run": "r-2"}, on_progress=notes.append
    )
    assert (second.revision, second.description, second.apply_method) == (2, "run 2", "ssa")
    assert {"recorded", "applying"} <= {note.status for note in notes}
    assert any(note.kind == "Deployment" for note in notes)

    history = await bench.helm.history(NAME, bench.namespace)
    stored = await bench.store.history()
    assert [(r.revision, r.status, str(r.chart), r.description) for r in history] == [
        (1, Status.SUPERSEDED, "aeterna 0.1.0", "run 1"),
        (2, Status.DEPLOYED, "aeterna 0.2.0", "run 2"),
    ]
    assert [(r.revision, r.status, r.chart, r.description, r.updated) for r in stored] == [
        (r.revision, r.status, r.chart, r.description, r.updated) for r in history
    ]
    assert [state.labels for state in await bench.store.states()] == [
        {"bot.example/run": "r-1"},
        {"bot.example/run": "r-2"},
    ]
    current, status = await bench.store.current(), await bench.helm.status(NAME, bench.namespace)
    assert (current.config, current.manifest) == (status.config, status.manifest)
    assert current.config == await bench.helm.get_values(NAME, bench.namespace) == light_values()
    assert current.manifest.strip() == (await bench.helm.get_manifest(NAME, bench.namespace)).strip()
    assert current.chart_values["aeterna"]["autoscaling"]["maxReplicas"] == 6
    (listed,) = await bench.helm.list(bench.namespace)
    assert (listed.name, listed.revision, str(listed.chart)) == (NAME, 2, "aeterna 0.2.0")

    target = rollback_target(stored)
    assert target is not None
    await bench.helm.rollback(
        release=NAME, namespace=bench.namespace, revision=target.revision, timeout=MINUTE, description="run 3"
    )
    third = await bench.store.current()
    assert (third.revision, third.status, third.rollback_to, third.description) == (3, Status.DEPLOYED, 1, "run 3")
    assert third.labels == {"bot.example/run": "r-1"}, "Helm takes the labels of the revision that it goes back to"


async def test_template_and_server_dry_run_agree_and_change_nothing(bench: Bench) -> None:
    await bench.upgrade("0.1.0")
    rendered = await bench.helm.template(
        bench.chart("0.2.0"), release=NAME, namespace=bench.namespace, values=bench.values(), kube_version="1.37.0"
    )
    dry = await bench.helm.dry_run(
        release=NAME, namespace=bench.namespace, chart=bench.chart("0.2.0"), values=bench.values()
    )
    assert sorted(o["kind"] for o in rendered.objects) == sorted(o["kind"] for o in dry.objects)
    assert {hook.events for hook in rendered.hooks} == {hook.events for hook in dry.hooks} == {("test",)}
    assert dry.notes
    assert len(await bench.store.states()) == 1


async def test_a_test_that_passes_and_one_that_fails_are_results(bench: Bench) -> None:
    await bench.upgrade("0.2.1")
    report = await bench.helm.test(NAME, bench.namespace, MINUTE)
    assert report.passed
    assert [suite.phase for suite in report.suites] == ["Succeeded"]
    assert all(suite.started and suite.completed for suite in report.suites)
    await bench.upgrade(BadVersion.TEST_FAILS)
    failed = await bench.helm.test(NAME, bench.namespace, MINUTE)
    assert not failed.passed
    assert [suite.phase for suite in failed.suites] == ["Failed"]
    assert failed.suites[0].name in failed.error
    assert failed.suites[0].logs


async def test_pods_that_do_not_start_are_named_and_the_good_revision_is_known(bench: Bench) -> None:
    await bench.upgrade("0.2.1")
    with pytest.raises(NotReadyInTime) as caught:
        await bench.upgrade(BadVersion.IMAGE_CANNOT_BE_PULLED, timeout=timedelta(seconds=3))
    assert caught.value.timed_out
    assert [(r.kind, r.namespace) for r in caught.value.resources] == [("Deployment", bench.namespace)]
    history = await bench.store.history()
    good, target = newest_good(history), rollback_target(history)
    assert history[-1].status is Status.FAILED
    assert good is target
    assert target is not None
    assert target.revision == 1


async def test_a_hook_that_fails_is_named(bench: Bench) -> None:
    migration = {"migration": {"enabled": True}}
    await bench.upgrade("0.2.1", values=migration)
    with pytest.raises(HookFailed) as caught:
        await bench.upgrade(BadVersion.HOOK_FAILS, values=migration)
    assert caught.value.event in {"pre-upgrade", "post-upgrade"}
    assert (caught.value.kind, caught.value.timed_out) == ("Job", False)
    assert caught.value.name


async def test_charts_that_cannot_be_used_are_refused_before_anything_is_recorded(bench: Bench) -> None:
    await bench.upgrade("0.2.1")
    with pytest.raises(RenderFailed) as nothing:
        await bench.upgrade(BadVersion.TEMPLATES_DO_NOT_RENDER)
    assert nothing.value.template.endswith("templates/aeterna/service.yaml")
    assert (nothing.value.key, nothing.value.line > 0) == (".Values.gateway.enabled", True)
    with pytest.raises(RenderFailed, match=r"audit\.sink is required"):
        await bench.upgrade(BadVersion.REQUIRED_VALUE_MISSING)
    with pytest.raises(ValuesRefused) as schema:
        await bench.upgrade(BadVersion.SCHEMA_REFUSES)
    assert [(field.path, "tenantSlug" in field.problem) for field in schema.value.fields] == [("aeterna", True)]
    assert len(await bench.store.states()) == 1


@pytest.mark.parametrize("server_side", ["true", "false"])
async def test_an_object_that_the_api_server_does_not_take_is_told(bench: Bench, server_side: str) -> None:
    qdrant = {"qdrant": {"enabled": True}, "vectorBackend": {"type": "qdrant"}}
    await bench.upgrade("0.2.1", values=qdrant, server_side=server_side)
    with pytest.raises(ManifestRefused, match="StatefulSet"):
        await bench.upgrade(BadVersion.IMMUTABLE_FIELD, values=qdrant, server_side=server_side)
    assert [s.status for s in await bench.store.states()] == [Status.DEPLOYED, Status.FAILED]


async def test_a_field_of_somebody_else_is_a_conflict_with_its_owner(bench: Bench) -> None:
    await bench.upgrade("0.2.1", server_side="true")
    (found,) = [d["metadata"]["name"] for d in bench.api.get(bench.deployment())["items"]]
    await asyncio.to_thread(
        bench.api.call,
        "PATCH",
        f"{bench.deployment()}/{found}?fieldManager=emergency",
        {"spec": {"replicas": 3}},
        "application/merge-patch+json",
    )
    with pytest.raises(ApplyConflict) as caught:
        await bench.upgrade("0.2.1", server_side="true")
    assert caught.value.conflicts == {"emergency": (".spec.replicas",)}
    await bench.upgrade("0.2.1", server_side="true", force_conflicts=True)
    assert (await asyncio.to_thread(bench.api.get, f"{bench.deployment()}/{found}"))["spec"]["replicas"] == 1


async def test_what_does_not_exist_is_told(bench: Bench) -> None:
    with pytest.raises(ReleaseNotFound):
        await bench.helm.status(NAME, bench.namespace)
    with pytest.raises(ReleaseNotFound):
        await bench.helm.history(NAME, bench.namespace)
    with pytest.raises(ReleaseNotFound):
        await bench.helm.test(NAME, bench.namespace, MINUTE)
    with pytest.raises(ReleaseNotFound):
        await bench.upgrade("0.2.1", install=False)
    await bench.upgrade("0.2.1", wait=Wait.HOOKS_ONLY)
    with pytest.raises(RevisionNotFound):
        await bench.helm.rollback(release=NAME, namespace=bench.namespace, revision=9, timeout=MINUTE)
    with pytest.raises((RevisionNotFound, ReleaseNotFound)):
        await bench.helm.get_values(NAME, bench.namespace, revision=9)


def running(bench: Bench, command: str) -> psutil.Process | None:
    """This bench's helm at work, found by its HOME among our own children."""
    for process in psutil.Process().children():
        if process.cmdline()[1:2] == [command] and f"--namespace={bench.namespace}" in process.cmdline():
            return process
    return None


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 — there is nothing to await in another process
            await asyncio.sleep(0.02)


async def recorded(bench: Bench, revision: int) -> None:
    async with asyncio.timeout(60):
        while [s.revision for s in await bench.store.states()][-1:] != [revision]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_cancelled_upgrade_ends_as_failed_and_the_next_one_works(bench: Bench) -> None:
    await bench.upgrade("0.2.1")
    task = asyncio.create_task(bench.upgrade(BadVersion.NEVER_READY))
    await recorded(bench, 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [s.status for s in await bench.store.states()] == [Status.DEPLOYED, Status.FAILED]
    assert (await bench.upgrade("0.2.1")).revision == 3


async def test_a_killed_upgrade_leaves_a_pending_release_which_a_rollback_repairs(bench: Bench) -> None:
    await bench.upgrade("0.2.1")
    task = asyncio.create_task(bench.upgrade(BadVersion.NEVER_READY))
    await recorded(bench, 2)
    victim = running(bench, "upgrade")
    assert victim is not None
    os.kill(victim.pid, signal.SIGKILL)
    with pytest.raises(OutcomeUnknown):
        await task
    stuck = pending(await bench.store.history())
    assert stuck is not None
    assert stuck.status is Status.PENDING_UPGRADE
    with pytest.raises(ReleasePending):
        await bench.upgrade("0.2.1")
    with pytest.raises(ReleasePending):
        await bench.helm.dry_run(
            release=NAME, namespace=bench.namespace, chart=bench.chart("0.2.1"), values=bench.values()
        )
    target = rollback_target(await bench.store.history())
    assert target is not None
    await bench.helm.rollback(release=NAME, namespace=bench.namespace, revision=target.revision, timeout=MINUTE)
    assert (await bench.store.current()).status is Status.DEPLOYED


async def test_a_cancelled_rollback_goes_to_its_end(bench: Bench) -> None:
    await bench.upgrade("0.2.0")
    await bench.upgrade("0.2.1")
    rollback = bench.helm.rollback(release=NAME, namespace=bench.namespace, revision=1, timeout=MINUTE)
    task = asyncio.create_task(rollback)
    await eventually(lambda: running(bench, "rollback") is not None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    current = await bench.store.current()
    assert (current.revision, current.status, str(current.chart)) == (3, Status.DEPLOYED, "aeterna 0.2.0")


async def test_a_rollback_that_fails_says_what_is_not_ready(bench: Bench) -> None:
    with pytest.raises(NotReadyInTime):
        await bench.upgrade(BadVersion.NEVER_READY, timeout=timedelta(seconds=2))
    await bench.upgrade("0.2.1")
    with pytest.raises(NotReadyInTime) as caught:
        await bench.helm.rollback(release=NAME, namespace=bench.namespace, revision=1, timeout=timedelta(seconds=3))
    assert [r.kind for r in caught.value.resources] == ["Deployment"]


async def test_an_upgrade_during_another_is_refused_and_does_it_no_harm(bench: Bench) -> None:
    await bench.upgrade("0.2.0")
    first = asyncio.create_task(bench.upgrade(BadVersion.NEVER_READY, timeout=timedelta(seconds=6)))
    await recorded(bench, 2)
    with pytest.raises(ReleasePending):
        await bench.upgrade("0.2.1")
    with pytest.raises(NotReadyInTime):
        await first
    assert [s.status for s in await bench.store.states()] == [Status.DEPLOYED, Status.FAILED]


async def test_an_account_without_rights_is_told_what_it_lacks(
    bench: Bench, control_plane: Running, helm_program: Path
) -> None:
    nobody = user_kubeconfig(control_plane.kubeconfig, bench.directory / "nobody", user="nobody")
    helm = Helm(bench.settings(helm_program, nobody))
    with pytest.raises(ClusterForbids, match='`nobody` cannot list resource "secrets"'):
        await helm.history(NAME, bench.namespace)


async def test_credentials_that_are_not_accepted_and_a_cluster_that_is_gone_are_told_apart(
    bench: Bench, control_plane: Running, helm_program: Path
) -> None:
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    stranger, gone = bench.directory / "stranger", bench.directory / "gone"
    stranger.write_text(
        json.dumps(config | {"users": [{"name": u["name"], "user": {"token": "x"}} for u in config["users"]]})
    )
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    gone.write_text(json.dumps(config))
    with pytest.raises(ClusterForbids, match="does not accept the bot's credentials"):
        await Helm(bench.settings(helm_program, stranger)).history(NAME, bench.namespace)
    with pytest.raises(ClusterUnreachable):
        await Helm(bench.settings(helm_program, gone)).history(NAME, bench.namespace)


async def test_a_chart_from_a_repository_is_pulled_and_installed(bench: Bench) -> None:
    async with ChartRepository.running(versions=("0.2.0", "0.2.1")) as served, aiohttp.ClientSession() as http:
        charts = chart_repository(ChartSource(name=NAME, repo=served.url), http=http, helm=bench.helm)
        assert [offer.version for offer in await charts.versions()] == ["0.2.1", "0.2.0"]
        pulled = await charts.pull("0.2.1", bench.directory / "charts")
    assert pulled.digest == served.digest("0.2.1")
    release = await bench.helm.upgrade(
        release=NAME,
        namespace=bench.namespace,
        chart=pulled.path,
        values=bench.values(),
        timeout=MINUTE,
        install=True,
        wait=Wait.HOOKS_ONLY,
    )
    assert str(release.chart) == "aeterna 0.2.1"
    assert (await bench.store.current()).chart_values == pulled.values


async def test_a_chart_in_a_directory_renders_as_its_archive_does(bench: Bench) -> None:
    with tarfile.open(bench.chart("0.2.1")) as archive:
        archive.extractall(bench.directory / "unpacked", filter="data")
    async with aiohttp.ClientSession() as http:
        source = ChartSource(path=bench.directory / "unpacked" / NAME)
        pulled = await chart_repository(source, http=http, helm=bench.helm).pull("0.2.1", bench.directory / "charts")
    one, other = [
        await bench.helm.template(chart, release=NAME, namespace=bench.namespace, values=bench.values())
        for chart in (pulled.path, bench.chart("0.2.1"))
    ]
    assert one == other


async def test_a_registry_that_does_not_answer_may_work_later(bench: Bench) -> None:
    async with aiohttp.ClientSession() as http:
        registry = chart_repository(ChartSource(oci="oci://127.0.0.1:9/aeterna"), http=http, helm=bench.helm)
        with pytest.raises(RepositoryUnreachable):
            await registry.find("0.2.1")
        with pytest.raises(RepositoryUnreachable):
            await registry.pull("0.2.1", bench.directory / "charts")


async def test_a_configuration_that_names_no_cluster_is_not_taken_for_an_outage(
    bench: Bench, control_plane: Running, helm_program: Path
) -> None:
    settings = bench.settings(helm_program, control_plane.kubeconfig)
    with pytest.raises(Permanent, match="does not know which cluster"):
        await Helm(replace(settings, context="nowhere")).history(NAME, bench.namespace)
    with pytest.raises(Permanent, match="does not know which cluster"):
        await Helm(replace(settings, kubeconfig=bench.directory / "missing")).history(NAME, bench.namespace)
