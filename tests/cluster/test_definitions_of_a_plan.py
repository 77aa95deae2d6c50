"""What a plan says of custom resource definitions that Helm leaves alone, of what a chart draws anew, and of its subcharts."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.engine.contract import CheckResult, Finding, Level
from bot.kube import Cluster, ObjectRef
from dev.charts import CHART, BadVersion, light_values
from dev.controlplane import Running, user_kubeconfig
from dev.toolchain import Toolchain
from tests.cluster.runbook_world import RELEASE, World, blockers, texts, warnings, world_of

SNAPSHOTS = "layersnapshots.aeterna.example"
DEFINITION = ObjectRef("apiextensions.k8s.io/v1", "CustomResourceDefinition", SNAPSHOTS)
SNAPSHOT = """\
apiVersion: aeterna.example/v1alpha1
kind: LayerSnapshot
metadata: {name: nightly}
spec: {layer: LAYER, path: /a}
"""


def coded(result: CheckResult, code: str) -> list[Finding]:
    return [one for one in result.findings if one.code == code]


async def typed(command: str, *, control_plane: Running, toolchain: Toolchain, home: Path) -> None:
    """What a person would type, with the programs of the throwaway world."""
    folders = {str(toolchain.path(name).parent) for name in ("helm", "kubectl")}
    environ = {
        **os.environ,
        "PATH": os.pathsep.join([*folders, os.environ.get("PATH", "")]),
        "KUBECONFIG": str(control_plane.kubeconfig),
        "HOME": str(home),
    }
    process = await asyncio.create_subprocess_exec(
        "bash", "-o", "pipefail", "-c", command, env=environ, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()


async def test_definitions_that_helm_leaves_alone_are_named_with_the_command_that_applies_them(
    world: World, control_plane: Running, toolchain: Toolchain, tmp_path: Path
) -> None:
    cluster = world.clients.cluster
    await world.install("0.2.1", settled=False)
    world.asking(version="0.2.0")
    assert (await world.check("crds")).findings == (), "a chart without definitions has nothing to be told"
    try:
        world.asking(version=BadVersion.DEFINITION_IN_FOLDER)
        missing = await world.check("crds")
        (behind,) = coded(missing, "crds.behind")
        assert behind.text == (f"Helm does not upgrade a chart's crds/ folder: {SNAPSHOTS} is not in the cluster.")
        command = behind.way_out.partition("`")[2].rstrip("`.")
        assert command.startswith(f"helm show crds {CHART} --repo http://127.0.0.1:")
        assert "| kubectl apply --server-side --force-conflicts -f -" in command
        await typed(command, control_plane=control_plane, toolchain=toolchain, home=tmp_path)
        there = await world.check("crds")
        assert texts(there, Level.INFO) == ["Custom resource definitions: 1 definition, none of which changes."]
        assert (warnings(there), there.facts["definitions_behind"]) == ([], [])

        await world.install(BadVersion.DEFINITION_IN_FOLDER, settled=False)
        meta = {"name": "nightly", "namespace": world.namespace}
        kind = {"apiVersion": "aeterna.example/v1alpha1", "kind": "LayerSnapshot"}
        await cluster.create({**kind, "metadata": meta, "spec": {"layer": "team", "path": "/a"}})
        world.asking(version=BadVersion.STORED_VERSION_GOES)
        result = await world.check("crds")
        await _tells_of_the_version_that_goes(world, result)

        config = user_kubeconfig(control_plane.kubeconfig, tmp_path / "nobody", user="nobody")
        async with await Cluster.connect(kubeconfig=config, context=None) as nobody:
            known = world.clients
            world.clients = replace(known, cluster=nobody)
            blind = await world.check("crds")
            world.clients = known
        assert coded(blind, "unseen")[0].text.startswith("Could not look at CustomResourceDefinition objects: ")
        assert "could not be read" in coded(blind, "crds.behind")[0].text, "the two charts can still be compared"
    finally:
        await cluster.delete(DEFINITION)


async def _tells_of_the_version_that_goes(world: World, result: CheckResult) -> None:
    (stored,) = (one for one in result.findings if one.level is Level.BLOCKER)
    assert (stored.code, stored.subject) == ("crds.stored", SNAPSHOTS)
    assert "version v1alpha1 goes, and objects may be stored in it" in stored.text
    assert f"1 known: {world.namespace}/nightly" in stored.text
    assert "No version is served by both" in stored.way_out
    (field,) = coded(result, "crds.field")
    assert "v1alpha1 → v1: spec.path is gone" in field.text
    assert f"set by {world.namespace}/nightly" in field.text
    (behind,) = coded(result, "crds.behind")
    assert f"{SNAPSHOTS} in the cluster lacks version v1" in behind.text
    assert behind.way_out.startswith(
        "Before the upgrade, once the objects are stored in another version: `helm show crds"
    )
    assert result.facts["definitions_behind"] == [SNAPSHOTS]
    (file,) = result.files
    assert file.title == "crds.diff"
    assert "v1alpha1: old chart serves it, cluster serves it, new chart does not know it; objects may be" in file.text


async def test_a_field_that_its_definition_freezes_is_named_before_the_upgrade(world: World) -> None:
    """The definition is among the templates here, under a group of this test's own."""
    group = f"{world.namespace}.example"
    table = _definition(group)
    snapshot = f"{{{{ if .Values.snapshot }}}}{SNAPSHOT}{{{{ end }}}}".replace("aeterna.example", group)
    for version, layer in (("8.0.1", "team"), ("8.0.2", "company")):
        files = {"templates/crd.yaml": table, "templates/snapshot.yaml": snapshot.replace("LAYER", layer)}
        world.repository.add(version, base="0.2.1", add=files)
    await world.install("8.0.1", settled=False)
    await world.install("8.0.1", {**light_values(), "snapshot": True}, settled=False)
    world.asking(version="8.0.2")
    result = await world.check("manifests.dry_run")
    assert any("LayerSnapshot/nightly" in text for text in blockers(result)), "the API server refuses it too"
    diff = next(file.text for file in result.files if file.title == "manifests.diff")
    assert '#   spec.layer: "team" → "company" (cannot be changed in place)' in diff
    assert texts(await world.check("crds"), Level.INFO) == [
        "Custom resource definitions: 1 definition, none of which changes."
    ]


