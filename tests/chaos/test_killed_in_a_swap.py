"""SIGKILL at every write of the journal while a claim gets the data of a snapshot: one new volume, and the old one is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bot.kube.holding import ANNOTATION
from bot.kube.snapshots import API, KEPT_FOR
from tests.chaos.conftest import Estate
from tests.chaos.house import OLD, House
from tests.cluster.kube_objects import stateful_set

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLAIM, STORE = "data-aeterna-store-0", "aeterna-store"
SPEC = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
STEPS = ("retain", "hold", "wait", "swap", "bound", "start")
OWN = tuple(f"{what}_step {step}" for step in STEPS for what in ("begin", "end"))
"""What other stories do not have; at the rest of the writes they are killed at on both sides, here after the commit only."""
WRITES = (
    "create",
    "claim planning",
    "save_plan awaiting_approval",
    "approve",
    "claim running",
    "lay_out",
    *OWN,
    "end_step snapshot",  # skipped, as the next: they are Qdrant's
    "end_step recover",
    "begin_step verify",
    "end_step verify",
    "move succeeded",
)
POINTS = [(moment, label) for label in WRITES for moment in ("before", "after") if moment == "after" or label in OWN]


async def test_the_points_are_all_the_writes_that_a_recovery_of_a_volume_makes(estate: Estate) -> None:
    async with estate.house() as house:
        await house.at_old()
        before = len(house.writes)
        await recover(house)
        assert tuple(dict.fromkeys(house.writes[before:])) == WRITES


@pytest.mark.parametrize(("moment", "label"), POINTS)
async def test_a_bot_killed_in_a_swap_makes_one_new_volume_and_loses_none(
    estate: Estate, moment: str, label: str
) -> None:
    async with estate.house() as house:
        await house.at_old()
        started = len(house.bots)
        house.order("SIGKILL", moment, label)
        await recover(house)
        assert len(house.bots) == started + 1, "it did not come to that write"


async def recover(house: House) -> None:
    """The claim gets the snapshot's data once; what it had is behind the other name, and the store runs as before."""
    await _store(house)
    claims, generation = _claims(house), _get(house, "apps/v1", f"statefulsets/{STORE}")["metadata"]["generation"]
    old = claims[CLAIM]["spec"]["volumeName"]
    story = await house.begin()

    async def asks() -> None:
        await house.slack.command("alice", "ops", f"recover volumes {CLAIM} nightly", wait_for_ack=False)

    await house.see_through(story, asks)
    run = await house.ended_well(story, OLD, revisions=())
    now = _claims(house)
    made = sorted(now.keys() - claims.keys())
    assert made == [f"{CLAIM}-before-{run.id}"], house.told()
    kept, new = now[made[0]], now[CLAIM]
    assert kept["metadata"]["annotations"][KEPT_FOR] == CLAIM
    assert (kept["spec"]["volumeName"], kept["status"]["phase"]) == (old, "Bound"), house.told()
    assert new["status"]["phase"] == "Bound"
    volumes = {name: house.ground.api.get(f"/api/v1/persistentvolumes/{name}") for name in _volumes(now)}
    assert len(volumes) == len(now), "each claim has a volume of its own"
    assert volumes[old]["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert volumes[new["spec"]["volumeName"]]["metadata"]["annotations"]["throwaway-world/restored-from"] == "nightly"
    ours = [one for one in _all_volumes(house) if one["metadata"]["name"] not in volumes]
    assert ours == [], "a volume was made twice, or let go"
    store = _get(house, "apps/v1", f"statefulsets/{STORE}")
    assert store["spec"]["replicas"] == 1
    assert ANNOTATION not in (store["metadata"].get("annotations") or {})
    assert store["metadata"]["generation"] - generation == 2, "scaled down once, and up once"


async def _store(house: House) -> None:
    """A store with a volume, and a snapshot of it that is ready."""
    store = stateful_set(house.namespace, name=STORE, claim=SPEC)
    store["metadata"]["annotations"] = {"meta.helm.sh/release-name": "aeterna"}
    house.ground.api.apply(store)
    meta = {"name": "nightly", "namespace": house.namespace}
    source = {"source": {"persistentVolumeClaimName": CLAIM}}
    house.ground.api.apply({"apiVersion": API, "kind": "VolumeSnapshot", "metadata": meta, "spec": source})
    group = "snapshot.storage.k8s.io/v1"
    await house.until(
        lambda: (_get(house, group, "volumesnapshots/nightly").get("status") or {}).get("readyToUse"), "the snapshot"
    )
    await house.until(
        lambda: (_get(house, "apps/v1", f"statefulsets/{STORE}").get("status") or {}).get("readyReplicas") == 1,
        "the store's pod",
    )


def _get(house: House, group: str, path: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = house.ground.api.get(f"/apis/{group}/namespaces/{house.namespace}/{path}")
    return found


def _claims(house: House) -> dict[str, Mapping[str, Any]]:
    found = house.ground.api.get(f"/api/v1/namespaces/{house.namespace}/persistentvolumeclaims")["items"]
    return {str(one["metadata"]["name"]): one for one in found}


def _volumes(claims: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {str(one["spec"]["volumeName"]) for one in claims.values()}


def _all_volumes(house: House) -> list[Mapping[str, Any]]:
    """Those of this namespace's claims, whether they are still there or not."""
    found = house.ground.api.get("/api/v1/persistentvolumes")["items"]
    return [one for one in found if (one["spec"].get("claimRef") or {}).get("namespace") == house.namespace]
