"""Recovering volumes on a real API server: a snapshot, a volume that was let go, Qdrant's own; nothing is lost by any of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.engine.contract import CheckResult, Done, Facts, Level, NotStarted
from bot.kube import Cluster
from bot.kube.holding import ANNOTATION
from bot.kube.objects import annotations_of, uid_of
from bot.kube.rebinding import EARLIER_POLICY, Rebinder, Swap, until
from bot.kube.snapshots import kept_for
from bot.services.qdrant import Snapshot
from dev.controlplane import Api
from dev.standins import StandinControl, Standins
from runbooks.vectors import node_at
from tests.cluster.runbook_world import blockers, texts, warnings
from tests.cluster.volume_world import CLAIM, STORE, VolumeWorld


@pytest.fixture
def world(cluster: Cluster, api: Api, namespace: str, tmp_path: Path) -> VolumeWorld:
    return VolumeWorld(cluster=cluster, api=api, namespace=namespace, directory=tmp_path)


@pytest.fixture
async def control(standins: Standins) -> AsyncIterator[StandinControl]:
    async with StandinControl(standins.control_url) as control:
        yield control


def code(found: CheckResult) -> str:
    return next(one.code for one in found.findings if one.level is Level.BLOCKER)


def swap_of(world: VolumeWorld, facts: Facts) -> Swap:
    told = facts["recovery"]
    mark = ("aeterna-bot/run", world.run.id)
    return Swap(
        world.namespace, told["body"], mark, told["volume"], told["kept"], told["source_volume"], told["source_claim"]
    )


# -- what there is ----------------------------------------------------------------------------------------------


async def test_without_words_it_shows_every_claim_and_offers_each_way_as_a_choice(world: VolumeWorld) -> None:
    await world.stored()
    await world.snapshot("nightly")
    found = await world.plan()
    assert code(found) == "volumes.choose"
    assert "`recover volumes data-aeterna-qdrant-0 nightly`" in found.findings[0].way_out
    (line,) = texts(found, Level.INFO)
    assert line.startswith(
        f"{CLAIM}: Bound, 1Gi, class kwok-volume, reclaim policy Delete; last writer aeterna-qdrant-0; "
    )
    assert "1 snapshot ready" in line
    (choice,) = found.facts["choices"]
    assert (choice["label"], choice["values"]) == (f"Recover {CLAIM} from nightly", {"claim": CLAIM, "from": "nightly"})
    (file,) = found.files
    assert "snapshot     nightly  ready" in file.text


async def test_nobody_writes_while_it_stands_still_and_who_wrote_last_is_told_by_the_name(world: VolumeWorld) -> None:
    await world.stored()
    await world.gone()
    (line,) = texts(await world.plan(), Level.INFO)
    assert "last writer aeterna-qdrant-0 (by its name" in line


async def test_where_there_is_no_snapshot_the_reason_is_told(world: VolumeWorld) -> None:
    await world.stored()
    found = await world.plan(CLAIM)
    assert code(found) == "volumes.none"
    assert "There is no VolumeSnapshot in the namespace" in found.findings[0].way_out
    assert "There is no VolumeSnapshot" in found.facts["choices_note"]


# -- a snapshot -------------------------------------------------------------------------------------------------


async def test_a_snapshot_takes_the_claims_name_and_the_old_volume_is_kept_under_another(world: VolumeWorld) -> None:
    old = await world.stored()
    await world.snapshot("nightly")
    found = await world.plan(CLAIM, "nightly")
    assert blockers(found) == []
    kept = f"{CLAIM}-before-{world.run.id}"
    assert found.facts["recovery"]["kept"] == kept
    assert f"it stays in {kept} only" in warnings(found)[0]
    assert found.facts["stops"][0]["text"] == "StatefulSet aeterna-qdrant 1 → 0"
    done = await world.play(found.facts)
    assert list(done) == ["retain", "hold", "wait", "swap", "bound", "start"]
    new, saved = await world.claim(), await world.claim(kept)
    assert new["spec"]["dataSource"]["name"] == "nightly"
    assert new["spec"]["volumeName"] != old
    assert (saved["spec"]["volumeName"], saved["status"]["phase"], kept_for(saved)) == (old, "Bound", CLAIM)
    volume = await world.volume(old)
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert annotations_of(volume)[EARLIER_POLICY] == "Delete"
    fresh = await world.volume(str(new["spec"]["volumeName"]))
    assert annotations_of(fresh)["throwaway-world/restored-from"] == "nightly"
    await world.running()
    assert await world.replicas(STORE) == [1]
    assert ANNOTATION not in annotations_of(await world.get(STORE))
    assert f"recover volumes {CLAIM} {kept}" in done["swap"].evidence[0].text


async def test_the_way_back_puts_the_kept_volume_under_its_name_again(world: VolumeWorld) -> None:
    old = await world.stored()
    await world.snapshot("nightly")
    await world.play((await world.plan(CLAIM, "nightly")).facts)
    first, restored = f"{CLAIM}-before-{world.run.id}", (await world.claim())["spec"]["volumeName"]
    world.another_run()
    found = await world.plan(CLAIM, first)
    assert blockers(found) == []
    await world.play(found.facts)
    assert (await world.claim())["spec"]["volumeName"] == old
    second = await world.claim(f"{CLAIM}-before-{world.run.id}")
    assert second["spec"]["volumeName"] == restored
    assert await world.cluster.get_ref(world.claim_ref(first)) is None
    await world.running()
    assert f"volume `{first}`" not in str((await world.plan()).facts["choices"])


async def test_without_a_name_the_newest_ready_snapshot_is_taken_and_the_others_are_offered(world: VolumeWorld) -> None:
    await world.stored()
    await world.snapshot("first")
    await world.cluster.patch(
        world.snapshot_ref("first"), {"status": {"creationTime": "2026-01-01T00:00:00Z"}}, subresource="status"
    )
    await world.snapshot("second")
    found = await world.plan(CLAIM)
    assert found.facts["recovery"]["source"] == "second"
    assert [(one["label"], one["taken"]) for one in found.facts["choices"]] == [
        ("Take second", True),
        ("Take first", False),
    ]
    again = await world.plan(CLAIM, "first")
    assert again.bindings["recovered from"] != found.bindings["recovered from"]


async def test_a_store_with_three_pods_stops_as_a_whole_and_comes_back_as_it_was(world: VolumeWorld) -> None:
    await world.stored(replicas=3)
    await world.snapshot("nightly", claim="data-aeterna-qdrant-1")
    found = await world.plan("data-aeterna-qdrant-1")
    assert any("All 3 pods" in text for text in texts(found, Level.INFO))
    others = {name: uid_of(await world.claim(name)) for name in ("data-aeterna-qdrant-0", "data-aeterna-qdrant-2")}
    await world.play(found.facts)
    assert {name: uid_of(await world.claim(name)) for name in others} == others
    assert await world.replicas(STORE) == [3]


async def test_a_store_at_zero_stays_there(world: VolumeWorld) -> None:
    await world.stored()
    await world.snapshot("nightly")
    await world.gone()
    found = await world.plan(CLAIM)
    assert found.facts["stands_still"]
    assert list(await world.play(found.facts)) == ["retain", "wait", "swap", "bound"]
    assert await world.replicas(STORE) == [0]


async def test_a_class_that_waits_for_a_pod_is_bound_when_it_starts(world: VolumeWorld) -> None:
    await world.stored()
    await world.snapshot("nightly")
    found = await world.plan(CLAIM)
    facts = {**found.facts, "recovery": {**found.facts["recovery"], "waits": True}}
    done = await world.play(facts)
    assert "gets its volume when its pod starts" in done["bound"].summary


# -- a death at any moment --------------------------------------------------------------------------------------


async def test_reconcile_tells_each_moment_of_a_swap_and_running_it_again_completes_it(world: VolumeWorld) -> None:
    """The writes of a swap one by one; after each the step is asked, and in the end run."""
    old = await world.stored()
    await world.snapshot("nightly")
    found = await world.plan(CLAIM)
    await world.play(found.facts, until_step="swap")
    swap, rebinder = swap_of(world, found.facts), Rebinder(world.cluster, seconds=20)
    assert await world.reconcile(found.facts, "swap") == NotStarted()
    await rebinder._make_way(swap, old=True)
    partly = await world.reconcile(found.facts, "swap")
    assert isinstance(partly, NotStarted)
    assert "swapped in part" in partly.seen
    await rebinder._put_new(swap)
    assert isinstance(await world.reconcile(found.facts, "swap"), NotStarted)
    await rebinder._reserve(swap, old, swap.kept)
    assert isinstance(await world.reconcile(found.facts, "swap"), NotStarted)
    made = uid_of(await world.claim())
    await rebinder.swap(swap)
    assert isinstance(await world.reconcile(found.facts, "swap"), Done)
    await rebinder.swap(swap)
    assert uid_of(await world.claim()) == made
    assert (await world.claim(swap.kept))["spec"]["volumeName"] == old


async def test_a_recovery_that_was_stopped_half_way_is_finished_or_undone_by_the_next_one(world: VolumeWorld) -> None:
    """The new claim stands, the old volume is reserved for a claim that nobody made: it is found, and can be had back."""
    old = await world.stored()
    await world.snapshot("nightly")
    found = await world.plan(CLAIM)
    await world.play(found.facts, until_step="swap")
    swap, rebinder = swap_of(world, found.facts), Rebinder(world.cluster, seconds=20)
    await rebinder._make_way(swap, old=True)
    await rebinder._put_new(swap)
    await rebinder._reserve(swap, old, swap.kept)
    assert await until(
        world.cluster, world.claim_ref(), lambda obj: (obj or {})["status"]["phase"] == "Bound", seconds=30
    )
    restored = (await world.claim())["spec"]["volumeName"]
    world.another_run()
    again = await world.plan(CLAIM, old)
    assert blockers(again) == []
    await world.play(again.facts)
    assert (await world.claim())["spec"]["volumeName"] == old
    assert (await world.claim(again.facts["recovery"]["kept"]))["spec"]["volumeName"] == restored


async def test_a_way_back_that_was_cut_off_at_any_write_goes_on(world: VolumeWorld) -> None:
    old = await world.stored()
    await world.snapshot("nightly")
    await world.play((await world.plan(CLAIM)).facts)
    first, restored = f"{CLAIM}-before-{world.run.id}", (await world.claim())["spec"]["volumeName"]
    world.another_run()
    found = await world.plan(CLAIM, first)
    await world.play(found.facts, until_step="swap")
    swap, rebinder = swap_of(world, found.facts), Rebinder(world.cluster, seconds=20)
    await rebinder._remove(swap, first, old)
    assert await world.reconcile(found.facts, "swap") == NotStarted()
    await rebinder._reserve(swap, old, CLAIM)
    assert await world.reconcile(found.facts, "swap") == NotStarted()
    await rebinder._remove(swap, CLAIM, str(restored))
    assert isinstance(await world.reconcile(found.facts, "swap"), NotStarted)
    await rebinder.swap(swap)
    assert isinstance(await world.reconcile(found.facts, "swap"), Done)
    assert (await world.claim())["spec"]["volumeName"] == old
    assert (await world.claim(swap.kept))["spec"]["volumeName"] == restored


# -- a volume that was let go -----------------------------------------------------------------------------------


async def test_a_released_volume_is_bound_to_its_claim_again(world: VolumeWorld) -> None:
    await world.stored()
    old = await world.let_go()
    found = await world.plan(CLAIM)
    assert blockers(found) == []
    assert found.facts["recovery"]["source_volume"] == old
    assert list(await world.play(found.facts)) == ["swap", "bound"]
    assert (await world.claim())["spec"]["volumeName"] == old
    assert isinstance(await world.reconcile(found.facts, "swap"), Done)
    await world.scale_by_hand(STORE, 1)
    await world.running()


async def test_a_released_volume_does_not_push_a_bound_claim_away_it_is_swapped_and_both_stay(
    world: VolumeWorld,
) -> None:
    await world.stored()
    old = await world.let_go()
    await world.scale_by_hand(STORE, 1)
    await world.running()
    empty = (await world.claim())["spec"]["volumeName"]
    found = await world.plan(CLAIM, old)
    assert "hold" in await world.play(found.facts)
    assert (await world.claim())["spec"]["volumeName"] == old
    assert (await world.claim(found.facts["recovery"]["kept"]))["spec"]["volumeName"] == empty


# -- Qdrant -----------------------------------------------------------------------------------------------------


async def test_a_snapshot_of_qdrant_is_restored_by_its_api_after_one_of_now(
    world: VolumeWorld, control: StandinControl
) -> None:
    await world.stored()
    made = await snapshot_of_qdrant(world)
    found = await world.plan("memory_embeddings", made.name)
    assert blockers(found) == []
    assert "Everything written to collection memory_embeddings after" in warnings(found)[0]
    done = await world.play(found.facts)
    assert list(done) == ["snapshot", "recover"]
    (before,) = done["snapshot"].facts["snapshots"]
    assert f"recover volumes memory_embeddings {before['name']}" in done["recover"].evidence[0].text
    asked = [one for one in await control.requests(world.namespace) if one["method"] == "PUT"]
    assert [one["path"].partition("?")[0] for one in asked] == ["/collections/memory_embeddings/snapshots/recover"]
    assert asked[0]["body"]["checksum"] == made.checksum


async def snapshot_of_qdrant(world: VolumeWorld) -> Snapshot:
    async with node_at(world.clients, world.target, "aeterna-qdrant-0") as node:
        return await node.create_snapshot("memory_embeddings")
