"""Bringing back what an emergency took down: exactly what it was, in order, and never silently over somebody else's change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.engine.contract import Level
from bot.errors import Permanent
from bot.kube import Cluster, Json
from bot.kube.cluster import JSON_PATCH, MERGE_PATCH
from bot.kube.holding import ANNOTATION, pointer
from dev.controlplane import Api
from tests.cluster.emergency_world import COMPONENTS, EmergencyWorld, cron_job, define
from tests.cluster.kube_objects import deployment, stateful_set
from tests.cluster.runbook_world import blockers, texts, warnings

AGENT, SERVER, OPAL = "Deployment/aeterna-cedar-agent", "Deployment/aeterna", "StatefulSet/aeterna-opal-server"
DATABASE, ROLLOUT = "Cluster/aeterna-cnpg", "Rollout/aeterna"


@pytest.fixture
def world(cluster: Cluster, api: Api, namespace: str, tmp_path: Path) -> EmergencyWorld:
    return EmergencyWorld(cluster=cluster, api=api, namespace=namespace, directory=tmp_path)


async def test_everything_comes_back_in_the_order_of_dependence_and_nothing_of_us_is_left(
    world: EmergencyWorld,
) -> None:
    world.usual()
    world.install(cron_job(world.namespace, "aeterna-sync"))
    before = await world.replicas(SERVER, AGENT, OPAL)
    await world.hold("server")
    await world.hold()
    world.said.clear()
    outcome = await world.restore()
    assert outcome.summary.startswith("4 workloads back as before (")
    assert await world.replicas(SERVER, AGENT, OPAL) == before
    assert (await world.get("CronJob/aeterna-sync"))["spec"]["suspend"] is False
    told = "\n".join(world.said)
    assert told.index("1 of 4 back; ") < told.index("2 of 4 back; ") < told.index("4 of 4 back; ")
    for subject in (SERVER, AGENT, OPAL, "CronJob/aeterna-sync"):
        assert await world.note(subject) == ""
        managers = {entry["manager"] for entry in (await world.get(subject))["metadata"]["managedFields"]}
        assert "aeterna-bot" not in managers, "Helm's next server-side apply would conflict with us"


async def test_one_component_comes_back_alone_with_a_word_about_what_it_needs(world: EmergencyWorld) -> None:
    world.usual()
    await world.hold("opal-server")
    await world.hold("cedar-agent")
    plan = await world.plan_restore("cedar-agent")
    assert warnings(plan) == ["cedar-agent needs opal-server, which is held down."]
    await world.bring_back(plan.facts)
    assert await world.replicas(AGENT, OPAL) == [2, 0]


async def test_the_notes_alone_are_enough_when_the_journal_is_lost(world: EmergencyWorld) -> None:
    world.usual()
    await world.hold()
    world.past.clear()
    await world.restore()
    assert await world.replicas(SERVER, AGENT, OPAL) == [3, 2, 2]


async def test_the_journal_alone_is_enough_when_the_notes_are_lost(world: EmergencyWorld) -> None:
    world.usual()
    await world.hold()
    remove = [{"op": "remove", "path": pointer(ANNOTATION)}]
    for subject in (SERVER, AGENT, OPAL):
        await world.cluster.patch(world.ref(subject), remove, JSON_PATCH)
    plan = await world.plan_restore()
    assert sum("Its note is gone; the journal knows what it was." in one.text for one in plan.findings) == 3
    await world.bring_back(plan.facts)
    assert await world.replicas(SERVER, AGENT, OPAL) == [3, 2, 2]
    assert blockers(await world.plan_restore()) == [
        "Nothing of prod is held down by an emergency, so there is nothing to bring back."
    ]


async def test_a_restore_without_an_emergency_is_said_plainly(world: EmergencyWorld) -> None:
    world.usual()
    (finding,) = (await world.plan_restore()).findings
    assert finding.text == "Nothing of prod is held down by an emergency, so there is nothing to bring back."
    await world.hold("opal-server")
    (finding,) = (await world.plan_restore("server")).findings
    assert (finding.text, finding.way_out) == ("server is not held down by an emergency.", "Held down: opal-server.")


async def test_what_somebody_changed_meanwhile_is_shown_with_both_numbers_and_asked(world: EmergencyWorld) -> None:
    world.usual()
    await world.hold("server")
    run = world.run.id
    await world.scale_by_hand(SERVER, 1)
    plan = await world.plan_restore()
    (finding,) = [one for one in plan.findings if one.level is Level.BLOCKER]
    assert finding.code == "restore.changed"
    assert finding.text == (
        f"Deployment aeterna had 3, was taken to 0 by <@U1> (run {run}), and has 1 now: somebody else changed it."
    )
    kept = await world.plan_restore(changed="keep")
    assert blockers(kept) == []
    await world.bring_back(kept.facts)
    assert (await world.replicas(SERVER), await world.note(SERVER)) == ([1], "")


async def test_who_decides_for_the_old_number_gets_it(world: EmergencyWorld) -> None:
    world.usual()
    await world.hold("server")
    await world.scale_by_hand(SERVER, 1)
    await world.restore(changed="restore")
    assert (await world.replicas(SERVER), await world.note(SERVER)) == ([3], "")


async def test_a_change_after_the_plan_is_not_run_over(world: EmergencyWorld) -> None:
    world.usual()
    await world.hold()
    plan = await world.plan_restore()
    await world.scale_by_hand(SERVER, 7)
    with pytest.raises(Permanent, match=r"1 of 3 workloads could not be brought back .*has 7 since the plan") as raised:
        await world.bring_back(plan.facts)
    assert "Ask for `emergency restore` again" in raised.value.way_out
    assert await world.replicas(SERVER, AGENT, OPAL) == [7, 2, 2]
    assert await world.note(SERVER)


async def test_what_is_back_already_only_loses_its_note(world: EmergencyWorld) -> None:
    world.usual()
    await world.hold("server")
    await world.scale_by_hand(SERVER, 3)
    plan = await world.plan_restore()
    assert texts(plan, Level.INFO) == [f"{SERVER} is back at 3 already: only our note about it goes."]
    await world.bring_back(plan.facts)
    assert await world.note(SERVER) == ""


async def test_a_workload_that_was_deleted_meanwhile_is_left_out(world: EmergencyWorld) -> None:
    world.usual()
    await world.hold()
    await world.cluster.delete(world.ref(OPAL))
    plan = await world.plan_restore()
    assert warnings(plan) == [f"{OPAL} was held down and is no longer there: it is left out."]
    await world.cluster.delete(world.ref(AGENT))
    outcome = await world.bring_back(plan.facts)
    assert f"No longer there: {AGENT}." in outcome.summary
    assert await world.replicas(SERVER) == [3]


async def test_what_does_not_become_ready_holds_up_only_who_needs_it(world: EmergencyWorld) -> None:
    world.usual()
    world.install(deployment(world.namespace, name="aeterna-opal-fetcher", replicas=1))
    world.install(stateful_set(world.namespace, name="aeterna-qdrant", replicas=1))
    await world.hold(all=True)
    pod = {"spec": {"template": {"spec": {"nodeSelector": {"there-is": "no-such-node"}}}}}
    await world.cluster.patch(world.ref(AGENT), pod, MERGE_PATCH)
    plan = await world.plan_restore()
    with pytest.raises(Permanent) as raised:
        await world.bring_back(plan.facts, deadline="4s", give_up_after="2s")
    assert "1 workload did not become ready: Deployment/aeterna-cedar-agent:" in raised.value.message
    assert "Not brought back, for they need it: opal-fetcher, server." in raised.value.message
    back = await world.replicas("StatefulSet/aeterna-qdrant", OPAL, AGENT, SERVER, "Deployment/aeterna-opal-fetcher")
    assert back == [1, 2, 2, 1, 0]
    assert await world.note(AGENT), "what is not ready keeps its note, and Retry goes on from there"


async def test_another_release_in_the_same_namespace_is_never_touched(world: EmergencyWorld, api: Api) -> None:
    world.usual()
    other = deployment(world.namespace, name="other", replicas=2)
    mark = {"meta.helm.sh/release-name": "other", ANNOTATION: '{"replicas":5,"to":2,"run":"x","by":"U9","at":"2026"}'}
    api.apply({**other, "metadata": {**other["metadata"], "annotations": mark}})
    await world.hold(all=True)
    await world.restore()
    assert await world.replicas("Deployment/other") == [2]


async def test_what_is_held_down_stops_an_upgrade_with_a_way_out_and_warns_of_a_rollback(world: EmergencyWorld) -> None:
    world.usual()
    assert (await world.held_down()).bindings == {"held down": "none"}
    await world.hold("cedar-agent")
    (warned,) = (await world.held_down(revision=None)).findings
    assert warned.level is Level.WARNING, "a rollback is what one does while things are down"
    found = await world.held_down(version="0.2.1")
    (finding,) = found.findings
    assert (finding.level, finding.code, finding.subject) == (Level.BLOCKER, "held.down", AGENT)
    assert finding.text.startswith("cedar-agent is held down: Deployment aeterna-cedar-agent 2 → 0 since ")
    assert "`emergency restore`" in finding.way_out
    assert found.bindings != {"held down": "none"}
    await world.restore()
    assert (await world.held_down()).findings == ()


# -- what operators bring back -----------------------------------------------------------------------------------


async def test_a_woken_database_is_waited_for_before_what_needs_it_comes_back(world: EmergencyWorld) -> None:
    world.usual()
    world.install(_database(world))
    await world.until(DATABASE, lambda seen: _instances(seen) == 2)
    await world.hold(all=True)
    await world.until(DATABASE, lambda seen: _instances(seen) == 0)
    world.said.clear()
    outcome = await world.restore()
    assert outcome.summary.startswith("4 workloads back as before (")
    seen = await world.get(DATABASE)
    assert (seen["metadata"]["annotations"]["cnpg.io/hibernation"], _instances(seen)) == ("off", 2)
    told = "\n".join(world.said)
    waits = f"{DATABASE}: waiting for the operator to wake it"
    assert told.index(waits) < told.index("2 of 2 workloads ready") < told.index("4 of 4 back; "), told
    assert await world.note(DATABASE) == ""


async def test_a_database_that_does_not_wake_keeps_its_note_and_what_needs_it_stays_down(
    world: EmergencyWorld,
) -> None:
    world.usual()
    world.components = COMPONENTS | {"server": {"minimum": 1, "needs": ["postgres"]}}
    world.install(_database(world))
    await world.until(DATABASE, lambda seen: _instances(seen) == 2)
    await world.hold(all=True)
    await world.until(DATABASE, lambda seen: _instances(seen) == 0)
    asleep = {"metadata": {"annotations": {"throwaway-world/hold": "true"}}}  # its operator does nothing any more
    await world.cluster.patch(world.ref(DATABASE), asleep, MERGE_PATCH)
    plan = await world.plan_restore()
    with pytest.raises(Permanent) as raised:
        await world.bring_back(plan.facts, deadline="3s")
    assert f"1 workload did not become ready: {DATABASE}: waiting for the operator to wake it" in raised.value.message
    assert "Not brought back, for they need it: server." in raised.value.message
    assert await world.replicas(SERVER, AGENT, OPAL) == [1, 2, 2]
    assert await world.note(DATABASE)
    await world.told(DATABASE, {"readyInstances": 2, "conditions": []})
    await world.restore()
    assert await world.replicas(SERVER) == [3]


async def test_the_pods_of_an_argo_rollout_are_waited_for(world: EmergencyWorld, api: Api, cluster: Cluster) -> None:
    await define(api, cluster, "rollouts")
    world.usual()
    await world.scale_by_hand(SERVER, 0)  # Argo runs its pods
    refers = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "aeterna", "scaleDown": "onsuccess"}
    rollout = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "spec": {"replicas": 4, "workloadRef": refers}}
    api.apply(rollout | {"metadata": {"name": "aeterna", "namespace": world.namespace}})
    await world.hold("server")
    plan = await world.plan_restore()
    with pytest.raises(Permanent, match=f"{ROLLOUT}: waiting for the controller to see the change"):
        await world.bring_back(plan.facts, deadline="2s")
    assert await world.replicas(ROLLOUT, SERVER) == [4, 0]
    assert await world.note(ROLLOUT)

    async def argo() -> None:
        seen = await world.until(ROLLOUT, lambda one: one["spec"]["replicas"] == 4)
        observed = {"observedGeneration": str(seen["metadata"]["generation"]), "updatedReplicas": 4}
        await world.told(ROLLOUT, observed | {"availableReplicas": 2})
        await world.hears("2 of 4 pods available")
        await world.told(ROLLOUT, {"availableReplicas": 4, "readyReplicas": 4})

    async with asyncio.TaskGroup() as group:
        group.create_task(argo())
        outcome = await world.bring_back((await world.plan_restore()).facts)
    assert outcome.summary.startswith("1 workload back as before")
    assert await world.note(ROLLOUT) == ""


def _database(world: EmergencyWorld) -> Json:
    spec = {"instances": 2, "storage": {"size": "1Gi"}}
    meta = {"name": "aeterna-cnpg", "namespace": world.namespace}
    return {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": meta, "spec": spec}


def _instances(seen: Json) -> int | None:
    found = (seen.get("status") or {}).get("readyInstances")
    return None if found is None else int(found)
