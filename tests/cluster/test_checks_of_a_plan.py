"""Each check of a plan against a real release: what it finds, what it binds the approval to, what it never shows."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from bot.engine.contract import Level
from bot.errors import Permanent
from dev.charts import BadVersion, Edit, light_values
from tests.cluster.runbook_world import World, blockers, texts, warnings


async def test_a_healthy_release_is_described_and_bound_to_its_revision(world: World) -> None:
    await world.install("0.1.0", settled=False)
    result = await world.check("helm.release")
    assert result.findings == ()
    where = f"{world.clients.cluster.server} {world.namespace}/aeterna"
    assert result.bindings == {"cluster": where, "release revision": "1 (deployed)"}
    assert dict(result.facts) == {
        "current_version": "0.1.0",
        "current_app_version": "0.1.0",
        "revision": 1,
        "status": "deployed",
        "rollback_to": {"revision": 1, "version": "0.1.0"},
        "no_database": True,
        "no_vector_store": True,
    }


async def test_no_release_is_a_blocker_with_the_way_out(world: World) -> None:
    result = await world.check("helm.release")
    assert blockers(result) == [f"There is no release `aeterna` in namespace `{world.namespace}`."]
    assert "Install it first" in result.findings[0].way_out


async def test_a_pending_release_is_a_blocker_that_says_since_when_and_how_it_ends(world: World) -> None:
    await world.install("0.1.0", settled=False)
    await world.leave_pending("pending-upgrade", description="Preparing upgrade")
    result = await world.check("helm.release")
    assert "Revision 2 is pending-upgrade since" in blockers(result)[0]
    assert "`unlock` says who may be, and ends it" in result.findings[0].way_out


async def test_a_failed_release_is_a_warning_and_the_way_back_is_the_last_good_revision(world: World) -> None:
    await world.install("0.1.0", settled=False)
    await world.leave_pending("failed", description='Upgrade "aeterna" failed: boom')
    result = await world.check("helm.release")
    assert "The newest revision 2 failed" in warnings(result)[0]
    assert result.facts["rollback_to"] == {"revision": 1, "version": "0.1.0"}


async def test_an_upgrade_is_planned_with_what_lies_between_and_its_changes(world: World) -> None:
    await world.install("0.1.0", settled=False)
    world.asking(version="0.2.1")
    plan = await world.plan("chart.version", "changelog")
    assert not blockers(plan["chart.version"])
    assert "Between 0.1.0 and 0.2.1 lie 0.2.0." in texts(plan["chart.version"], Level.INFO)
    assert len(plan["chart.version"].bindings["chart digest"]) == 64
    assert plan["chart.version"].facts["new_app_version"] == "0.2.1"
    assert plan["changelog"].facts["versions_between"] == ["0.2.0", "0.2.1"]
    (file,) = plan["changelog"].files
    assert "OPAL 0.8.0 closes a leak" in file.text
    assert file.text.index("\n0.2.1\n  source: chart annotations") < file.text.index(
        "\n0.2.0\n  source: chart annotations"
    )


async def test_breaking_changes_and_a_database_that_cannot_go_back_are_warnings(world: World) -> None:
    await world.install("0.2.1", settled=False)
    world.asking(version="0.3.0")
    result = await world.check("changelog")
    assert any("observability.logging.level" in text for text in warnings(result))
    assert any("the database cannot go back" in text for text in warnings(result))
    assert result.facts["database_reversible"] is False


async def test_a_step_without_migration_notes_is_said_plainly(world: World) -> None:
    await world.install("0.2.0", settled=False)
    world.asking(version="0.2.1")
    result = await world.check("changelog")
    assert "No migration notes found for 0.2.0 → 0.2.1." in texts(result, Level.INFO)
    assert result.facts["checklist"] == result.facts["migration_steps"] == []
    assert result.bindings == {}


@pytest.mark.parametrize(
    ("version", "said", "way_out"),
    [
        ("0.2.99", "There is no version `0.2.99`", "0.2.9"),
        ("0.2.0", "0.2.0 is what runs now.", "verify"),
        ("0.1.0", "this is a downgrade", "rollback"),
    ],
)
async def test_a_version_that_is_no_upgrade_is_a_blocker(world: World, version: str, said: str, way_out: str) -> None:
    await world.install("0.2.0", settled=False)
    world.asking(version=version)
    result = await world.check("chart.version")
    assert said in blockers(result)[0]
    assert way_out in result.findings[0].way_out


async def test_a_repository_that_is_gone_is_a_blocker_and_no_crash(world: World) -> None:
    await world.install("0.1.0", settled=False)
    await world.repository.offline()
    world.asking(version="0.2.1")
    result = await world.check("chart.version")
    assert blockers(result)[0].startswith("Fetching the chart could not be done: The chart repository")


async def test_values_are_compared_and_secrets_never_shown(world: World) -> None:
    values = {**light_values(), "redis": {"password": "tr0ub4dor"}}
    values["aeterna"]["features"] = {"radkit": True}
    await world.install("0.2.1", values, settled=False)
    file = world.directory / "prod.yaml"
    file.write_text(
        json.dumps({"redis": {"password": "c0rrect-horse"}, "llm": {"provider": "openai"}}), encoding="utf-8"
    )
    world.configure(values=[file])
    world.asking(version="0.3.0")
    result = await world.check("values.compare")
    assert any(
        "aeterna.features.radkit is set, and the new chart no longer reads it" in text for text in warnings(result)
    )
    (shown,) = result.files
    assert shown.title == "values.diff"
    secrets = re.findall(r"^([-+ ]).*password: '?\[redacted\] \((\w{8})\)'?$", shown.text, re.MULTILINE)
    assert len(dict(secrets)) == len({mark for _, mark in secrets}) == 2
    assert "+  provider: openai" in shown.text
    assert result.facts["missing_values"] == []
    assert "horse" not in repr(result)
    assert "tr0ub4dor" not in repr(result)
    assert result.bindings == {"values": result.facts["values_digest"]}


async def test_other_values_give_another_binding(world: World) -> None:
    await world.install("0.1.0", settled=False)
    world.asking(version="0.2.1")
    before = (await world.check("values.compare")).bindings
    assert (await world.check("values.compare")).bindings == before
    file = world.directory / "prod.yaml"
    file.write_text("llm: {provider: openai}\n", encoding="utf-8")
    world.configure(values=[file])
    assert (await world.check("values.compare")).bindings != before


async def test_values_that_the_new_schema_refuses_are_blockers_with_their_field(world: World) -> None:
    await world.install("0.2.1", settled=False)
    world.asking(version=BadVersion.SCHEMA_REFUSES)
    plan = await world.plan("values.compare", "manifests.dry_run", "capacity")
    assert blockers(plan["values.compare"]) == ["Values: aeterna: needs tenantSlug."]
    assert blockers(plan["manifests.dry_run"]) == blockers(plan["values.compare"])  # which the plan tells once
    (found,) = [one for one in plan["values.compare"].findings if one.level is Level.BLOCKER]
    assert (found.code, found.subject) == ("values.missing", "aeterna.tenantSlug")
    (missing,) = plan["values.compare"].facts["missing_values"]
    assert (missing["path"], missing["type"], missing["secret"]) == ("aeterna.tenantSlug", "string", False)
    assert not blockers(plan["capacity"])


async def test_a_supplied_value_makes_the_next_plan_go_on_and_binds_it(world: World) -> None:
    await world.install("0.2.1", settled=False)
    world.asking(version=BadVersion.REQUIRED_VALUE_MISSING)
    plan = await world.plan("values.compare", "manifests.dry_run")
    (missing,) = plan["values.compare"].facts["missing_values"]
    assert missing["path"] == "audit.sink"
    assert (missing["why"], missing["type"]) == ("audit.sink is required", "string")
    (said,) = blockers(plan["values.compare"])
    assert said.startswith(
        "The chart does not render: audit.sink is missing; aeterna/templates/aeterna/configmap.yaml says"
    )
    assert blockers(plan["manifests.dry_run"]) == [said]
    world.run = replace(world.run, supplied={"audit.sink": "s3://audit"})
    again = await world.plan("values.compare", "manifests.dry_run")
    assert not blockers(again["values.compare"])
    assert not blockers(again["manifests.dry_run"])
    assert again["values.compare"].bindings != plan["values.compare"].bindings
    assert "Supplied for this run (1): audit.sink." in texts(again["values.compare"], Level.INFO)
    assert "+  sink: s3://audit" in again["values.compare"].files[0].text


async def test_a_value_that_only_a_fail_or_a_nil_pointer_asks_for_is_named_too(world: World) -> None:
    await world.install("0.2.1", {**light_values(), "deploymentMode": "local"}, settled=False)
    file = world.directory / "hybrid.yaml"
    file.write_text("deploymentMode: hybrid\n", encoding="utf-8")
    world.configure(values=[file])
    world.asking(version="0.3.0")
    result = await world.check("values.compare")
    assert result.facts["missing_values"][0]["path"] == "central.url"
    assert "central.url is missing" in blockers(result)[0]
    assert "deploymentMode=hybrid requires central.url" in blockers(result)[0]
    world.configure(values=[])
    world.asking(version=BadVersion.TEMPLATES_DO_NOT_RENDER)
    result = await world.check("values.compare")
    assert result.facts["missing_values"][0]["path"] == "gateway.enabled"


async def test_a_schema_that_reaches_into_the_network_is_refused_before_helm_sees_it(world: World) -> None:
    await world.install("0.2.1", settled=False)
    address = f"{world.repository.url}/elsewhere.json"
    edit = Edit("values.schema.json", '"title": "aeterna",', f'"title": "aeterna", "allOf": [{{"$ref": "{address}"}}],')
    world.repository.add("0.2.40", edits=[edit])
    world.asking(version="0.2.40")
    plan = await world.plan("values.compare", "manifests.dry_run")
    assert "outside of the chart; that is not fetched" in blockers(plan["values.compare"])[0]
    assert blockers(plan["manifests.dry_run"]) == blockers(plan["values.compare"])
    assert not [path for path in world.repository.requests if "elsewhere" in path]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ('{{- range until 60000 }}\n# {{ repeat 1000 "x" }}\n{{- end }}\n', "printed more than"),
        ('{{- fail (repeat 100000 "long") }}\n', "The chart does not render"),
    ],
    ids=["fifty megabytes", "an endless sentence"],
)
async def test_a_template_that_grows_without_measure_is_a_blocker_of_a_readable_length(
    world: World, template: str, said: str
) -> None:
    await world.install("0.2.1", settled=False)
    service = "{{- if .Values.aeterna.enabled }}\n"
    world.repository.add("0.2.41", edits=[Edit("templates/aeterna/service.yaml", service, template + service)])
    world.asking(version="0.2.41")
    plan = await world.plan("values.compare", "manifests.dry_run")
    (found,) = blockers(plan["manifests.dry_run"])
    assert said in found
    assert len(found) < 1_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a: &a [x, x, x, x, x, x, x, x]\n"
            + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)),
            "unfolds to more than",
        ),
        ("llm: {provider: a}\nllm: {provider: b}\n", "stands twice"),
        ("- just\n- a list\n", "not a mapping"),
    ],
    ids=["a YAML bomb", "a key twice", "a list"],
)
async def test_a_values_file_that_is_no_plain_mapping_stops_the_plan_and_is_named(
    world: World, text: str, said: str
) -> None:
    await world.install("0.2.1", settled=False)
    file = world.directory / "prod.yaml"
    file.write_text(text, encoding="utf-8")
    world.configure(values=[file])
    world.asking(version="0.3.0")
    with pytest.raises(Permanent, match=said) as raised:
        await world.check("values.compare")
    assert "The values file prod.yaml" in raised.value.message


async def test_the_manifest_is_rehearsed_and_counted(world: World) -> None:
    await world.install("0.2.0", settled=False)
    world.asking(version="0.2.1")
    result = await world.check("manifests.dry_run")
    assert not blockers(result)
    assert (result.facts["objects_created"], result.facts["objects_removed"]) == (0, 0)
    assert result.facts["objects_changed"] > 0
    assert set(result.bindings) == {"manifest", "apply mode"}
    assert "terminationGracePeriodSeconds" in result.files[0].text
    assert (await world.check("manifests.dry_run")).bindings == result.bindings


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (BadVersion.TEMPLATES_DO_NOT_RENDER, "service.yaml"),
        (BadVersion.REQUIRED_VALUE_MISSING, "audit.sink is required"),
    ],
)
async def test_a_chart_that_does_not_render_is_one_blocker_with_its_template(
    world: World, version: BadVersion, said: str
) -> None:
    await world.install("0.2.1", settled=False)
    world.asking(version=version)
    result = await world.check("manifests.dry_run")
    assert len(blockers(result)) == 1
    assert said in blockers(result)[0]


async def test_refusals_of_the_api_server_are_found_before_anything_is_done(world: World) -> None:
    await world.install("0.2.1", {})
    for version, said in (
        (BadVersion.IMMUTABLE_FIELD, "StatefulSet/aeterna-qdrant"),
        (BadVersion.DATABASE_REFUSED, "Cluster/aeterna-cnpg"),
    ):
        world.asking(version=version)
        plan = await world.plan("manifests.dry_run")
        found = [text for text in blockers(plan["manifests.dry_run"]) if said in text]
        assert found, plan["manifests.dry_run"].findings
        assert len(found[0]) < 200
    world.asking(version=BadVersion.CANNOT_BE_SCHEDULED)
    assert "more than any node has" in blockers(await world.check("capacity"))[0]
    world.asking(version="0.3.0")
    assert not blockers(await world.check("manifests.dry_run"))
    assert texts(await world.check("health.now"), Level.INFO) == ["6 workloads healthy before the change."]


async def test_problems_that_are_there_already_are_warnings(world: World) -> None:
    values = light_values()
    values["aeterna"]["image"] = {"tag": "0.1.0-crash"}
    await world.install("0.1.0", values, settled=False)
    result = await world.check("health.now")
    assert warnings(result)[0].startswith("Already now: ")
    assert result.facts["healthy_before"] is False


async def test_a_rollback_names_the_newest_good_revision_and_refuses_one_that_is_not_there(world: World) -> None:
    await world.install("0.1.0", settled=False)
    await world.install("0.2.0", settled=False)
    world.asking("rollback", revision=None)
    result = await world.check("rollback.target")
    assert not blockers(result)
    assert (result.facts["target_revision"], result.facts["new_version"]) == (1, "0.1.0")
    assert result.bindings["release revision"] == "2 (deployed)"
    assert result.bindings["target revision"] == "1"
    world.asking("rollback", revision=7)
    missing = await world.check("rollback.target")
    assert blockers(missing) == ["There is no revision 7."]
    assert "1 (0.1.0)" in missing.findings[0].way_out
    world.asking("rollback", revision=2)
    assert blockers(await world.check("rollback.target")) == ["Revision 2 is what runs now."]


async def test_a_rollback_out_of_a_pending_release_is_allowed_with_a_warning(world: World) -> None:
    await world.install("0.1.0", settled=False)
    await world.leave_pending("pending-upgrade")
    world.asking("rollback", revision=None)
    result = await world.check("rollback.target")
    assert not blockers(result)
    assert any("pending-upgrade" in text for text in warnings(result))
    assert result.facts["target_revision"] == 1


async def test_a_first_release_has_nothing_to_go_back_to(world: World) -> None:
    await world.install("0.1.0", settled=False)
    world.asking("rollback", revision=None)
    assert "no good revision" in blockers(await world.check("rollback.target"))[0]
