"""Taking components down on a real API server: what is planned, what is done, what is remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.engine.contract import Done, Level, NotStarted
from bot.kube import Cluster
from bot.kube.holding import Held
from dev.controlplane import Api
from tests.cluster.emergency_world import EmergencyWorld, autoscaler, cron_job, define
from tests.cluster.kube_objects import deployment, stateful_set
from tests.cluster.runbook_world import blockers, texts, warnings


@pytest.fixture
def world(cluster: Cluster, api: Api, namespace: str, tmp_path: Path) -> EmergencyWorld:
    return EmergencyWorld(cluster=cluster, api=api, namespace=namespace, directory=tmp_path)


AGENT, SERVER, OPAL = "Deployment/aeterna-cedar-agent", "Deployment/aeterna", "StatefulSet/aeterna-opal-server"


async def test_a_disabled_component_is_at_zero_and_its_note_says_what_it_was(world: EmergencyWorld) -> None:
    world.usual()
    plan = await world.plan_hold("cedar-agent")
    assert plan.facts["stops"] == [
        {
            "component": "cedar-agent",
            "text": "Deployment aeterna-cedar-agent 2 → 0",
            "impact": "Authorisation denies every request.",
            "optional": False,
        }
    ]
    assert plan.facts["permanent"] == {"opal.cedarAgent.enabled": False}
    assert warnings(plan) == ["server needs cedar-agent, and will run without it."]
    outcome = await world.take_down(plan.facts)
    assert outcome.summary == "1 workload down."
    assert await world.replicas(AGENT, SERVER, OPAL) == [0, 3, 2]
    note = Held.read(await world.note(AGENT))
    assert note is not None
    assert (note.replicas, note.to, note.run, note.by, note.component) == (2, 0, world.run.id, "U1", "cedar-agent")
    assert world.said[-1] == "1 of 1 down"


async def test_scale_down_takes_everything_to_its_minimum_and_leaves_data_alone(world: EmergencyWorld) -> None:
    world.usual()
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    world.install(
        stateful_set(world.namespace, name="aeterna-qdrant", replicas=1),
        stateful_set(world.namespace, name="aeterna-ledger", replicas=1, claim=claim),
        deployment(world.namespace, name="aeterna-extra", replicas=2),
        cron_job(world.namespace, "aeterna-nightly"),
    )
    plan = await world.plan_hold()
    stops = {one["component"]: (one["text"], one["optional"]) for one in plan.facts["stops"]}
    assert stops == {
        "server": ("Deployment aeterna 3 → 1", True),
        "cedar-agent": ("Deployment aeterna-cedar-agent 2 → 1", True),
        "opal-server": ("StatefulSet aeterna-opal-server 2 → 0", True),
        "extra": ("Deployment aeterna-extra 2 → 0", True),
        "nightly": ("CronJob aeterna-nightly suspended", True),
    }
    assert any("Left alone, for they hold data: qdrant, ledger." in text for text in texts(plan, Level.INFO))
    await world.take_down(plan.facts, excepted=["extra"])
    down = await world.replicas(SERVER, AGENT, OPAL, "StatefulSet/aeterna-qdrant", "Deployment/aeterna-extra")
    assert down == [1, 1, 0, 1, 2]
    assert (await world.get("CronJob/aeterna-nightly"))["spec"]["suspend"] is True
    assert "StatefulSet/aeterna-qdrant" in [row["subject"] for row in (await world.plan_hold(all=True)).facts["holds"]]


async def test_a_second_emergency_keeps_the_first_remembered_number(world: EmergencyWorld) -> None:
    world.usual()
    await world.hold()
    first = Held.read(await world.note(SERVER))
    await world.hold("server")
    second = Held.read(await world.note(SERVER))
    assert first is not None
    assert second is not None
    assert (first.replicas, first.to, second.replicas, second.to, second.run) == (3, 1, 3, 0, first.run)
    assert await world.replicas(SERVER) == [0]


async def test_what_changed_since_the_plan_is_read_again_and_remembered_as_it_is(world: EmergencyWorld) -> None:
    world.usual()
    plan = await world.plan_hold("server")
    await world.scale_by_hand(SERVER, 5)
    await world.take_down(plan.facts)
    note = Held.read(await world.note(SERVER))
    assert note is not None
    assert (note.replicas, await world.replicas(SERVER)) == (5, [0])


async def test_a_workload_that_was_deleted_since_the_plan_is_said_and_skipped(world: EmergencyWorld) -> None:
    world.usual()
    plan = await world.plan_hold()
    await world.cluster.delete(world.ref(AGENT))
    outcome = await world.take_down(plan.facts)
    assert outcome.summary == "2 workloads down. No longer there: Deployment/aeterna-cedar-agent."
    assert outcome.warning


async def test_a_component_that_is_down_already_is_said_with_who_did_it(world: EmergencyWorld) -> None:
    world.usual()
    await world.hold("cedar-agent")
    plan = await world.plan_hold("cedar-agent")
    assert blockers(plan) == ["cedar-agent is down already."]
    (said,) = [text for text in texts(plan, Level.INFO) if "down already" in text]
    assert "Deployment aeterna-cedar-agent 2 → 0 since " in said
    assert f"by <@U1> (run {world.run.id})" in said
    await world.scale_by_hand(SERVER, 0)
    (said,) = texts(await world.plan_hold("server"), Level.INFO)
    assert said == "server is down already: Deployment/aeterna is at zero, and not by an emergency of this bot."


async def test_an_unknown_component_is_answered_with_those_that_there_are(world: EmergencyWorld) -> None:
    world.usual()
    (finding,) = (await world.plan_hold("cedar")).findings
    assert finding.text == "There is no component 'cedar'."
    assert finding.way_out == "There are server, cedar-agent, opal-server."
    (finding,) = (await world.plan_hold("qdrant")).findings
    assert finding.text == "The release has no qdrant: none of its workloads is there."


async def test_a_release_at_its_minimum_needs_no_scale_down(world: EmergencyWorld) -> None:
    world.install(deployment(world.namespace, name="aeterna", replicas=1))
    assert blockers(await world.plan_hold()) == ["Everything is at its minimum already."]


async def test_an_autoscaler_is_inactive_at_zero_and_pinned_above(world: EmergencyWorld) -> None:
    world.usual()
    world.install(autoscaler(world.namespace, SERVER, least=2, most=10))
    plan = await world.plan_hold("server")
    assert f"HorizontalPodAutoscaler/aeterna (2–10) is inactive while {SERVER} is at zero." in texts(plan, Level.INFO)
    plan = await world.plan_hold()
    assert any(
        "would bring Deployment/aeterna back, so its bounds become 1–1" in one for one in texts(plan, Level.INFO)
    )
    outcome = await world.take_down(plan.facts)
    await world.settle(outcome, patience="1s")
    for kind in ("HorizontalPodAutoscaler", "Deployment"):
        obj = await world.cluster.get(
            {"Deployment": "apps/v1"}.get(kind, "autoscaling/v2"), kind, "aeterna", world.namespace
        )
        assert obj is not None
        owned = [one["fieldsV1"] for one in obj["metadata"]["managedFields"] if one["manager"] == "aeterna-bot"]
        assert not any("f:spec" in fields for fields in owned), "a server-side apply by Helm would conflict with us"
    hpa = await world.cluster.get("autoscaling/v2", "HorizontalPodAutoscaler", "aeterna", world.namespace)
    assert hpa is not None
    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (1, 1)
    assert await world.replicas(SERVER) == [1]
    await world.hold("server")  # further down: the autoscaler's own bounds stay remembered
    assert json.loads(await world.note(SERVER))["hpa"] == {"name": "aeterna", "minimum": 2, "maximum": 10}
    await world.restore()
    hpa = await world.cluster.get("autoscaling/v2", "HorizontalPodAutoscaler", "aeterna", world.namespace)
    assert hpa is not None
    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (2, 10)
    assert await world.replicas(SERVER) == [3]
    assert not [one for one in hpa["metadata"]["managedFields"] if one["manager"] == "aeterna-bot"]


async def test_a_paused_rollout_is_scaled_all_the_same(world: EmergencyWorld) -> None:
    world.usual()
    paused = deployment(world.namespace, name="aeterna-cedar-agent", replicas=2)
    world.install(paused | {"spec": {**paused["spec"], "paused": True}})
    plan = await world.plan_hold("cedar-agent")
    assert f"The rollout of {AGENT} is paused; it is scaled all the same." in texts(plan, Level.INFO)
    await world.take_down(plan.facts)
    assert await world.replicas(AGENT) == [0]
    outcome = await world.restore()
    assert f"Not waited for, as the rollout is paused: {AGENT}." in outcome.summary
    assert (await world.replicas(AGENT), await world.note(AGENT)) == ([2], "")


async def test_what_an_argo_rollout_runs_goes_down_with_it(world: EmergencyWorld, api: Api, cluster: Cluster) -> None:
    await define(api, cluster, "rollouts")
    world.usual()
    await world.scale_by_hand(SERVER, 0)  # Argo runs its pods
    refers = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "aeterna", "scaleDown": "onsuccess"}
    rollout = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "spec": {"replicas": 4, "workloadRef": refers}}
    api.apply(rollout | {"metadata": {"name": "aeterna", "namespace": world.namespace}})
    plan = await world.plan_hold("server")
    assert [one["text"] for one in plan.facts["stops"]] == ["Rollout aeterna 4 → 0"]
    assert "Argo's Rollout/aeterna runs the pods of Deployment/aeterna: it is scaled with it." in texts(
        plan, Level.INFO
    )
    await world.take_down(plan.facts)
    assert await world.replicas("Rollout/aeterna") == [0]


async def test_a_canary_of_flagger_is_suspended_before_its_primary_goes_down(
    world: EmergencyWorld, api: Api, cluster: Cluster
) -> None:
    await define(api, cluster, "canaries")
    world.usual()
    await world.scale_by_hand(SERVER, 0)  # Flagger runs them in the primary
    api.apply(deployment(world.namespace, name="aeterna-primary", replicas=3))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "aeterna"}
    canary = {"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "spec": {"targetRef": target}}
    await cluster.create(canary | {"metadata": {"name": "aeterna", "namespace": world.namespace}})
    outcome = await world.hold("server")
    assert outcome.summary == "2 workloads down."
    assert await world.replicas("Deployment/aeterna-primary") == [0]
    assert (await world.get("Canary/aeterna"))["spec"]["suspend"] is True
    await world.restore()
    assert await world.replicas("Deployment/aeterna-primary") == [3]
    assert (await world.get("Canary/aeterna"))["spec"]["suspend"] is False


async def test_a_database_is_hibernated_only_with_all(world: EmergencyWorld, api: Api) -> None:
    world.usual()
    spec = {"instances": 1, "storage": {"size": "1Gi"}}
    cluster = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "spec": spec}
    world.install(cluster | {"metadata": {"name": "aeterna-cnpg", "namespace": world.namespace}})
    assert "postgres" not in [one["component"] for one in (await world.plan_hold()).facts["stops"]]
    plan = await world.plan_hold(all=True)
    assert "Cluster aeterna-cnpg hibernated" in [one["text"] for one in plan.facts["stops"]]
    await world.take_down(plan.facts)
    annotations = (await world.get("Cluster/aeterna-cnpg"))["metadata"]["annotations"]
    assert annotations["cnpg.io/hibernation"] == "on"


async def test_a_dragonfly_of_its_operator_is_set_by_its_own_number(
    world: EmergencyWorld, api: Api, cluster: Cluster
) -> None:
    await define(api, cluster, "dragonflies")
    cache = {"apiVersion": "dragonflydb.io/v1alpha1", "kind": "Dragonfly", "spec": {"replicas": 2, "image": "df"}}
    await cluster.create(cache | {"metadata": {"name": "aeterna-dragonfly", "namespace": world.namespace}})
    plan = await world.plan_hold("dragonfly")
    assert [one["text"] for one in plan.facts["stops"]] == ["Dragonfly aeterna-dragonfly 2 → 0"]
    assert blockers(plan) == []
    outcome = await world.take_down(plan.facts)
    assert (await world.get("Dragonfly/aeterna-dragonfly"))["spec"] == {"replicas": 0, "image": "df"}
    note = Held.read(await world.note("Dragonfly/aeterna-dragonfly"))
    assert note is not None
    assert (note.replicas, note.to) == (2, 0)
    await world.settle(outcome, patience="1s")
    await world.restore()
    assert (await world.get("Dragonfly/aeterna-dragonfly"))["spec"] == {"replicas": 2, "image": "df"}
    assert await world.note("Dragonfly/aeterna-dragonfly") == ""


@pytest.mark.parametrize(("component", "to"), [("server", 0), (None, 1)])
async def test_an_autoscaler_of_keda_is_a_warning_with_the_command_that_pauses_it(
    world: EmergencyWorld, api: Api, cluster: Cluster, component: str | None, to: int
) -> None:
    await define(api, cluster, "scaledobjects")
    world.usual()
    scaled = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject"}
    owner = await cluster.create(scaled | {"metadata": {"name": "by-queue", "namespace": world.namespace}})
    api.apply(autoscaler(world.namespace, SERVER, least=2, most=10, owner=owner))
    plan = await world.plan_hold(component)
    (found,) = [one for one in plan.findings if "KEDA" in one.text]
    assert found.level is Level.WARNING
    assert found.text == f"KEDA's ScaledObject/by-queue scales {SERVER} and may bring it back, from zero too."
    assert found.way_out == (
        f'Pause it: `kubectl annotate scaledobject by-queue autoscaling.keda.sh/paused-replicas="{to}"`. '
        "Before the restore take that away again: "
        "`kubectl annotate scaledobject by-queue autoscaling.keda.sh/paused-replicas-`."
    )


async def test_reconcile_tells_not_started_partly_and_done_by_the_notes(world: EmergencyWorld) -> None:
    world.usual()
    whole = (await world.plan_hold()).facts
    assert await world.reconcile_hold(whole) == NotStarted()
    await world.hold("opal-server")
    assert await world.reconcile_hold(whole) == NotStarted("Interrupted: 1 of 3 workloads down.")
    await world.take_down(whole)
    done = await world.reconcile_hold(whole)
    assert isinstance(done, Done)
    assert done.outcome.summary == "3 workloads down."
    back = (await world.plan_restore()).facts
    assert await world.reconcile_restore(back) == NotStarted()
    await world.bring_back(back)
    assert isinstance(await world.reconcile_restore(back), Done)