def _definition(group: str) -> str:
    return f"""\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: layersnapshots.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: LayerSnapshot, listKind: LayerSnapshotList, plural: layersnapshots, singular: layersnapshot}}
  versions:
    - name: v1alpha1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              properties:
                layer: {{type: string, x-kubernetes-validations: [{{rule: self == oldSelf}}]}}
                path: {{type: string}}
"""


async def _bound(world: World) -> str:
    return str((await world.check("manifests.dry_run")).bindings["manifest"])


async def test_a_chart_that_draws_a_password_does_not_void_its_own_approval(world: World) -> None:
    await world.install("0.2.1", settled=False)
    world.asking(version=BadVersion.PASSWORD_DRAWN_ANEW)
    first = await world.check("manifests.dry_run")
    assert (await _bound(world)) == first.bindings["manifest"]
    assert not coded(first, "secrets.renewed"), "there is no password yet that it would replace"

    await world.install(BadVersion.PASSWORD_DRAWN_ANEW, settled=False)
    result = await world.check("manifests.dry_run")
    assert (await _bound(world)) == result.bindings["manifest"]
    (renewed,) = coded(result, "secrets.renewed")
    assert renewed.level is Level.WARNING
    assert renewed.text.startswith(
        f"Secret/{RELEASE}-session: the upgrade replaces key, because the chart draws it anew"
    )
    assert "Generated anew at every rendering: 1 value of 1 object." in texts(result, Level.INFO)
    assert result.facts["objects_changed"] == 0

    await world.install("0.2.1", settled=False)
    world.repository.add("0.2.20", base=BadVersion.PASSWORD_DRAWN_ANEW, add={"templates/more.yaml": MORE})
    world.asking(version="0.2.20")
    assert (await _bound(world)) != first.bindings["manifest"], "what is not drawn still counts"


async def test_only_a_chart_that_draws_something_new_is_rendered_twice(
    cluster: Cluster, control_plane: Running, helm_program: Path, namespace: str, tmp_path: Path
) -> None:
    log, program = tmp_path / "calls", tmp_path / "counting-helm"
    program.write_text(f'#!/bin/sh\necho "$*" >> {log}\nexec {helm_program} "$@"\n', encoding="utf-8")
    program.chmod(0o755)

    async def renderings(world: World, version: str) -> int:
        log.write_text("", encoding="utf-8")
        world.asking(version=version)
        await world.check("manifests.dry_run")
        return sum("--dry-run=server" in line for line in log.read_text(encoding="utf-8").splitlines())

    async with world_of(
        cluster=cluster, control_plane=control_plane, helm_program=program, namespace=namespace, directory=tmp_path
    ) as world:
        await world.install("0.2.0", {}, settled=False)
        assert await renderings(world, "0.2.1") == 1, "its Secret is looked up, and so is as it was"
        assert await renderings(world, BadVersion.PASSWORD_DRAWN_ANEW) == 2


MORE = """\
apiVersion: v1
kind: Secret
metadata: {name: more}
stringData: {fixed: one}
"""


async def test_what_a_packed_subchart_demands_is_named_and_may_be_supplied(world: World) -> None:
    await world.install("0.2.1", settled=False)
    world.asking(version=BadVersion.SUBCHART_DEMANDS)
    result = await world.check("values.compare")
    (found,) = coded(result, "values.missing")
    assert found.subject == "mail.relayHost"
    assert "charts/mail/templates/config.yaml says: mail.relayHost must name the relay" in found.text
    (asked,) = result.facts["missing_values"]
    assert (asked["path"], asked["type"]) == ("mail.relayHost", "string")
    _supply(world, **{"mail.relayHost": "relay.example"})
    assert not blockers(await world.check("values.compare"))
    _supply(world, **{"mail.relayHost": "relay.example", "mail.port": 0})
    assert blockers(await world.check("values.compare")) == ["Values: mail.port: breaks the rule minimum: 1."]
    _supply(world, **{"mail.enabled": False, "mail.gone": 1})
    assert not blockers(await world.check("values.compare")), "a subchart that is off demands nothing"

    _supply(world)
    await world.install(BadVersion.SUBCHART_DEMANDS, {**light_values(), "mail": {"relayHost": "r"}}, settled=False)
    again = await world.check("values.compare")
    assert (again.facts["values_changed"], [file.text for file in again.files]) == (0, []), (
        "Helm keeps a subchart's defaults with the release"
    )


def _supply(world: World, **supplied: Any) -> None:
    world.run = replace(world.run, supplied=supplied)


async def test_a_subchart_whose_schema_leads_to_the_network_is_refused(world: World) -> None:
    await world.install("0.2.1", settled=False)
    world.asking(version=BadVersion.SUBCHART_LEADS_OUTSIDE)
    (found,) = blockers(await world.check("values.compare"))
    assert found.startswith(
        "The schema of charts/mail refers to http://schemas.example/port.json, outside of the chart"
    )
