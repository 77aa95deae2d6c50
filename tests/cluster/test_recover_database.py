"""Restoring the database on a real API server: from which backup, into a new Cluster, and never over one that is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.engine.contract import CheckResult, Done, Facts, Level, NotStarted, StepContext, Unknown
from bot.errors import Permanent
from bot.kube import Json, ObjectRef
from bot.kube.objects import annotations_of, name_of
from bot.kube.probejob import Probes
from bot.services.cnpg import API, CloudNativePG
from bot.services.cnpg_recovery import RECOVERED_FROM, Recoveries
from bot.store.records import PastStep, StepRecord, StepState
from runbooks.steps.backup import RUN_LABEL
from tests.cluster.runbook_world import World, blockers, texts, warnings

OLD = "aeterna-cnpg"
STORE = {"barmanObjectStore": {"destinationPath": "s3://backups"}}


@pytest.fixture
def world(world: World) -> World:
    world.configure(database={"kind": "cnpg"})
    return world


@pytest.fixture
async def release(world: World) -> World:
    """A release that brings its database, which is healthy."""
    await world.install("0.1.0", {}, settled=False)
    await recoveries(world).wait_ready(OLD, deadline=60)
    return world


def recoveries(world: World) -> Recoveries:
    return Recoveries(world.clients.cluster, world.namespace)


def ref(world: World, name: str = OLD) -> ObjectRef:
    return ObjectRef(API, "Cluster", name, world.namespace)


async def get(world: World, name: str) -> Json:
    found = await world.clients.cluster.get_ref(ref(world, name))
    assert found is not None
    return found


async def backup(world: World, name: str, *, run: str = "", of: str = OLD) -> None:
    """A completed one."""
    operator, labels = CloudNativePG(world.clients.cluster), {RUN_LABEL: run} if run else {}
    await operator.create_backup(world.namespace, of, name, labels=labels)
    await operator.wait_backup(world.namespace, name, deadline=60)


async def archive(world: World, *, first: str) -> None:
    """The Cluster archives, and has done so since ``first``."""
    await world.clients.cluster.patch(ref(world), {"spec": {"backup": STORE}})
    await world.clients.cluster.patch(ref(world), {"status": {"firstRecoverabilityPoint": first}}, subresource="status")


def remember(world: World, name: str, *, run: str = "r-before") -> None:
    """The journal knows of that backup."""
    told = {"summary": "", "facts": {"backup": name, "cluster": OLD}}
    step = StepRecord(1, "backup", "postgres.backup", "Back up", StepState.DONE, outcome=told)

    async def past(*uses: str) -> Sequence[PastStep]:
        return [PastStep(run, "upgrade", "U1", step)] if "postgres.backup" in uses else []

    world.past = past


async def plan(world: World, **inputs: Any) -> CheckResult:
    world.asking("recover-database", **inputs)
    return await world.check("database.recovery")


def without_image(world: World, context: StepContext) -> StepContext:
    """As where the configuration names no image for probes."""
    probes = Probes(world.clients.cluster, world.namespace, image=None)
    return replace(context, clients=replace(context.clients, probes=probes))


def code(found: CheckResult) -> str:
    (one,) = [one for one in found.findings if one.level is Level.BLOCKER]
    assert one.way_out
    return one.code


async def test_the_backup_of_before_the_upgrade_is_restored_beside_the_old_database(release: World) -> None:
    world = release
    await backup(world, "before", run="r-before")
    await backup(world, "nightly")
    remember(world, "before")
    found = await plan(world)
    assert blockers(found) == []
    name = str(found.facts["recovery"]["name"])
    assert name == f"{OLD}-r{datetime.now(UTC):%Y%m%d}"
    told = texts(found, Level.INFO)
    assert any(f"is restored into the new Cluster {name}: I made it for run r-before" in text for text in told)
    assert any(text.startswith(f"{name} gets 1 instance with 1Gi each") for text in told)
    assert any("stays in the old one only" in text for text in warnings(found))
    assert "nightly  completed" in found.files[0].text
    assert await world.clients.cluster.get_ref(ref(world, name)) is None

    context = world.context(found.facts)
    restored = await world.do("database.restore", context)
    assert restored.summary.startswith(f"Cluster {name} has the data of ")
    assert restored.summary.endswith("1 of 1 instance ready.")
    assert any("Setting up primary" in text for text in world.said)
    new, old = await get(world, name), await get(world, OLD)
    assert new["metadata"]["labels"] == {RUN_LABEL: world.run.id, RECOVERED_FROM: OLD}
    recovery = new["spec"]["bootstrap"]["recovery"]
    assert recovery["backup"]["name"] == "before"
    assert recovery["recoveryTarget"]["targetImmediate"] is True
    assert (recovery["database"], recovery["owner"]) == ("aeterna", "aeterna")
    assert all(new["spec"][key] == old["spec"][key] for key in ("instances", "storage", "postgresql", "resources"))
    assert annotations_of(old)["helm.sh/resource-policy"] == "keep"

    checked = await world.do("database.check", without_image(world, context))
    assert checked.warning
    assert "Nobody has looked into it yet: There is no image" in checked.summary
    assert "Set probe.image in the configuration" in checked.summary
    assert found.facts["permanent"] == {
        "postgresql.bundled": False,
        "postgresql.external.host": f"{name}-rw",
        "postgresql.external.port": 5432,
        "postgresql.external.database": "aeterna",
        "postgresql.external.username": "aeterna",
        "postgresql.external.existingSecret": f"{name}-app",
        "postgresql.external.secretKey": "password",
    }
    look, switch, stays = checked.evidence
    assert "_aeterna_migrations" in look.text
    assert f'postgresql.external.host: "{name}-rw"' in switch.text
    assert f"kubectl delete cluster {OLD} -n {world.namespace}" in stays.text


async def test_the_values_that_are_told_use_the_new_database_and_leave_the_old_one_in_the_cluster(
    release: World,
) -> None:
    world = release
    await backup(world, "before")
    found = await plan(world)
    context = world.context(found.facts)
    await world.do("database.restore", context)
    assert (await world.intent("postgres.backup", world.context()))["cluster"] == OLD
    given: Json = {}
    for path, value in found.facts["permanent"].items():
        *parents, key = path.split(".")
        inner = given
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[key] = value
    switched = await world.install("0.1.0", given, settled=False)
    assert f"kind: Cluster\nmetadata:\n  name: {OLD}" not in switched.manifest
    assert f"{found.facts['recovery']['name']}-rw" in switched.manifest
    assert await world.clients.cluster.get_ref(ref(world)) is not None
    # from then on the new one is what is backed up and what would be restored
    assert (await world.intent("postgres.backup", world.context()))["cluster"] == found.facts["recovery"]["name"]
    assert f"There is no Backup `before` of {found.facts['recovery']['name']}." in blockers(
        await plan(world, backup="before")
    )


async def test_a_time_is_restored_from_the_archive_and_the_next_name_is_taken(release: World) -> None:
    world = release
    await backup(world, "before")
    await archive(world, first="2026-01-01T00:00:00Z")
    found = await plan(world, to="2026-01-02T18:00")
    assert blockers(found) == []
    await world.do("database.restore", world.context(found.facts))
    spec = (await get(world, str(found.facts["recovery"]["name"])))["spec"]
    assert spec["bootstrap"]["recovery"]["source"] == OLD
    assert spec["bootstrap"]["recovery"]["recoveryTarget"] == {"targetTime": "2026-01-02T18:00:00Z"}
    assert spec["externalClusters"][0]["barmanObjectStore"]["serverName"] == OLD
    again = await plan(world, to="2026-01-02T18:00")
    assert again.facts["recovery"]["name"] == f"{found.facts['recovery']['name']}-2"
    assert again.bindings != found.bindings


async def test_without_a_completed_backup_there_is_nothing_to_restore(release: World) -> None:
    world = release
    assert code(found := await plan(world)) == "recovery.none"
    assert blockers(found) == [f"{OLD} has no completed Backup."]
    hold = {"throwaway-world/hold": "true"}
    meta = {"name": "slow", "namespace": world.namespace, "annotations": hold}
    body = {"apiVersion": API, "kind": "Backup", "metadata": meta, "spec": {"cluster": {"name": OLD}}}
    await world.clients.cluster.create(body)
    assert blockers(await plan(world)) == [f"{OLD} has no completed Backup, only slow (not taken up)."]
    assert code(await plan(world, backup="slow")) == "recovery.incomplete"
    await archive(world, first="2026-01-01T00:00:00Z")
    found = await plan(world)
    assert "`--to`, from 2026-01-01 00:00 UTC on" in found.findings[0].way_out


async def test_a_name_or_a_time_that_cannot_be_is_named_with_what_can(release: World) -> None:
    world = release
    await backup(world, "nightly")
    found = await plan(world, backup="nigthly")
    assert (code(found), found.findings[0].way_out) == ("recovery.unknown", "Did you mean `nightly`?")
    assert code(await plan(world, to="yesterday")) == "recovery.time"
    assert code(await plan(world, to="2026-01-02T18:00")) == "recovery.no_archive"
    await archive(world, first="2026-01-01T00:00:00Z")
    assert code(found := await plan(world, to="2025-12-31")) == "recovery.window"
    assert "from 2026-01-01 00:00 UTC to" in blockers(found)[0]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert code(await plan(world, to=tomorrow.isoformat())) == "recovery.window"
    found = await plan(world, backup="nightly", to="2026-01-02")
    assert "Backup nightly ended at" in blockers(found)[0]


async def test_a_database_elsewhere_is_not_restored_and_one_of_cloudnativepg_beside_it_is(world: World) -> None:
    def at(host: str) -> Json:
        return {"postgresql": {"bundled": False, "external": {"host": host, "existingSecret": "db-app"}}}

    await world.install("0.1.0", at("db.example.org"), settled=False)
    assert code(found := await plan(world)) == "recovery.external"
    assert "`db.example.org`" in blockers(found)[0]
    meta = {"name": "db", "namespace": world.namespace}
    spec = {"instances": 1, "storage": {"size": "1Gi"}}
    await world.clients.cluster.create({"apiVersion": API, "kind": "Cluster", "metadata": meta, "spec": spec})
    await backup(world, "b", of="db")
    await world.install("0.1.0", at("db-rw"), settled=False)
    assert (await plan(world)).facts["recovery"]["from"] == "db"
    world.configure(database={"kind": "cnpg", "cluster": "other"})
    assert code(await plan(world)) == "recovery.gone"
    world.configure(database={"kind": "none"})
    assert code(await plan(world)) == "recovery.external"


async def test_a_day_whose_names_are_all_taken_is_a_blocker(release: World) -> None:
    world = release
    await backup(world, "b")
    names = [f"{OLD}-r{datetime.now(UTC):%Y%m%d}{end}" for end in ("", *(f"-{n}" for n in range(2, 10)))]
    for name in names:
        meta = {"name": f"{name}-rw", "namespace": world.namespace}
        spec = {"ports": [{"port": 5432}]}
        await world.clients.cluster.create({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
    assert code(await plan(world)) == "recovery.name"


async def test_a_restore_that_was_cut_off_goes_on_with_the_cluster_that_it_made(release: World) -> None:
    world = release
    await backup(world, "b")
    found = await plan(world)
    context = world.context(found.facts)
    intent = await world.intent("database.restore", context)
    assert await world.reconcile("database.restore", context, intent) == NotStarted()
    await world.do("database.restore", context)
    name = str(found.facts["recovery"]["name"])
    first = await get(world, name)
    cut = {"status": {"phase": "Setting up primary", "readyInstances": 0}, "metadata": {}}
    hold = {"metadata": {"annotations": {"throwaway-world/hold": "true"}}}
    await world.clients.cluster.patch(ref(world, name), hold)
    await world.clients.cluster.patch(ref(world, name), cut, subresource="status")
    seen = await world.reconcile("database.restore", context, intent)
    assert isinstance(seen, NotStarted)
    assert "Setting up primary" in seen.seen
    let_go = {"metadata": {"annotations": {"throwaway-world/hold": None}}}
    await world.clients.cluster.patch(ref(world, name), let_go)
    await world.do("database.restore", context)
    assert isinstance(await world.reconcile("database.restore", context, intent), Done)
    clusters = await world.clients.cluster.list(API, "Cluster", world.namespace)
    assert sorted(map(name_of, clusters)) == [OLD, name]
    assert (await get(world, name))["metadata"]["uid"] == first["metadata"]["uid"]


async def test_a_database_that_is_there_by_now_is_never_restored_over(release: World) -> None:
    world = release
    await backup(world, "b")
    found = await plan(world)
    name = str(found.facts["recovery"]["name"])
    meta = {"name": name, "namespace": world.namespace}
    spec = {"instances": 2, "storage": {"size": "1Gi"}}
    await world.clients.cluster.create({"apiVersion": API, "kind": "Cluster", "metadata": meta, "spec": spec})
    await recoveries(world).wait_ready(name, deadline=60)
    before = await get(world, name)
    context = world.context(found.facts)
    with pytest.raises(Permanent, match="nothing was restored over it"):
        await world.do("database.restore", context)
    assert (await get(world, name))["metadata"]["generation"] == before["metadata"]["generation"]
    assert "bootstrap" not in before["spec"] or "recovery" not in before["spec"]["bootstrap"]
    assert "helm.sh/resource-policy" not in annotations_of(await get(world, OLD))
    intent = await world.intent("database.restore", context)
    assert isinstance(await world.reconcile("database.restore", context, intent), Unknown)


async def test_a_backup_that_went_meanwhile_ends_the_restore_before_anything_is_made(release: World) -> None:
    world = release
    await backup(world, "b")
    found = await plan(world)
    await world.clients.cluster.delete(ObjectRef(API, "Backup", "b", world.namespace))
    with pytest.raises(Permanent, match="Backup b is not there any more; nothing was changed"):
        await world.do("database.restore", world.context(found.facts))
    assert len(await world.clients.cluster.list(API, "Cluster", world.namespace)) == 1


async def test_a_restore_that_does_not_become_ready_says_where_it_stands(release: World) -> None:
    world = release
    await backup(world, "b-unreadable")
    found = await plan(world)
    context = world.context(found.facts)
    with pytest.raises(
        Permanent, match=r"is not ready after 2 s: Setting up primary \(Creating primary instance"
    ) as late:
        await world.do("database.restore", context, deadline="2s")
    assert "The old database is as it was." in late.value.way_out
    with pytest.raises(Permanent, match="Setting up primary"):
        await world.do("database.check", context)


async def test_a_job_of_the_restore_that_failed_ends_it_at_once_with_its_reason(release: World) -> None:
    world = release
    await backup(world, "b-unreadable")
    found = await plan(world)
    name = str(found.facts["recovery"]["name"])
    await world.clients.cluster.create(_failed_job(world.namespace, name))
    job = ObjectRef("batch/v1", "Job", f"{name}-1-full-recovery", world.namespace)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = {"reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}
    failed = [
        {"type": kind, "status": "True", "lastTransitionTime": now, **told} for kind in ("FailureTarget", "Failed")
    ]
    await world.clients.cluster.patch(
        job, {"status": {"startTime": now, "failed": 1, "conditions": failed}}, subresource="status"
    )
    with pytest.raises(Permanent, match="full-recovery has failed: Job has reached the specified backoff limit"):
        await world.do("database.restore", replace(world.context(found.facts), timeout=timedelta(minutes=5)))


def _failed_job(namespace: str, cluster: str) -> Json:
    pod: Facts = {"restartPolicy": "Never", "containers": [{"name": "full-recovery", "image": "postgresql"}]}
    meta = {"name": f"{cluster}-1-full-recovery", "namespace": namespace, "labels": {"cnpg.io/cluster": cluster}}
    spec = {"template": {"spec": pod}, "suspend": True}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}
