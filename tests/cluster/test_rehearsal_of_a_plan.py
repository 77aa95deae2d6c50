"""The dry run of a plan against the real API server: each refusal names object, field, reason and way out, once."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from bot.engine.contract import Finding, Level
from bot.helm.failures import ManifestRefused
from bot.helm.flags import Wait
from bot.kube.objects import Json
from dev.charts import BadVersion, Edit, light_values
from dev.controlplane import Api
from dev.controlplane.api import ApiError
from dev.controlplane.certificates import Authority
from tests.cluster.runbook_world import MINUTE, RELEASE, World, blockers

SERVICE = "{{- if .Values.aeterna.enabled }}\n"
BY_HAND = "kubectl-edit"
INGRESS = {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}


def with_objects(world: World, *documents: Json) -> None:
    """A version of the chart with these objects more, and somebody asks for it."""
    text = "".join(f"{json.dumps(one)}\n---\n" for one in documents)
    world.repository.add("0.2.50", edits=[Edit("templates/aeterna/service.yaml", SERVICE, text + SERVICE)])
    world.asking(version="0.2.50")


def obj(
    api_version: str, kind: str, name: str = "more", *, hook: str = "", namespace: str = "", **parts: object
) -> Json:
    meta: Json = {"name": name} | ({"namespace": namespace} if namespace else {})
    meta |= {"annotations": {"helm.sh/hook": hook}} if hook else {}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **parts}


async def rehearsed(world: World) -> list[Finding]:
    """What the dry run found against objects."""
    result = await world.check("manifests.dry_run")
    return [one for one in result.findings if one.code.startswith(("dry_run.", "api.", "unseen"))]


def told(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(one.level.value, one.code, one.subject) for one in findings]


async def upgraded(world: World, version: str, *, server_side: Literal["true", "false"]) -> None:
    """By Helm itself, with the chart's defaults."""
    chart = await world.clients.repository.pull(version, world.clients.charts)
    file = world.directory / "none.json"
    file.write_text("{}", encoding="utf-8")
    await world.clients.helm.upgrade(
        release=RELEASE,
        namespace=world.namespace,
        chart=chart.path,
        values=file,
        timeout=MINUTE,
        wait=Wait.HOOKS_ONLY,
        server_side=server_side,
    )


@pytest.mark.parametrize("mode", ["true", "false"])
async def test_a_field_that_cannot_change_is_one_blocker_with_object_field_reason_and_way_out(
    world: World, mode: str
) -> None:
    await world.install("0.2.1", {}, settled=False)
    world.configure(server_side_apply=mode)
    world.asking(version=BadVersion.IMMUTABLE_FIELD)
    result = await world.check("manifests.dry_run")
    (found,) = [one for one in result.findings if one.subject == "StatefulSet/aeterna-qdrant"]
    assert (found.level, found.code) == (Level.BLOCKER, "dry_run.immutable")
    assert found.text == "StatefulSet/aeterna-qdrant: spec.volumeClaimTemplates: Invalid value: field is immutable."
    assert found.way_out == "Keep its old value, or plan to delete the object and create it again."


async def test_a_database_that_server_side_apply_refuses_says_what_differs_and_what_client_side_apply_would_do(
    world: World,
) -> None:
    await world.install("0.2.1", {}, settled=False)
    world.asking(version=BadVersion.DATABASE_REFUSED)
    world.configure(server_side_apply="true")
    (found,) = await rehearsed(world)
    assert told([found]) == [("blocker", "dry_run.schema", "Cluster/aeterna-cnpg")]
    assert ".spec.backup.barmanObjectStore.s3: field not declared in schema." in found.text
    assert "Client-side apply" in found.way_out
    assert "would drop it with a warning" in found.way_out
    world.configure(server_side_apply="false")
    (found,) = await rehearsed(world)
    assert told([found]) == [("warning", "dry_run.dropped", "Cluster/aeterna-cnpg")]
    assert "spec.backup.barmanObjectStore.s3 is not declared in the schema: the API server would drop it" in found.text
    await upgraded(world, BadVersion.DATABASE_REFUSED, server_side="false")  # and that is what Helm really does
    live = await world.clients.cluster.get("postgresql.cnpg.io/v1", "Cluster", "aeterna-cnpg", world.namespace)
    assert live is not None
    assert live["spec"]["backup"]["barmanObjectStore"] == {"destinationPath": "s3://aeterna/postgres"}


