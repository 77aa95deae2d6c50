"""Recovering a volume through Slack: what there is, a button or a typed line, another person's yes, and the way back."""

from __future__ import annotations

from typing import Any

from bot.kube import ObjectRef
from bot.kube.rebinding import until
from bot.kube.snapshots import API
from tests.cluster.kube_objects import stateful_set
from tests.journeys.conftest import Start
from tests.journeys.journey import ALICE, Journey
from tests.slack.support import everything

CLAIM = "data-aeterna-store-0"
SPEC: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


async def stored(world: Journey) -> str:
    """The release has a store with a volume, and a snapshot of it, `nightly`. The volume."""
    store = stateful_set(world.namespace, name="aeterna-store", claim=SPEC)
    store["metadata"]["annotations"] = {"meta.helm.sh/release-name": "aeterna"}
    await world.cluster.create(store)
    assert await until(
        world.cluster, claim(world), lambda obj: (obj or {}).get("status", {}).get("phase") == "Bound", seconds=60
    )
    meta = {"name": "nightly", "namespace": world.namespace}
    snapshot = {"apiVersion": API, "kind": "VolumeSnapshot", "metadata": meta}
    await world.cluster.create({**snapshot, "spec": {"source": {"persistentVolumeClaimName": CLAIM}}})
    ref = ObjectRef(API, "VolumeSnapshot", "nightly", world.namespace)
    assert await until(
        world.cluster, ref, lambda obj: bool((obj or {}).get("status", {}).get("readyToUse")), seconds=60
    )
    return await volume(world)


def claim(world: Journey, name: str = CLAIM) -> ObjectRef:
    return ObjectRef("v1", "PersistentVolumeClaim", name, world.namespace)


async def volume(world: Journey, name: str = CLAIM) -> str:
    found = await world.cluster.get_ref(claim(world, name))
    return str((found or {})["spec"]["volumeName"])


async def test_a_volume_is_recovered_from_what_is_shown_and_put_back_by_the_buttons_of_the_cards(start: Start) -> None:
    world = await start()
    old = await stored(world)
    await world.ask("recover volumes")
    shown = await world.card(
        "Nothing is chosen yet", f"{CLAIM}: Bound, 1Gi", "1 snapshot ready", f"`nightly` of {CLAIM}"
    )
    assert f"`recover volumes {CLAIM} nightly`" in everything(shown)
    await world.in_thread(shown, "Claims, volumes and snapshots", "snapshot     nightly  ready")
    await world.press(shown, f"Recover {CLAIM} from nightly")
    card = await world.card("Waiting for approval", ts=shown.ts)
    assert "StatefulSet aeterna-store 1 → 0" in everything(card)
    assert f"Everything written to {CLAIM} after" in everything(card)
    await world.press(card, "Approve")
    await world.private(ALICE, "You asked for this run, so somebody else has to approve it.")
    assert await volume(world) == old, "nothing is done before the approval"
    await world.approve(card)
    run = world.run_id(card)
    done = await world.card("✅ *Done*", f"{CLAIM} has the data of nightly", f"{CLAIM}-before-{run}", ts=card.ts)
    restored = await volume(world)
    assert restored != old
    assert await volume(world, f"{CLAIM}-before-{run}") == old
    await world.press(done, "Go back to what it was")
    back = await world.card("Waiting for approval", f"volume {old}")
    assert back.ts != card.ts
    await world.approve(back)
    await world.card("✅ *Done*", ts=back.ts)
    assert await volume(world) == old
    assert await volume(world, f"{CLAIM}-before-{world.run_id(back)}") == restored


async def test_a_typed_line_is_enough_and_a_wrong_name_is_told_with_the_nearest(start: Start) -> None:
    world = await start()
    await stored(world)
    await world.ask("recover volumes data-aeterna-stor-0")
    await world.card("There is no claim or collection `data-aeterna-stor-0`", f"Did you mean `{CLAIM}`?")
    card = await world.planned(f"recover volumes {CLAIM} nightly")
    assert "Restore…" not in card.buttons
    await world.approve(card)
    await world.card("✅ *Done*", "1 workload back as before", ts=card.ts)
