"""Rollouts on a real API server, its controllers and scheduler: those that arrive, and why the others do not."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from bot.errors import Temporary
from bot.kube import Cluster, ObjectRef, RolloutProgress, watch_rollout
from bot.kube.diagnose import Problem
from bot.kube.events import events_of
from bot.kube.explain import explain
from bot.kube.objects import Json
from bot.kube.workloads import health, release_pods
from dev.controlplane import Running
from tests.cluster.kube_cut import Relay
from tests.cluster.kube_objects import IMAGE, daemon_set, deployment, job, ref, stateful_set

BAD = "ghcr.io/kikokikok/aeterna:"


async def _first_problem(cluster: Cluster, obj: Json, *, deadline: float, give_up_after: float | None = 0.5) -> Problem:
    """What is wrong with ``obj`` when its rollout is over."""
    await cluster.create(obj)
    result = await watch_rollout(cluster, [ref(obj)], deadline=deadline, give_up_after=give_up_after)
    assert not result.ready
    (stuck,) = result.stuck
    assert stuck.ref == ref(obj)
    return stuck.problems[0]


async def test_workloads_of_every_kind_are_followed_at_once_until_all_are_ready(
    cluster: Cluster, namespace: str
) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    objects = [
        deployment(namespace, replicas=3),
        stateful_set(namespace, replicas=2, claim=claim),
        daemon_set(namespace),
        job(namespace),
    ]
    progress: list[RolloutProgress] = []
    following = asyncio.create_task(watch_rollout(cluster, map(ref, objects), deadline=60, on_progress=progress.append))
    for obj in objects:
        await cluster.create(obj)
    result = await following
    assert result.ready, result
    assert result.stuck == ()
    assert [state.phase for state in result.states] == ["ready"] * 4
    assert (result.states[0].ready, result.states[0].desired) == (3, 3)
    assert len(progress) > 2
    assert (progress[-1].ready, progress[-1].total) == (4, 4)
    assert str(progress[-1]) == "4 of 4 workloads ready"


async def test_an_update_is_ready_only_when_the_old_pods_are_gone(cluster: Cluster, namespace: str) -> None:
    one = ref(await cluster.create(deployment(namespace, replicas=2)))
    assert (await watch_rollout(cluster, [one], deadline=60)).ready
    image = [{"name": "main", "image": f"{BAD}v0.3.0"}]
    await cluster.apply(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": one.name, "namespace": namespace}}
        | {"spec": {"template": {"spec": {"containers": image}}}},
        dry_run=False,
        force=True,
    )
    assert (await watch_rollout(cluster, [one], deadline=60)).ready
    (workload,) = await health(cluster, [one])
    assert (workload.healthy, workload.ready, workload.images) == (True, 2, (f"{BAD}v0.3.0",))


async def test_an_image_that_cannot_be_pulled_is_given_up_after_its_grace(cluster: Cluster, namespace: str) -> None:
    problem = await _first_problem(cluster, deployment(namespace, image=f"{BAD}no-such-image"), deadline=60)
    assert (problem.kind, problem.image) == ("image_pull", f"{BAD}no-such-image")
    assert "not found" in problem.message


async def test_a_crash_tells_exit_code_and_the_last_log_lines(cluster: Cluster, namespace: str) -> None:
    problem = await _first_problem(cluster, deployment(namespace, image=f"{BAD}crash"), deadline=60)
    assert (problem.kind, problem.exit_code) == ("crash", 1)
    assert problem.restarts >= 1
    (log,) = problem.evidence
    assert "SchemaMismatch" in log.text


async def test_a_pod_that_never_gets_ready_tells_what_its_probe_said(cluster: Cluster, namespace: str) -> None:
    problem = await _first_problem(cluster, deployment(namespace, image=f"{BAD}never-ready"), deadline=3)
    assert problem.kind == "not_ready"
    assert "statuscode: 503" in problem.message


async def test_a_pod_that_fits_nowhere_tells_the_schedulers_reason(cluster: Cluster, namespace: str) -> None:
    problem = await _first_problem(cluster, deployment(namespace, cpu="500"), deadline=3)
    assert problem.kind == "unschedulable"
    assert "Insufficient cpu" in problem.message


async def test_a_full_quota_is_named(cluster: Cluster, namespace: str) -> None:
    meta = {"name": "small", "namespace": namespace}
    quota: Json = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": {"pods": "0"}}}
    await cluster.create(quota)
    async with asyncio.timeout(30), aclosing(cluster.watch("v1", "ResourceQuota", namespace)) as events:
        async for event in events:
            if event.object.get("status", {}).get("hard"):
                break
    problem = await _first_problem(cluster, deployment(namespace), deadline=60)
    assert problem.kind == "quota"
    assert "exceeded quota: small" in problem.message


async def test_a_quota_that_stops_a_stateful_set_is_read_from_its_events(cluster: Cluster, namespace: str) -> None:
    meta = {"name": "small", "namespace": namespace}
    quota: Json = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": {"pods": "0"}}}
    await cluster.create(quota)
    async with asyncio.timeout(30), aclosing(cluster.watch("v1", "ResourceQuota", namespace)) as events:
        async for event in events:
            if event.object.get("status", {}).get("hard"):
                break
    assert (await _first_problem(cluster, stateful_set(namespace), deadline=3)).kind == "quota"


async def test_a_failed_job_ends_it_at_once_with_its_log(cluster: Cluster, namespace: str) -> None:
    obj = job(namespace, image=f"{BAD}hook-fails")
    problem = await _first_problem(cluster, obj, deadline=120, give_up_after=None)
    assert problem.kind == "crash"
    stuck = (await explain(cluster, [ref(obj)]))[0]
    assert {one.kind for one in stuck.problems} == {"crash", "failed_job"}
    assert any("contains null values" in shown.text for one in stuck.problems for shown in one.evidence)


async def test_a_claim_that_stays_pending_is_the_reason(cluster: Cluster, namespace: str) -> None:
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "none-such",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    problem = await _first_problem(cluster, stateful_set(namespace, claim=claim), deadline=4)
    assert problem.kind == "pvc_pending"
    assert "storage class none-such" in problem.message


async def test_what_is_not_there_at_the_deadline_is_missing(cluster: Cluster, namespace: str) -> None:
    missing = ObjectRef("apps/v1", "Deployment", "aeterna", namespace)
    result = await watch_rollout(cluster, [missing], deadline=0.5)
    assert (result.ended, result.stuck[0].problems[0].kind) == ("deadline", "missing")


async def test_one_stuck_workload_does_not_hide_the_ready_ones(cluster: Cluster, namespace: str) -> None:
    good, bad = deployment(namespace, name="good"), deployment(namespace, name="bad", image=f"{BAD}no-such-image")
    for obj in (good, bad):
        await cluster.create(obj)
    result = await watch_rollout(cluster, [ref(good), ref(bad)], deadline=60, give_up_after=2)
    assert result.ended == "hopeless"
    assert [state.phase for state in result.states] == ["ready", "progressing"]
    assert [stuck.ref.name for stuck in result.stuck] == ["bad"]
    assert any("Events of Deployment/bad" in shown.title for shown in result.stuck[0].evidence)


async def test_an_api_server_that_is_away_for_a_while_is_waited_for(
    cluster: Cluster, control_plane: Running, namespace: str, tmp_path: Path
) -> None:
    copy = tmp_path / "kubeconfig"
    async with (
        Relay.before(control_plane.kubeconfig, copy) as relay,
        await Cluster.connect(kubeconfig=copy, context=None) as relayed,
    ):
        one = ref(deployment(namespace))
        told = asyncio.Event()
        following = asyncio.create_task(watch_rollout(relayed, [one], deadline=60, on_progress=lambda _: told.set()))
        await told.wait()
        await relay.cut()
        await cluster.create(deployment(namespace))
        assert (await watch_rollout(cluster, [one], deadline=60)).ready  # unseen by the other
        assert not following.done()
        with pytest.raises(Temporary, match="cannot be reached"):
            await relayed.get_ref(one)
        await relay.mend()
        assert (await following).ready


async def test_an_api_server_that_is_away_at_the_deadline_leaves_the_reasons_open(
    control_plane: Running, namespace: str, tmp_path: Path
) -> None:
    copy = tmp_path / "kubeconfig"
    async with (
        Relay.before(control_plane.kubeconfig, copy) as relay,
        await Cluster.connect(kubeconfig=copy, context=None) as relayed,
    ):
        told = asyncio.Event()
        one = ref(deployment(namespace))
        following = asyncio.create_task(watch_rollout(relayed, [one], deadline=2, on_progress=lambda _: told.set()))
        await told.wait()
        await relay.cut()
        result = await following
    assert result.ended == "deadline"
    assert [shown.title for shown in result.stuck[0].evidence] == ["The reasons could not be read"]


async def test_a_cancelled_rollout_leaves_no_task_behind(cluster: Cluster, namespace: str) -> None:
    before = asyncio.all_tasks()
    missing = ObjectRef("apps/v1", "Deployment", "aeterna", namespace)
    told = asyncio.Event()
    following = asyncio.create_task(watch_rollout(cluster, [missing], deadline=60, on_progress=lambda _: told.set()))
    await told.wait()
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert asyncio.all_tasks() == before


async def test_pods_with_the_servers_labels_that_it_does_not_own_are_not_its_pods(
    cluster: Cluster, namespace: str
) -> None:
    one = ref(await cluster.create(deployment(namespace)))
    meta = {"name": "aeterna-test-connection", "namespace": namespace, "labels": {"app": "other"}}
    spec = {"containers": [{"name": "main", "image": IMAGE}], "restartPolicy": "Never"}
    await cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    assert (await watch_rollout(cluster, [one], deadline=60)).ready
    pods = (await release_pods(cluster, [one]))[one]
    assert [pod["metadata"]["generateName"][:8] for pod in pods] == ["aeterna-"]
    assert pods[0]["metadata"]["name"] != "aeterna-test-connection"


async def test_events_of_an_object_are_told_newest_first(cluster: Cluster, namespace: str) -> None:
    one = ref(await cluster.create(deployment(namespace)))
    assert (await watch_rollout(cluster, [one], deadline=60)).ready
    lines = await events_of(cluster, [one])
    assert [line.reason for line in lines] == ["ScalingReplicaSet"]
