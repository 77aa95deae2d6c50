"""Restarting a release on a real API server: in order, one pod at a time, and never further than what came back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.engine.contract import CheckResult, Done, Level, NotStarted, Outcome
from bot.errors import Permanent
from bot.kube import Cluster, Json, watch_rollout
from bot.kube.objects import annotations_of, name_of, uid_of
from bot.kube.restart import RESTARTED_AT, mark
from dev.controlplane import Api
from runbooks.checks.restart import RestartPlan
from runbooks.steps.restart import ComponentsRestart, RestartParams
from tests.cluster.emergency_world import EmergencyWorld
from tests.cluster.kube_objects import deployment, stateful_set
from tests.cluster.runbook_world import blockers, texts

SERVER, AGENT, OPAL = "Deployment/aeterna", "Deployment/aeterna-cedar-agent", "StatefulSet/aeterna-opal-server"
SOON = RestartParams(deadline=timedelta(seconds=40), give_up_after=timedelta(seconds=0.5))


@pytest.fixture
def world(cluster: Cluster, api: Api, namespace: str, tmp_path: Path) -> EmergencyWorld:
    return EmergencyWorld(cluster=cluster, api=api, namespace=namespace, directory=tmp_path)


async def ready(world: EmergencyWorld, *subjects: str) -> None:
    result = await watch_rollout(world.cluster, map(world.ref, subjects), deadline=60)
    assert result.ready, result


async def plan(world: EmergencyWorld, **inputs: Any) -> CheckResult:
    return await RestartPlan().check(world.plan_context(**inputs))


async def restart(world: EmergencyWorld, found: CheckResult, params: RestartParams = SOON) -> Outcome:
    kind, context = ComponentsRestart(), world.context(found.facts)
    return await kind.run(context, params, await kind.intend(context, params))


async def pods(world: EmergencyWorld) -> list[Json]:
    return await world.cluster.list("v1", "Pod", world.namespace)


async def test_every_pod_is_replaced_workload_by_workload_in_the_order_of_dependence(world: EmergencyWorld) -> None:
    world.usual()
    await ready(world, SERVER, AGENT, OPAL)
    before = {uid_of(pod) for pod in await pods(world)}
    found = await plan(world)
    assert [row["subject"] for row in found.facts["restarts"]] == [OPAL, AGENT, SERVER]
    outcome = await restart(world, found)
    assert outcome.summary.startswith("3 workloads restarted and back, 7 pods")
    now = await pods(world)
    assert not before & {uid_of(pod) for pod in now}
    assert all(RESTARTED_AT in annotations_of(pod) for pod in now)
    told = [text.partition(":")[0] for text in world.said]
    assert told == sorted(told)
    assert told[-1] == "3 of 3"


async def test_one_component_can_be_restarted_alone_and_repeating_it_restarts_nothing(world: EmergencyWorld) -> None:
    world.usual()
    await ready(world, SERVER, AGENT, OPAL)
    before = {uid_of(pod) for pod in await pods(world)}
    found = await plan(world, component="cedar-agent")
    await restart(world, found)
    after = {uid_of(pod) for pod in await pods(world)}
    assert len(before - after) == 2
    await restart(world, found)
    assert {uid_of(pod) for pod in await pods(world)} == after
    again, context = ComponentsRestart(), world.context(found.facts)
    assert isinstance(await again.reconcile(context, SOON, await again.intend(context, SOON)), Done)


async def test_a_restart_that_was_cut_off_goes_on_where_it_was(world: EmergencyWorld) -> None:
    world.usual()
    await ready(world, SERVER, AGENT, OPAL)
    found = await plan(world)
    kind, context = ComponentsRestart(), world.context(found.facts)
    intent = await kind.intend(context, SOON)
    assert await kind.reconcile(context, SOON, intent) == NotStarted()
    await mark(world.cluster, world.ref(OPAL), run=world.run.id, at=str(intent["at"]))
    await ready(world, OPAL)
    restarted = {name_of(pod): uid_of(pod) for pod in await pods(world) if name_of(pod).startswith("aeterna-opal")}
    seen = await kind.reconcile(context, SOON, intent)
    assert seen == NotStarted(f"Interrupted: 1 of 3 workloads restarted. Not restarted: {AGENT}, {SERVER}.")
    await kind.run(context, SOON, intent)
    assert restarted.items() <= {name_of(pod): uid_of(pod) for pod in await pods(world)}.items()


async def test_what_updates_on_delete_is_evicted_pod_by_pod(world: EmergencyWorld) -> None:
    store = stateful_set(world.namespace, name="aeterna-qdrant", replicas=2)
    store["spec"]["updateStrategy"] = {"type": "OnDelete"}
    world.install(store)
    await ready(world, "StatefulSet/aeterna-qdrant")
    before = {uid_of(pod) for pod in await pods(world)}
    found = await plan(world, component="qdrant")
    assert any("evicted one at a time" in text for text in texts(found, Level.INFO))
    await restart(world, found)
    assert not before & {uid_of(pod) for pod in await pods(world)}
    evicted = [text.rpartition(" ")[2] for text in world.said if "evicting" in text]
    assert evicted == ["aeterna-qdrant-1", "aeterna-qdrant-0"]


async def test_a_budget_that_lets_no_pod_go_is_respected_and_named(world: EmergencyWorld) -> None:
    store = stateful_set(world.namespace, name="aeterna-qdrant", replicas=1)
    store["spec"]["updateStrategy"] = {"type": "OnDelete"}
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "qdrant", "namespace": world.namespace},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "aeterna-qdrant"}}},
    }
    world.install(store, budget)
    await ready(world, "StatefulSet/aeterna-qdrant")
    before = {uid_of(pod) for pod in await pods(world)}
    found = await plan(world)
    with pytest.raises(Permanent, match="aeterna-qdrant-0 may not be evicted") as raised:
        await restart(world, found, RestartParams(deadline=timedelta(seconds=1)))
    assert "PodDisruptionBudget" in raised.value.way_out
    assert {uid_of(pod) for pod in await pods(world)} == before


async def test_the_first_that_does_not_come_back_ends_it_and_the_rest_is_left_alone(world: EmergencyWorld) -> None:
    world.usual()
    await ready(world, SERVER, AGENT, OPAL)
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "tight", "namespace": world.namespace},
        "spec": {"hard": {"pods": "7"}},
    }
    world.install(quota)
    before = {uid_of(pod) for pod in await pods(world) if name_of(pod).startswith("aeterna-opal")}
    found = await plan(world)
    rows = found.facts["restarts"]
    agent_first = replace(found, facts={"restarts": [rows[1], rows[0], rows[2]]})
    with pytest.raises(Permanent, match=f"{AGENT} did not come back") as raised:
        await restart(world, agent_first)
    assert f"Not restarted: {OPAL}, {SERVER}." in raised.value.message
    assert raised.value.evidence
    assert {uid_of(pod) for pod in await pods(world) if name_of(pod).startswith("aeterna-opal")} == before


async def test_a_paused_rollout_is_a_blocker_and_zero_replicas_are_no_work(world: EmergencyWorld) -> None:
    paused = deployment(world.namespace, name="aeterna", replicas=2)
    paused["spec"]["paused"] = True
    world.install(paused, deployment(world.namespace, name="aeterna-cedar-agent", replicas=0))
    found = await plan(world)
    (blocker,) = blockers(found)
    assert "paused" in blocker
    assert "Deployment/aeterna-cedar-agent is at zero; there is nothing to restart." in texts(found, Level.INFO)


async def test_a_release_of_which_nothing_is_there_cannot_be_restarted(world: EmergencyWorld) -> None:
    found = await plan(world)
    assert blockers(found) == ["There is nothing that could be restarted."]
