"""Emergencies on bad days: an API server that fails, conflicts without end, missing rights, pods that do not go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from bot.engine.contract import Level
from bot.errors import Permanent
from bot.kube import Cluster
from bot.kube.cluster import MERGE_PATCH
from bot.kube.holding import Held
from dev.controlplane import Api, Running
from tests.cluster.emergency_world import EmergencyWorld, autoscaler
from tests.cluster.kube_faults import Faults
from tests.cluster.kube_objects import deployment

AGENT, SERVER, OPAL = "Deployment/aeterna-cedar-agent", "Deployment/aeterna", "StatefulSet/aeterna-opal-server"


@pytest.fixture
async def faults(control_plane: Running, tmp_path: Path) -> AsyncIterator[Faults]:
    async with Faults.before(control_plane.kubeconfig, tmp_path / "faulty.yaml") as faults:
        yield faults


@pytest.fixture
async def world(faults: Faults, api: Api, namespace: str, tmp_path: Path) -> AsyncIterator[EmergencyWorld]:
    async with await Cluster.connect(kubeconfig=faults.kubeconfig, context=None) as cluster:
        yield EmergencyWorld(cluster=cluster, api=api, namespace=namespace, directory=tmp_path)


def many(world: EmergencyWorld, number: int) -> list[str]:
    """Small workloads with numbers of their own, without a pod."""
    names = [f"aeterna-w{one}" for one in range(number)]
    for size, name in enumerate(names, start=1):
        world.install(deployment(world.namespace, name=name, replicas=size, nodeSelector={"there-is": "none"}))
    return [f"Deployment/{name}" for name in names]


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("after", [False, True], ids=["refused", "answer-lost"])
async def test_an_api_server_that_fails_every_third_write_loses_no_number(
    world: EmergencyWorld, faults: Faults, status: int, *, after: bool
) -> None:
    subjects = many(world, 8)
    plan = await world.plan_hold()
    writes = count(1)
    faults.after = after
    faults.judge = lambda one: status if one.method == "PATCH" and next(writes) % 3 == 0 else None
    outcome = await world.take_down(plan.facts)
    faults.judge = lambda _request: None
    assert outcome.summary == "8 workloads down."
    assert await world.replicas(*subjects) == [0] * 8
    notes = [Held.read(await world.note(subject)) for subject in subjects]
    assert [note.replicas for note in notes if note] == list(range(1, 9))


async def test_an_api_server_that_fails_every_third_request_of_any_kind_is_worn_down(
    world: EmergencyWorld, faults: Faults
) -> None:
    subjects = many(world, 6)
    plan = await world.plan_hold()
    requests = count(1)
    faults.judge = lambda _request: 503 if next(requests) % 3 == 0 else None
    await world.take_down(plan.facts)
    faults.judge = lambda _request: None
    assert await world.replicas(*subjects) == [0] * 6


async def test_a_conflict_on_every_write_of_one_workload_stops_no_other_and_is_named(
    world: EmergencyWorld, faults: Faults
) -> None:
    world.usual()
    plan = await world.plan_hold()
    faults.judge = lambda one: 409 if one.method == "PATCH" and "cedar-agent" in one.path else None
    with pytest.raises(Permanent) as raised:
        await world.take_down(plan.facts)
    assert raised.value.message.startswith(
        "1 of 3 workloads could not be taken down (Deployment/aeterna-cedar-agent): Could not patch"
    )
    assert raised.value.way_out == "Retry does only what is missing."
    assert await world.replicas(SERVER, OPAL, AGENT) == [1, 0, 2]
    faults.judge = lambda _request: None
    faults.seen.clear()
    await world.take_down(plan.facts)  # as Retry does it
    assert await world.replicas(SERVER, OPAL, AGENT) == [1, 0, 1]
    scaled = [path for method, path, status in faults.seen if path.endswith("/scale") and status == 200]
    assert [path.rsplit("/", 2)[1] for path in scaled] == ["aeterna-cedar-agent"]
    assert [note.replicas for one in (SERVER, OPAL, AGENT) if (note := Held.read(await world.note(one)))] == [3, 2, 2]


async def test_a_conflict_on_every_patch_of_everything_changes_nothing_and_names_all_of_it(
    world: EmergencyWorld, faults: Faults
) -> None:
    world.usual()
    plan = await world.plan_hold()
    faults.judge = lambda one: 409 if one.method == "PATCH" else None
    with pytest.raises(Permanent) as raised:
        await world.take_down(plan.facts)
    assert raised.value.message.startswith("3 of 3 workloads could not be taken down (")
    for subject in (SERVER, OPAL, AGENT):
        assert subject in raised.value.message
    faults.judge = lambda _request: None
    assert await world.replicas(SERVER, OPAL, AGENT) == [3, 2, 2]
    assert [await world.note(one) for one in (SERVER, OPAL, AGENT)] == [""] * 3
    plan = await world.plan_restore()
    assert plan.facts["returns"] == [], "what was not taken down is not brought back"


@pytest.mark.parametrize("after", [False, True], ids=["refused", "answer-lost"])
async def test_an_api_server_that_fails_every_third_request_on_the_way_back_restores_exactly(
    world: EmergencyWorld, faults: Faults, *, after: bool
) -> None:
    subjects = many(world, 6)
    for subject in subjects[:2]:
        world.install(autoscaler(world.namespace, subject, least=1, most=9))
    await world.hold()
    back = await world.plan_restore()
    requests = count(1)
    faults.after = after
    faults.judge = lambda one: 503 if one.query.get("watch") is None and next(requests) % 3 == 0 else None
    with pytest.raises(Permanent, match="did not become ready"):  # their pods have no node
        await world.bring_back(back.facts, deadline="3s", give_up_after="1s")
    faults.judge = lambda _request: None
    assert await world.replicas(*subjects) == list(range(1, 7))


async def test_a_conflict_on_every_patch_on_the_way_back_is_named_and_a_retry_completes_it(
    world: EmergencyWorld, faults: Faults
) -> None:
    world.usual()
    await world.hold()
    plan = await world.plan_restore()
    faults.judge = lambda one: 409 if one.method == "PATCH" and one.path.endswith("aeterna/scale") else None
    with pytest.raises(Permanent, match=r"1 of \d workloads? could not be brought back \(Deployment/aeterna\)"):
        await world.bring_back(plan.facts)
    faults.judge = lambda _request: None
    assert (await world.replicas(SERVER), bool(await world.note(SERVER))) == ([1], True)
    await world.bring_back(plan.facts)  # as Retry does it
    assert await world.replicas(SERVER, OPAL, AGENT) == [3, 2, 2]
    assert [await world.note(one) for one in (SERVER, OPAL, AGENT)] == [""] * 3


async def test_a_right_that_is_missing_is_named_before_anybody_confirms(
    world: EmergencyWorld, api: Api, control_plane: Running, namespace: str, tmp_path: Path
) -> None:
    world.usual()
    user = f"limited-{namespace}"
    rules = [
        {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets"], "verbs": ["get", "list", "patch"]},
        {"apiGroups": ["batch"], "resources": ["cronjobs"], "verbs": ["list"]},
    ]
    meta = {"name": "limited", "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    role = {"kind": "Role", "apiGroup": group, "name": "limited"}
    subject = {"kind": "User", "apiGroup": group, "name": user}
    api.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": rules})
    binding = {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": meta}
    api.apply({**binding, "roleRef": role, "subjects": [subject]})
    async with await Cluster.connect(kubeconfig=control_plane.kubeconfig, context=None, as_user=user) as cluster:
        limited = EmergencyWorld(cluster=cluster, api=api, namespace=namespace, directory=tmp_path)
        plan = await limited.plan_hold("cedar-agent")
        (finding,) = [one for one in plan.findings if one.level is Level.BLOCKER]
        assert (
            finding.text == f"The cluster does not allow the bot to patch deployments/scale in namespace {namespace}."
        )
        rule = '{apiGroups: ["apps"], resources: ["deployments/scale"], verbs: ["patch"]}'
        assert finding.way_out == f"Grant {rule} by a Role there."
        said = [one.text for one in plan.findings if one.text.startswith("The bot may not list ")]
        assert "HorizontalPodAutoscaler" in said[0]
        with pytest.raises(Permanent, match="could not be taken down") as raised:  # the right went after the plan
            await limited.take_down(plan.facts)
        assert rule in raised.value.way_out
    assert await world.replicas(AGENT) == [2]


async def test_a_pod_that_does_not_go_is_named_and_holds_nothing_up(world: EmergencyWorld, api: Api) -> None:
    world.usual()
    await world.hold("opal-server")
    await world.restore()  # its pods are there now
    path = f"/api/v1/namespaces/{world.namespace}/pods/aeterna-opal-server-1"
    api.call("PATCH", path, {"metadata": {"finalizers": ["test/stuck"]}}, MERGE_PATCH)
    outcome = await world.hold("opal-server")
    assert (outcome.summary, await world.replicas(OPAL)) == ("1 workload down.", [0])
    seen = await world.settle(outcome, patience="3s")
    # The controller ends the last pod first and waits for it, so the one before it is still at work.
    assert seen.summary == "2 pods still there: aeterna-opal-server-0, aeterna-opal-server-1."
    assert seen.warning
    said = seen.evidence[0].text.splitlines()
    assert said[0] == "aeterna-opal-server-0 of StatefulSet/aeterna-opal-server is not being deleted yet."
    assert said[1].startswith("aeterna-opal-server-1 of StatefulSet/aeterna-opal-server has been ending on ")
    assert said[1].endswith(", waiting for test/stuck.")
    api.call("PATCH", path, {"metadata": {"finalizers": None}}, MERGE_PATCH)
    assert (await world.settle(outcome)).summary == "All pods that had to go are gone."
    managers = {
        entry["manager"] for entry in (await world.get(OPAL))["metadata"]["managedFields"] if entry.get("subresource")
    }
    assert "aeterna-bot" not in managers
    await world.restore()
    assert await world.replicas(OPAL) == [2]
