"""What a plan says of the release and the cluster as they are before the change, and of what a rollback would not undo."""

from __future__ import annotations

from bot.engine.contract import Level
from bot.kube.cluster import STRATEGIC_PATCH
from bot.kube.objects import ObjectRef
from dev.charts import Edit, light_values
from tests.cluster.runbook_world import RELEASE, World, blockers, texts


async def test_a_rollout_that_is_under_way_is_told_before_another_begins(world: World) -> None:
    await world.install("0.2.0", light_values())
    server = ObjectRef("apps/v1", "Deployment", RELEASE, world.namespace)
    found = await world.clients.cluster.get_ref(server)
    assert found is not None
    container = found["spec"]["template"]["spec"]["containers"][0]["name"]
    image = {"name": container, "image": "somebody/else:1-no-such-image"}
    body = {"spec": {"template": {"spec": {"containers": [image]}}}}
    await world.clients.cluster.patch(server, body, STRATEGIC_PATCH)
    result = await world.check("health.now")
    (one,) = result.findings
    assert (one.level, one.code, one.subject) == (Level.WARNING, "health.rollout", f"Deployment/{RELEASE}")
    assert f"Already now: Deployment/{RELEASE} is in the middle of a rollout." in one.text
    assert "before another change" in one.way_out
    assert result.facts["healthy_before"] is False


async def test_the_migration_job_of_the_manifest_is_named_with_what_it_runs_and_that_it_stays(world: World) -> None:
    values = {**light_values(), "migration": {"enabled": True}}
    await world.install("0.2.0", values)
    world.asking(version="0.2.1")
    result = await world.check("migrations")
    (one,) = result.findings
    assert (one.level, one.code, one.subject) == (Level.INFO, "migration.job", f"Job/{RELEASE}-migration")
    assert f"Job/{RELEASE}-migration runs after the upgrade: `/usr/local/bin/aeterna admin migrate up` in " in one.text
    assert "A rollback does not take back what it changes in the database." in one.text
    assert result.facts["migrations"] == [f"Job/{RELEASE}-migration"]
    world.configure(values=[])
    await world.install("0.2.0", light_values(), settled=False)
    assert (await world.check("migrations")).facts["migrations"] == []


async def test_an_autoscaler_in_a_cluster_without_metrics_is_said_and_stops_nothing(world: World) -> None:
    await world.install("0.2.0", light_values(), settled=False)
    file = world.directory / "scaled.yaml"
    file.write_text("aeterna: {autoscaling: {enabled: true}}\n", encoding="utf-8")
    world.configure(values=[file])
    world.asking(version="0.2.1")
    result = await world.check("capacity")
    (one,) = [one for one in result.findings if one.code == "capacity.metrics"]
    assert (one.level, one.subject) == (Level.WARNING, f"HorizontalPodAutoscaler/{RELEASE}")
    assert "serves no metrics.k8s.io: it would not scale" in one.text
    assert not blockers(result)


async def test_a_manifest_of_five_megabytes_is_planned_whole_and_told_in_few_words(world: World) -> None:
    await world.install("0.2.1", light_values(), settled=False)
    service = "{{- if .Values.aeterna.enabled }}\n"
    many = (
        '{{- range until 20 }}\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: "big-{{ . }}"}\n'
        'data: {text: "{{ repeat 262144 (printf "%d" .) | trunc 262144 }}"}\n---\n{{- end }}\n'
    )
    world.repository.add("0.2.60", edits=[Edit("templates/aeterna/service.yaml", service, many + service)])
    world.asking(version="0.2.60")
    plan = await world.plan("manifests.dry_run", "data.loss", "api.versions", "capacity")
    result = plan["manifests.dry_run"]
    assert [blockers(one) for one in plan.values()] == [[], [], [], []]
    assert result.facts["objects_created"] == 20
    assert all(len(finding.text) < 1_000 for one in plan.values() for finding in one.findings)
    assert any("20 created" in text for text in texts(result, Level.INFO))
    (file,) = result.files
    assert "big-19" in file.text
