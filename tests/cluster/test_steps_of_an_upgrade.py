"""The step kinds of an upgrade on a real release, and what each says when it goes wrong or was cut off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from bot.engine.contract import Done, NotStarted, Unknown
from bot.errors import BotError, Permanent, Refused
from dev.charts import BadVersion, light_values
from dev.standins import StandinControl, Standins
from runbooks import orphans, revisions
from tests.cluster.runbook_world import World

PLANNED = ("helm.release", "chart.version", "values.compare")


@pytest.fixture
async def control(standins: Standins) -> AsyncIterator[StandinControl]:
    async with StandinControl(standins.control_url) as control:
        yield control


def _text(error: BotError) -> str:
    return "\n".join([str(error), *(f"{piece.title}\n{piece.text}" for piece in error.evidence)])


async def test_an_upgrade_is_done_step_by_step_and_proven_healthy(world: World, control: StandinControl) -> None:
    await world.install("0.1.0", {})
    world.configure(database={"kind": "cnpg"}, vector_store={"kind": "qdrant"})
    world.asking(version="0.2.1")
    plan = await world.facts(*PLANNED)
    context = world.context(plan)
    backup = await world.do("postgres.backup", context)
    assert backup.summary.startswith(f"Backup aeterna-bot-{world.run.id} of aeterna-cnpg completed")
    assert backup.facts["backup_id"]
    snapshot = await world.do("qdrant.snapshot", context)
    assert snapshot.summary.startswith("1 snapshot of Qdrant made and verified")
    baseline = await world.do("verify.baseline", context)
    assert baseline.summary.startswith("Healthy before the change: 6 of 6 workloads")
    upgrade = await world.do("helm.upgrade", context)
    assert upgrade.summary == "Revision 2 deployed: from 0.1.0 to 0.2.1."
    rollout = await world.do("rollout.watch", context)
    assert rollout.summary.startswith("6 workloads rolled out")
    tested = await world.do("helm.test", context)
    assert tested.summary.startswith("2 tests passed: aeterna-test")
    assert tested.evidence
    context = world.context(plan, {"backup": backup.facts, "baseline": baseline.facts})
    verified = await world.do("verify.release", context)
    assert verified.summary.startswith("Healthy: 6 of 6 workloads, 2 of 2 servers ready at 0.2.1")
    lines = verified.evidence[0].text
    assert "now   server version: 0.1.0 → 0.2.1" in lines
    assert "ok    memory: memory added, found and deleted in layer project" in lines
    assert {section["title"] for section in verified.facts["report"]} >= {
        "Workloads",
        "Servers",
        "Against the baseline",
    }
    assert await control.memories(world.namespace) == []
    newest = (await world.history())[-1]
    assert newest.description == f"aeterna-bot run {world.run.id}: upgrade to 0.2.1"
    assert newest.labels == {revisions.LABEL: f"{world.run.id}.1"}


# --- backups


async def test_a_target_whose_database_is_not_there_is_told_how_to_say_so(world: World) -> None:
    world.configure(database={"kind": "cnpg"})
    with pytest.raises(Permanent, match="no CloudNativePG cluster") as raised:
        await world.do("postgres.backup")
    assert "database: {kind: none}" in raised.value.way_out


async def test_a_failed_backup_tells_the_operators_words_and_is_made_under_another_name_next_time(world: World) -> None:
    world.configure(database={"kind": "cnpg", "cluster": "aeterna-broken"})
    spec = {"instances": 1, "storage": {"size": "1Gi"}}
    meta = {"name": "aeterna-broken", "namespace": world.namespace}
    await world.clients.cluster.create(
        {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": meta, "spec": spec}
    )
    with pytest.raises(Permanent, match="failed"):
        await world.do("postgres.backup")
    intent = await world.intent("postgres.backup", world.context())
    assert intent["backup"] == f"aeterna-bot-{world.run.id}-2"


async def test_a_backup_is_reconciled_by_what_is_there_and_never_made_twice(world: World) -> None:
    await world.install("0.1.0", {}, settled=False)
    world.configure(database={"kind": "cnpg"})
    context = world.context()
    intent = await world.intent("postgres.backup", context)
    assert isinstance(await world.reconcile("postgres.backup", context, intent), NotStarted)
    await world.do("postgres.backup", context)
    found = await world.reconcile("postgres.backup", context, intent)
    assert isinstance(found, Done)
    assert found.outcome.facts["backup"] == intent["backup"]
    await world.do("postgres.backup", context)
    assert len(await world.clients.cluster.list("postgresql.cnpg.io/v1", "Backup", world.namespace)) == 1


async def test_a_snapshot_is_reconciled_by_what_is_there_and_never_made_twice(
    world: World, control: StandinControl
) -> None:
    values = {**light_values(), "qdrant": {"enabled": True}}
    await world.install("0.1.0", values)
    world.configure(vector_store={"kind": "qdrant"})
    context, kind = world.context(), world.kind("qdrant.snapshot")
    params = kind.params.model_validate({})
    intent = await world.intent("qdrant.snapshot", context)
    assert isinstance(await world.reconcile("qdrant.snapshot", context, intent), NotStarted)
    await kind.run(context, params, intent)
    assert isinstance(await world.reconcile("qdrant.snapshot", context, intent), Done)
    await kind.run(context, params, intent)
    assert len(await control.snapshots(world.namespace)) == 1
    await control.switch(world.namespace, qdrant="failing")
    with pytest.raises(BotError, match="Qdrant"):
        await world.do("qdrant.snapshot", context)


async def test_a_vector_store_that_is_not_there_is_told_how_to_say_so(world: World) -> None:
    world.configure(vector_store={"kind": "qdrant"})
    with pytest.raises(Permanent, match="no Service aeterna-qdrant") as raised:
        await world.do("qdrant.snapshot")
    assert "vector_store: {kind: none}" in raised.value.way_out


# --- helm upgrade


async def test_values_that_changed_after_the_approval_are_refused(world: World) -> None:
    await world.install("0.1.0", settled=False)
    world.asking(version="0.2.1")
    plan = await world.facts(*PLANNED)
    file = world.directory / "prod.yaml"
    file.write_text("llm: {provider: openai}\n", encoding="utf-8")
    world.configure(values=[file])
    with pytest.raises(Refused, match="values changed since the plan was approved"):
        await world.do("helm.upgrade", world.context(plan))
    assert await world.statuses() == ["deployed"]


async def test_a_chart_that_changed_after_the_approval_is_refused(world: World) -> None:
    await world.install("0.1.0", settled=False)
    world.asking(version="0.2.1")
    plan = await world.facts(*PLANNED)
    with pytest.raises(Refused, match="chart changed since the plan was approved"):
        await world.do("helm.upgrade", world.context({**plan, "chart_digest": "0" * 64}))
    assert await world.statuses() == ["deployed"]


async def test_the_approved_chart_is_used_even_when_its_repository_is_gone(world: World) -> None:
    await world.install("0.1.0", settled=False)
    world.asking(version="0.2.1")
    plan = await world.facts(*PLANNED)
    await world.repository.offline()
    assert (await world.do("helm.upgrade", world.context(plan))).facts["version"] == "0.2.1"


async def test_a_helm_that_outlived_its_bot_is_waited_for(world: World) -> None:
    await world.install("0.1.0", settled=False)
    await world.leave_pending("pending-upgrade")
    looks = iter([True, True, False])
    history = await orphans.settled(
        world.context(), {"host": orphans.here()}, at_work=lambda release, namespace: next(looks)
    )
    assert orphans.cut_off(history) is not None
    assert world.said == ["Revision 2 is pending-upgrade; waiting for Helm to end."] * 2


async def test_a_hook_that_fails_is_shown_with_its_log_and_the_way_back(world: World) -> None:
    values = {**light_values(), "migration": {"enabled": True}}
    await world.install("0.2.1", values)
    world.asking(version=BadVersion.HOOK_FAILS)
    context = world.context(await world.facts("helm.release", "chart.version"))
    intent = await world.intent("helm.upgrade", context)
    with pytest.raises(BotError, match="hook") as raised:
        await world.do("helm.upgrade", context)
    assert (
        "roll back to revision 1 (0.2.1)" in raised.value.way_out
        or "go back to revision 1 (0.2.1)" in raised.value.way_out
    )
    assert "Last log lines of aeterna-migration" in _text(raised.value)
    assert await world.statuses() == ["deployed", "failed"]
    unclear = await world.reconcile("helm.upgrade", context, intent)
    assert isinstance(unclear, Unknown)
    assert "Revision 2, made by this run, is failed" in unclear.why


async def test_a_hook_that_cannot_mend_itself_is_not_waited_for_to_the_end(world: World) -> None:
    values = {**light_values(), "migration": {"enabled": True}}
    await world.install("0.2.1", values)
    world.asking(version=BadVersion.IMAGE_CANNOT_BE_PULLED)
    context = world.context(await world.facts("helm.release", "chart.version"))
    with pytest.raises(
        Permanent, match=r"Job/aeterna-migration is stuck and will not mend itself: Image .* cannot be pulled"
    ):
        await world.do("helm.upgrade", context, hook_timeout="150s", give_up_after="1s")
    assert await world.statuses() == ["deployed", "failed"]


async def test_an_upgrade_is_reconciled_by_the_newest_revision(world: World) -> None:
    await world.install("0.1.0", settled=False)
    world.asking(version="0.2.1")
    context = world.context(await world.facts(*PLANNED))
    intent = await world.intent("helm.upgrade", context)
    assert isinstance(await world.reconcile("helm.upgrade", context, intent), NotStarted)
    await world.do("helm.upgrade", context)
    done = await world.reconcile("helm.upgrade", context, intent)
    assert isinstance(done, Done)
    assert done.outcome.facts == {"revision": 2, "version": "0.2.1", "app_version": "0.2.1"}
    await world.install("0.3.0", settled=False, description="by hand")
    unclear = await world.reconcile("helm.upgrade", context, intent)
    assert isinstance(unclear, Unknown)
    assert "This run made revision 2; then something else happened. Revision 3 (0.3.0, deployed)" in unclear.why


async def test_somebody_elses_revision_is_never_taken_for_ours(world: World) -> None:
    await world.install("0.1.0", settled=False)
    world.asking(version="0.2.1")
    context = world.context(await world.facts(*PLANNED))
    intent = await world.intent("helm.upgrade", context)
    await world.install("0.2.0", settled=False, description="by hand")
    unclear = await world.reconcile("helm.upgrade", context, intent)
    assert isinstance(unclear, Unknown)
    assert "made by somebody else" in unclear.why
    assert "by hand" in unclear.evidence[0].text


async def test_an_upgrade_of_ours_that_was_cut_off_is_repaired_before_it_is_done_again(world: World) -> None:
    await world.install("0.1.0", settled=False)
    world.asking(version="0.2.1")
    context = world.context(await world.facts(*PLANNED))
    intent = await world.intent("helm.upgrade", context)
    await world.leave_pending("pending-upgrade", labels=revisions.labels(world.run, 1))
    assert isinstance(await world.reconcile("helm.upgrade", context, intent), NotStarted)
    outcome = await world.do("helm.upgrade", context)
    assert outcome.warning
    assert "Revision 2 had been cut off and was repaired by going back to 1 first" in outcome.summary
    assert (await world.statuses())[-2:] == ["superseded", "deployed"]
    assert (await world.history())[-1].chart.version == "0.2.1"


async def test_a_bot_that_died_after_the_repair_does_not_take_it_for_the_upgrade(world: World) -> None:
    await world.install("0.1.0", settled=False)
    world.asking(version="0.2.1")
    context = world.context(await world.facts(*PLANNED))
    await world.leave_pending("pending-upgrade", labels=revisions.labels(world.run, 1))
    intent = await world.intent("helm.upgrade", context)
    await world.clients.helm.rollback(
        release="aeterna",
        namespace=world.namespace,
        revision=1,
        timeout=timedelta(minutes=1),
        description=revisions.mark(world.run, "rollback to 1 after a cut-off upgrade"),
    )
    assert isinstance(await world.reconcile("helm.upgrade", context, intent), NotStarted)
    await world.do("helm.upgrade", context)
    assert (await world.history())[-1].chart.version == "0.2.1"


async def test_a_step_that_slept_while_another_replica_did_it_changes_nothing(world: World) -> None:
    await world.install("0.1.0", settled=False)
    world.asking(version="0.2.1")
    context = world.context(await world.facts(*PLANNED))
    kind = world.kind("helm.upgrade")
    params = kind.params.model_validate({})
    intent = await world.intent("helm.upgrade", context)
    await world.do("helm.upgrade", context)
    with pytest.raises(Refused, match=r"Revision 2 \(deployed\) has come since this step began"):
        await kind.run(context, params, intent)
    assert await world.statuses() == ["superseded", "deployed"]


async def test_somebody_elses_pending_revision_is_left_alone(world: World) -> None:
    await world.install("0.1.0", settled=False)
    world.asking(version="0.2.1")
    context = world.context(await world.facts(*PLANNED))
    await world.leave_pending("pending-upgrade", description="Preparing upgrade")
    with pytest.raises(Refused, match="somebody else is at work"):
        await world.do("helm.upgrade", context)
    assert await world.statuses() == ["deployed", "pending-upgrade"]


async def test_a_cancelled_upgrade_leaves_a_release_that_can_be_read(world: World) -> None:
    values = {**light_values(), "migration": {"enabled": True}}
    await world.install("0.2.1", values)
    world.asking(version="0.3.0")
    context = world.context(await world.facts(*PLANNED))
    intent = await world.intent("helm.upgrade", context)
    task = asyncio.create_task(world.do("helm.upgrade", context))
    await world.until_said("creating upgraded release")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    found = await world.reconcile("helm.upgrade", context, intent)
    last = (await world.statuses())[-1]
    assert (type(found), last) in ((Unknown, "failed"), (Done, "deployed"))


# --- rollout, test, verify


async def test_a_rollout_that_cannot_arrive_says_why(world: World) -> None:
    for version, said in (
        (BadVersion.IMAGE_CANNOT_BE_PULLED, "cannot be pulled"),
        (BadVersion.PODS_CRASH, "crashes"),
    ):
        await world.install(version, settled=False)
        world.asking(version=version)
        context = world.context({"rollback_to": {"revision": 1, "version": "0.2.1"}})
        with pytest.raises(Permanent, match=said) as raised:
            await world.do("rollout.watch", context, give_up_after="1s", deadline="30s")
        assert raised.value.way_out.endswith("roll back to revision 1 (0.2.1).")
        assert "Events of Deployment/aeterna and its pods" in _text(raised.value)
        titles = [piece.text for piece in raised.value.evidence]
        assert len(titles) == len(set(titles))


async def test_a_failing_chart_test_is_shown_with_its_log(world: World) -> None:
    await world.install(BadVersion.TEST_FAILS)
    with pytest.raises(Permanent, match=r"aeterna-test.* failed") as raised:
        await world.do("helm.test", test_timeout="20s")
    assert "Log of aeterna-test" in _text(raised.value)
    assert isinstance(await world.reconcile("helm.test", world.context(), {}), NotStarted)


@pytest.mark.parametrize(
    ("switches", "said"),
    [
        ({"not_ready": True}, "postgres"),
        ({"version": "9.9.9"}, "says 9.9.9, expected 0.2.1"),
        ({"metrics": "absent"}, "metrics"),
        ({"metrics": "frozen"}, "http_requests_total: does not move."),
    ],
)
async def test_a_release_that_only_looks_healthy_is_found_out(
    world: World, control: StandinControl, switches: dict[str, object], said: str
) -> None:
    await world.install("0.2.1")
    await control.switch(world.namespace, **switches)
    with pytest.raises(Permanent, match="The release is not healthy") as raised:
        await world.do("verify.release", world.context({"new_app_version": "v0.2.1"}), patience="0s")
    assert said in raised.value.message
    assert "FAIL" in raised.value.evidence[0].text


async def test_unwired_memory_is_a_failure_only_if_it_worked_before(world: World, control: StandinControl) -> None:
    await world.install("0.2.1")
    worked = await world.do("verify.baseline")
    await control.switch(world.namespace, memory="unwired")
    unwired = await world.do("verify.baseline")
    with pytest.raises(Permanent, match="reached, but memory backend unwired"):
        await world.do("verify.release", world.context({}, {"baseline": worked.facts}), patience="0s")
    outcome = await world.do("verify.release", world.context({}, {"baseline": unwired.facts}), patience="0s")
    assert outcome.warning
    assert "reached, but memory backend unwired" in outcome.summary


async def test_a_server_that_gets_ready_a_moment_later_is_waited_for(world: World, control: StandinControl) -> None:
    await world.install("0.2.1")
    await control.switch(world.namespace, not_ready=True)

    async def mend() -> None:
        await world.until_said("Not healthy yet")
        await control.switch(world.namespace, not_ready=False)

    mending = asyncio.create_task(mend())
    outcome = await world.do("verify.release", patience=timedelta(seconds=20))
    await mending
    assert outcome.summary.startswith("Healthy")