async def test_kinds_that_the_cluster_does_not_know_are_told_alike_by_every_check_and_hide_nothing_else(
    world: World,
) -> None:
    await world.install("0.2.1", light_values(), settled=False)
    with_objects(
        world,
        obj("example.com/v1", "Foo"),
        obj("example.com/v1", "Foo", "hook", hook="pre-upgrade"),
        obj("v1", "ConfigMap", datum={"a": "1"}),
    )
    plan = await world.plan("manifests.dry_run", "api.versions", "data.loss", "capacity")
    unserved = [one for one in plan["manifests.dry_run"].findings if one.code == "api.unserved"]
    assert {one.subject for one in unserved} == {"Foo/more", "Foo/hook"}
    assert set(unserved) == {one for one in plan["api.versions"].findings if one.code == "api.unserved"}
    others = [text for text in blockers(plan["manifests.dry_run"]) if "Foo" not in text]
    assert len(others) == 1
    assert others[0].startswith("ConfigMap/more: .datum")
    assert not blockers(plan["data.loss"])
    assert not blockers(plan["capacity"])


async def test_a_definition_that_the_chart_brings_itself_comes_too_late_for_helm_and_the_plan_says_so(
    world: World,
) -> None:
    await world.install("0.2.1", light_values(), settled=False)
    group = f"{world.namespace}.example.com"
    schema = {"openAPIV3Schema": {"type": "object"}}
    spec = {
        "group": group,
        "names": {"kind": "Bar", "plural": "bars", "singular": "bar"},
        "scope": "Namespaced",
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
    }
    definition = obj("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"bars.{group}", spec=spec)
    with_objects(world, definition, obj(f"{group}/v1", "Bar"))
    assert told(await rehearsed(world)) == [("blocker", "api.own", "Bar/more")]
    with pytest.raises(ManifestRefused, match="ensure CRDs are installed first"):
        await world.install("0.2.50", light_values(), settled=False)


async def test_a_field_of_another_manager_is_a_conflict_for_server_side_apply_alone(world: World) -> None:
    await world.install("0.2.1", light_values(), settled=False)
    by_hand = obj("v1", "Service", RELEASE, namespace=world.namespace, spec={"sessionAffinity": "ClientIP"})
    await world.clients.cluster.apply(by_hand, dry_run=False, field_manager=BY_HAND)
    edit = Edit("templates/aeterna/service.yaml", "spec:\n", "spec:\n  sessionAffinity: None\n")
    world.repository.add("0.2.51", edits=[edit])
    world.asking(version="0.2.51")
    (found,) = await rehearsed(world)
    assert told([found]) == [("blocker", "dry_run.conflict", f"Service/{RELEASE}")]
    assert f".spec.sessionAffinity was set by {BY_HAND}" in found.text
    assert "let its owner give it up" in found.way_out
    world.configure(server_side_apply="false")
    assert await rehearsed(world) == []


async def test_what_helm_itself_set_client_side_is_no_conflict_when_it_goes_over_to_server_side(world: World) -> None:
    await world.install("0.2.0", {}, settled=False)
    await upgraded(world, "0.2.1", server_side="false")
    world.configure(server_side_apply="true")
    world.asking(version="0.3.0")
    assert await rehearsed(world) == []
    await upgraded(world, "0.3.0", server_side="true")  # and Helm finds none either


async def test_unknown_fields_and_namespaces_that_are_not_there_are_found_in_hooks_too(world: World) -> None:
    await world.install("0.2.1", light_values(), settled=False)
    elsewhere = obj("v1", "ConfigMap", namespace="not-there", data={"a": "1"})
    with_objects(world, elsewhere, obj("v1", "ConfigMap", "hook", hook="pre-upgrade", datum={"a": "1"}))
    assert told(await rehearsed(world)) == [
        ("blocker", "dry_run.namespace", "ConfigMap/more"),
        ("blocker", "dry_run.schema", "ConfigMap/hook"),
    ]
    world.configure(server_side_apply="false")
    assert told(await rehearsed(world)) == [
        ("blocker", "dry_run.namespace", "ConfigMap/more"),
        ("warning", "dry_run.dropped", "ConfigMap/hook"),
    ]
    with_objects(world, obj("v1", "Namespace", "not-there"), elsewhere)
    assert told(await rehearsed(world)) == [("info", "dry_run.later", "ConfigMap/more")]


async def test_quotas_and_policies_say_what_stands_in_the_way_and_no_right_is_asked_for(world: World, api: Api) -> None:
    await world.install("0.2.1", light_values(), settled=False)
    hard = {"count/ingresses.networking.k8s.io": "0"}
    quota = obj("v1", "ResourceQuota", "few", namespace=world.namespace, spec={"hard": hard})
    api.apply(quota)
    await counted(world)
    limits = {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]}
    api.apply(obj("v1", "LimitRange", "small", namespace=world.namespace, spec=limits))
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
    with_objects(
        world,
        obj("v1", "PersistentVolumeClaim", spec=claim),
        obj("networking.k8s.io/v1", "Ingress", spec=INGRESS),
    )
    found = {one.subject: one for one in await rehearsed(world)}
    assert {(one.code, one.subject) for one in found.values()} == {
        ("dry_run.policy", "PersistentVolumeClaim/more"),
        ("dry_run.quota", "Ingress/more"),
    }
    assert "maximum storage usage per PersistentVolumeClaim is 1Gi" in found["PersistentVolumeClaim/more"].text
    assert "exceeded quota: few" in found["Ingress/more"].text
    assert "Raise the namespace's quota" in found["Ingress/more"].way_out
    assert "Grant" not in "".join(one.way_out for one in found.values())


