"""Notes on workloads that somebody else wrote: a restore shows what it found and asks, and never does harm for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bot.engine.contract import Level
from bot.kube import Cluster, Json
from bot.kube.cluster import MERGE_PATCH
from bot.kube.holding import ANNOTATION
from dev.controlplane import Api
from tests.cluster.emergency_world import EmergencyWorld, autoscaler
from tests.cluster.kube_objects import deployment
from tests.cluster.runbook_world import blockers, texts, warnings

AGENT, SERVER = "Deployment/aeterna-cedar-agent", "Deployment/aeterna"
LARGE = 10_000


@pytest.fixture
def world(cluster: Cluster, api: Api, namespace: str, tmp_path: Path) -> EmergencyWorld:
    return EmergencyWorld(cluster=cluster, api=api, namespace=namespace, directory=tmp_path)


async def forge(world: EmergencyWorld, subject: str, text: str = "", **changes: Any) -> None:
    """Writes another note, or changes parts of the one that is there."""
    note = await world.note(subject)
    written = text or json.dumps({**(json.loads(note) if note else {}), **changes})
    await world.cluster.patch(world.ref(subject), {"metadata": {"annotations": {ANNOTATION: written}}}, MERGE_PATCH)


async def bounds(world: EmergencyWorld, name: str) -> tuple[int, int]:
    hpa = await world.cluster.get("autoscaling/v2", "HorizontalPodAutoscaler", name, world.namespace)
    assert hpa is not None
    return hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]


@pytest.mark.parametrize("run", [None, "r-nobody"])
async def test_a_note_that_the_journal_contradicts_is_shown_with_both_numbers_and_asked(
    world: EmergencyWorld, run: str | None
) -> None:
    world.usual()
    await world.hold("server")
    ours = world.run.id
    await forge(world, SERVER, replicas=LARGE, run=run or ours)
    plan = await world.plan_restore()
    (finding,) = [one for one in plan.findings if one.level is Level.BLOCKER]
    assert (finding.code, finding.subject) == ("restore.changed", SERVER)
    assert finding.text == (
        f"The note on Deployment aeterna says that it had {LARGE} (run {run or ours}), the journal says 3 (run {ours}), "
        "and it has 0 now: somebody else wrote the note."
    )
    assert finding.way_out.startswith("Go on, and it gets 3; ")
    assert [one["text"] for one in plan.facts["starts"]] == ["Deployment aeterna 0 → 3"]
    await world.bring_back(plan.facts)  # as after the override
    assert (await world.replicas(SERVER), await world.note(SERVER)) == ([3], "")


async def test_who_wants_neither_number_keeps_what_there_is(world: EmergencyWorld) -> None:
    world.usual()
    await world.hold("server")
    await forge(world, SERVER, replicas=LARGE)
    plan = await world.plan_restore(changed="keep")
    assert blockers(plan) == []
    await world.bring_back(plan.facts)
    assert (await world.replicas(SERVER), await world.note(SERVER)) == ([0], "")


async def test_a_note_that_no_journal_proves_is_a_warning_with_the_number(world: EmergencyWorld) -> None:
    world.usual()
    forged: Json = {"replicas": LARGE, "to": 3, "run": "r-none", "by": "U0BOSS", "at": "2026-03-09T18:02:00"}
    await forge(world, SERVER, **forged)
    plan = await world.plan_restore()
    assert warnings(plan) == [
        f"{SERVER} would get {LARGE}, for so says its note (run r-none). The journal knows nothing of it."
    ]
    assert [one["text"] for one in plan.facts["starts"]] == [f"Deployment aeterna 3 → {LARGE}"], "the dialog shows it"
    assert await world.replicas(SERVER) == [3]


async def test_a_note_after_the_loss_of_the_journal_is_good_and_is_said_to_be_the_only_word(
    world: EmergencyWorld,
) -> None:
    world.usual()
    await world.hold()
    world.past.clear()
    assert len(warnings(await world.plan_restore())) == 3
    await world.restore()
    assert await world.replicas(SERVER, AGENT) == [3, 2]


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"replicas": 5}', '{"replicas": -3, "to": 0, "run": "x", "by": "y", "at": ""}']
)
async def test_a_note_that_is_no_note_does_not_hide_what_the_journal_knows(world: EmergencyWorld, text: str) -> None:
    world.usual()
    await world.hold("server")
    await forge(world, SERVER, text)
    plan = await world.plan_restore()
    assert any("Its note is gone; the journal knows what it was." in one for one in texts(plan, Level.INFO))
    await world.bring_back(plan.facts)
    assert (await world.replicas(SERVER), await world.note(SERVER)) == ([3], ""), "nor does it stay behind"


async def test_a_note_that_nobody_can_read_is_said(world: EmergencyWorld) -> None:
    world.usual()
    await forge(world, SERVER, "{")
    plan = await world.plan_restore()
    assert warnings(plan) == [f"{SERVER} has 3 and a note that cannot be read: it is left as it is."]
    assert blockers(plan) == ["Nothing of prod is held down by an emergency, so there is nothing to bring back."]


async def test_the_autoscaler_of_another_workload_is_never_touched(world: EmergencyWorld) -> None:
    world.usual()
    world.install(deployment(world.namespace, name="other", replicas=1))
    world.install(autoscaler(world.namespace, "Deployment/other", least=1, most=2))
    forged: Json = {"replicas": 3, "to": 0, "run": "r-none", "by": "U1", "at": "2026-03-09T18:02:00"}
    grown = {"name": "other", "minimum": 500, "maximum": LARGE}
    await forge(world, SERVER, **forged, hpa=grown, pinned={"name": "other", "minimum": 1, "maximum": 2})
    await world.scale_by_hand(SERVER, 0)
    outcome = await world.restore()
    assert f"HorizontalPodAutoscaler/other does not scale {SERVER}: it is left alone." in outcome.summary
    assert await bounds(world, "other") == (1, 2)
    assert await world.replicas(SERVER) == [3]


async def test_a_note_leads_into_no_other_namespace_and_no_other_path(world: EmergencyWorld) -> None:
    world.usual()
    for name in ("../../other/horizontalpodautoscalers/x", "..", "a/b"):
        bad = {"name": name, "minimum": 1, "maximum": 9}
        await forge(world, SERVER, replicas=5, to=0, run="r", by="U1", at="", hpa=bad, pinned=bad)
        assert warnings(await world.plan_restore()) == [
            f"{SERVER} has 3 and a note that cannot be read: it is left as it is."
        ]


async def test_what_a_note_says_of_people_is_one_short_line(world: EmergencyWorld) -> None:
    world.usual()
    await world.scale_by_hand(SERVER, 0)
    said = "U1> <!channel>\n*Approved*\n" + "x" * 5_000
    await forge(world, SERVER, replicas=3, to=0, run=said, by=said, at=said)
    plan = await world.plan_restore()
    for finding in plan.findings:
        assert "\n" not in finding.text
        assert len(finding.text) < 600


async def test_a_workload_of_another_release_that_a_description_names_is_told(world: EmergencyWorld, api: Api) -> None:
    world.usual()
    other = deployment(world.namespace, name="other-db", replicas=1)
    api.apply({**other, "metadata": {**other["metadata"], "annotations": {"meta.helm.sh/release-name": "other"}}})
    world.components = {**world.components, "store": {"workloads": ["Deployment/other-db"]}}
    assert warnings(await world.plan_hold("store")) == [
        "Deployment/other-db belongs to the release other; the description of store names it."
    ]
    world.components = {}
    assert blockers(await world.plan_hold("store")) == ["There is no component 'store'."], "nor is it found by itself"
    assert blockers(await world.plan_hold("other-db")) == ["There is no component 'other-db'."]