async def counted(world: World) -> None:
    """Wait until the quota's controller has counted: before that nothing is refused by it."""
    async with asyncio.timeout(30):
        async for event in world.clients.cluster.watch("v1", "ResourceQuota", world.namespace):
            if (event.object.get("status") or {}).get("used"):
                return


async def test_a_webhook_that_says_no_and_one_that_does_not_answer_are_named(
    world: World, api: Api, tmp_path: Path
) -> None:
    await world.install("0.2.1", light_values(), settled=False)
    with_objects(world, obj("v1", "ConfigMap", data={"a": "1"}))
    async with webhook(api, world.namespace, tmp_path) as server:
        (found,) = [one for one in await rehearsed(world) if one.subject == "ConfigMap/more"]
        assert (found.level, found.code) == (Level.BLOCKER, "dry_run.webhook")
        assert 'admission webhook "no.example.com" denied the request: not on a Sunday' in found.text
        server.close()
        await server.wait_closed()
        (found,) = [one for one in await rehearsed(world) if one.subject == "ConfigMap/more"]
        assert (found.level, found.code) == (Level.BLOCKER, "dry_run.webhook")
        assert "failed calling webhook" in found.text
        assert "Look at the webhook's own service" in found.way_out


@asynccontextmanager
async def webhook(api: Api, namespace: str, directory: Path) -> AsyncIterator[asyncio.Server]:
    """An admission webhook that refuses every ConfigMap of the namespace."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        review = json.loads(await reader.readexactly(size))
        said = {"uid": review["request"]["uid"], "allowed": False, "status": {"message": "not on a Sunday"}}
        body = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": said}).encode()
        lines = (
            "HTTP/1.1 200 OK",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        writer.close()

    authority = Authority.create(directory)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.server("webhook"))
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    bundle = base64.b64encode(authority.certificate.read_bytes()).decode()
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}
    hook = {
        "name": "no.example.com",
        "clientConfig": {"url": f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", "caBundle": bundle},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 2,
    }
    kind = "ValidatingWebhookConfiguration"
    document = obj("admissionregistration.k8s.io/v1", kind, f"of-{namespace}", webhooks=[hook])
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    await asyncio.to_thread(api.call, "POST", path, document)
    try:
        await until_refused(api, namespace)
        yield server
    finally:
        await asyncio.to_thread(api.call, "DELETE", f"{path}/of-{namespace}")
        server.close()


async def until_refused(api: Api, namespace: str) -> None:
    """The API server learns of a new webhook a moment later, and tells nobody when it has."""
    async with asyncio.timeout(30):
        while True:
            try:
                await asyncio.to_thread(api.apply, obj("v1", "ConfigMap", "probe", namespace=namespace))
            except ApiError:
                return
            await asyncio.sleep(0.1)


async def test_a_namespace_that_is_being_deleted_is_told_by_the_plan(world: World, api: Api) -> None:
    await world.install("0.2.1", light_values(), settled=False)
    keeper = obj("v1", "ConfigMap", "keeper", namespace=world.namespace)
    keeper["metadata"]["finalizers"] = ["example.com/stay"]
    api.apply(keeper)
    with_objects(world, obj("networking.k8s.io/v1", "Ingress", spec=INGRESS))
    api.delete(obj("v1", "Namespace", world.namespace))
    try:
        result = await world.check("api.versions")
        (found,) = [one for one in result.findings if one.code == "namespace.terminating"]
        assert (found.level, found.subject) == (Level.BLOCKER, f"Namespace/{world.namespace}")
        assert "is being deleted" in found.text
        assert "nothing new can be created in it" in found.text
    finally:
        path = f"/api/v1/namespaces/{world.namespace}/configmaps/keeper"
        api.call("PATCH", path, {"metadata": {"finalizers": None}}, "application/merge-patch+json")
