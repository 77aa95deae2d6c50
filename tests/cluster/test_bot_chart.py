"""The chart that deploys the bot: what real Helm renders, what a real API server says to it, and whether its rights suffice."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot import settings
from bot.checkup import _NEEDED as NEEDED
from bot.engine.contract import Level
from bot.helm.client import Helm
from bot.helm.environment import HelmSettings
from bot.helm.flags import Wait
from bot.helm.releases import ReleaseStore
from bot.kube import Cluster
from bot.kube.apiversions import namespace_findings
from bot.kube.capacity import capacity_findings
from bot.kube.events import events_of
from bot.kube.loss_reading import find_losses
from bot.kube.objects import workload_refs
from bot.kube.probejob import Probes, ProbeSpec
from bot.kube.workloads import health
from bot.probe.result import Reason
from bot.services.cnpg import CloudNativePG
from bot.services.cnpg_recovery import Recoveries, recovered
from dev.charts import build, load_versions
from dev.controlplane import Api, ApiError, Running
from dev.controlplane.api import object_path
from runbooks.library import RunbookLibrary
from runbooks.registry import shipped_registry
from tests.cluster.emergency_world import EmergencyWorld, autoscaler, cron_job, define
from tests.cluster.volume_world import CLAIM, VolumeWorld

Json = dict[str, Any]
CHART = Path(__file__).parents[2] / "helm" / "aeterna-bot"
SQLITE, POSTGRESQL = "sqlite", "postgresql"
Render = Callable[..., list[Json]]


class NotRendered(Exception):
    """Helm refused; the text is what it said."""


@pytest.fixture
def render(helm_program: Path, tmp_path: Path) -> Render:
    """The objects of the chart with the values of one of its two modes, and what `--set-json` adds."""

    def helm(mode: str, *, namespace: str = "bots", **more: object) -> list[Json]:
        command = [str(helm_program), "template", "aeterna-bot", str(CHART), f"--namespace={namespace}"]
        command += [f"--values={CHART / 'ci' / f'{mode}-values.yaml'}"]
        command += [f"--set-json={key.replace('__', '.')}={json.dumps(value)}" for key, value in more.items()]
        environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode != 0:
            raise NotRendered(done.stderr)
        return [obj for obj in yaml.safe_load_all(done.stdout) if obj]

    return helm


def _one(objects: list[Json], kind: str) -> Json:
    (found,) = [obj for obj in objects if obj["kind"] == kind]
    return found


def _kinds(objects: list[Json]) -> set[str]:
    return {obj["kind"] for obj in objects}


def _targets(*namespaces: str) -> list[Json]:
    chart = {"path": "chart"}
    return [
        {"name": f"t{number}", "namespace": namespace, "release": "aeterna", "chart": chart}
        for number, namespace in enumerate(namespaces)
    ]


# -- rendering --------------------------------------------------------------------------------------------------


def test_with_sqlite_there_is_one_replica_that_ends_before_the_next_starts(render: Render) -> None:
    objects = render(SQLITE)
    deployment = _one(objects, "Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    volumes = {volume["name"]: volume for volume in deployment["template"]["spec"]["volumes"]}
    claim = _one(objects, "PersistentVolumeClaim")
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not _kinds(objects) & {"PodDisruptionBudget", "Service", "ClusterRole"}


def test_with_postgresql_there_are_replicas_a_budget_and_no_claim(render: Render) -> None:
    objects = render(POSTGRESQL)
    deployment = _one(objects, "Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]["type"]) == (3, "RollingUpdate")
    assert "PersistentVolumeClaim" not in _kinds(objects)
    assert _one(objects, "PodDisruptionBudget")["spec"]["selector"] == deployment["selector"]
    roles = [obj for obj in objects if obj["kind"] == "Role"]
    assert [role["metadata"]["namespace"] for role in roles] == ["aeterna-prod", "aeterna-staging"]
    assert any("keda.sh" in rule["apiGroups"] for rule in roles[0]["rules"])


def test_http_mode_has_a_service_on_the_port_of_the_configuration(render: Render) -> None:
    objects = render(POSTGRESQL)
    (container,) = _one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 8081}]
    assert _one(objects, "Service")["spec"]["ports"][0]["targetPort"] == "http"
    assert {"SLACK_SIGNING_SECRET_FILE", "DATABASE_URL_FILE"} <= {entry["name"] for entry in container["env"]}


@pytest.mark.parametrize(("grace", "seconds"), [("25s", 40), ("1m30s", 105), ("0.5m", 45), ("1h", 3615)])
def test_the_pod_gets_longer_to_end_than_engine_grace(render: Render, grace: str, seconds: int) -> None:
    objects = render(SQLITE, config__engine={"grace": grace})
    spec = _one(objects, "Deployment")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == seconds
    assert settings.duration(grace) == timedelta(seconds=seconds - 15)


def test_without_engine_grace_the_chart_and_the_bot_agree(render: Render) -> None:
    spec = _one(render(SQLITE), "Deployment")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == settings.EngineSection().grace.total_seconds() + 15


def test_another_configuration_is_another_pod(render: Render) -> None:
    def checksum(**more: object) -> str:
        template = _one(render(SQLITE, **more), "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum() == checksum() != checksum(config__helm={"program": "/usr/local/bin/helm"})


@pytest.mark.parametrize("mode", [SQLITE, POSTGRESQL])
def test_the_bot_loads_what_the_chart_mounts(render: Render, mode: str, tmp_path: Path) -> None:
    objects = render(mode)
    data = _one(objects, "ConfigMap")["data"]
    volumes = _one(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    (config,) = [volume["projected"]["sources"] for volume in volumes if volume["name"] == "config"]
    for item in config[0]["configMap"]["items"]:
        file = tmp_path / item["path"]
        file.parent.mkdir(exist_ok=True)
        file.write_text(data[item["key"]])
    tokens = dict.fromkeys(("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET"), "a token")
    loaded = settings.load(tokens, file=tmp_path / "aeterna-bot.yaml").config
    assert loaded.state == Path("/var/lib/aeterna-bot")
    users = RunbookLibrary(shipped_registry(), users=loaded.runbooks)
    assert ("smoke" in users.names()) == (mode == SQLITE)


def test_what_looks_at_databases_is_the_bots_own_image_unless_another_is_named(render: Render) -> None:
    def probe(**more: object) -> Json:
        return dict(yaml.safe_load(_one(render(SQLITE, **more), "ConfigMap")["data"]["aeterna-bot.yaml"])["probe"])

    (container,) = _one(render(SQLITE), "Deployment")["spec"]["template"]["spec"]["containers"]
    assert probe() == {"image": container["image"]}
    kept = {"pull_secrets": ["ghcr"], "deadline": "5m"}
    assert probe(config__probe=kept) == {"image": container["image"], **kept}
    assert probe(config__probe={"image": "mirror.example/bot:1"}) == {"image": "mirror.example/bot:1"}


def test_a_bot_with_a_kubeconfig_gets_no_rights_in_this_cluster(render: Render) -> None:
    targets = [{**_targets("aeterna")[0], "cluster": {"context": "elsewhere"}}]
    objects = render(SQLITE, config__targets=targets, kubeconfig__existingSecret="clusters")
    assert not _kinds(objects) & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    (container,) = _one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"name": "KUBECONFIG", "value": "/run/secrets/kubeconfig/config"} in container["env"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"replicaCount": 2}, "More than one replica needs PostgreSQL"),
        ({"replicaCount": "one"}, "replicaCount"),
        ({"replicas": 2}, "replicas"),
        ({"config__targets": []}, "targets"),
        ({"config__targets": [{"name": "prod"}]}, "namespace"),
        ({"config__state": "/tmp"}, "state"),
        ({"config__engine": {"grace": "soon"}}, "grace"),
        ({"config__slack": {"mode": "rtm"}}, "mode"),
        ({"image__digest": "sha256:abc"}, "digest"),
        ({"slack__existingSecret": ""}, "slack.existingSecret is needed"),
        ({"valuesFiles": {"../prod.yaml": ""}}, r"\.\./prod.yaml"),
        ({"persistence__size": "large"}, "size"),
        ({"config__targets": [{**_targets("a")[0], "cluster": {"context": "x"}}]}, "needs a kubeconfig"),
    ],
)
def test_wrong_values_are_refused_by_name(render: Render, more: Json, said: str) -> None:
    with pytest.raises(NotRendered, match=said):
        render(SQLITE, **more)


# -- the API server ---------------------------------------------------------------------------------------------


def _dry_run(api: Api, document: Json) -> Json:
    collection = object_path(document).rpartition("/")[0]
    return api.call("POST", f"{collection}?dryRun=All&fieldValidation=Strict", document)


def _placed(objects: list[Json], namespace: str) -> list[Json]:
    return [{**obj, "metadata": {"namespace": namespace, **obj["metadata"]}} for obj in objects]


@pytest.mark.parametrize("mode", [SQLITE, POSTGRESQL])
def test_the_api_server_takes_every_object(render: Render, api: Api, namespace: str, mode: str) -> None:
    objects = _placed(render(mode, namespace=namespace, config__targets=_targets(namespace)), namespace)
    account = _one(objects, "ServiceAccount")
    _dry_run(api, account)
    api.apply(account)  # without it no pod is admitted
    for obj in objects:
        if obj is not account:
            _dry_run(api, obj)
    assert {"Deployment", "Role", "RoleBinding", "ConfigMap", "Pod"} <= _kinds(objects)


@pytest.mark.parametrize("mode", [SQLITE, POSTGRESQL])
def test_its_pods_pass_the_restricted_pod_security_standard(
    render: Render, api: Api, namespace: str, mode: str
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    objects = _placed(render(mode, namespace=namespace, config__targets=_targets(namespace)), namespace)
    api.apply(_one(objects, "ServiceAccount"))
    template = _one(objects, "Deployment")["spec"]["template"]
    meta = {"name": "bot", "namespace": namespace}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}
    _dry_run(api, pod)
    _dry_run(api, _one(objects, "Pod"))
    loose = {**pod, "spec": {**pod["spec"], "securityContext": {}}}
    with pytest.raises(ApiError, match="violates PodSecurity"):
        _dry_run(api, loose)


# -- rights -----------------------------------------------------------------------------------------------------


@pytest.fixture
def account(render: Render, api: Api, namespace: str) -> str:
    """The bot's account, with the chart's rights in the test's namespace, as a user to impersonate."""
    objects = _placed(render(SQLITE, namespace=namespace, config__targets=_targets(namespace)), namespace)
    for kind in ("ServiceAccount", "Role", "RoleBinding"):
        api.apply(_one(objects, kind))
    return f"system:serviceaccount:{namespace}:{_one(objects, 'ServiceAccount')['metadata']['name']}"


@pytest.fixture
def packed(tmp_path: Path) -> Callable[[str], Path]:
    """A version of Aeterna's chart on disk."""

    def pack(version: str) -> Path:
        path = tmp_path / f"aeterna-{version}.tgz"
        path.write_bytes(build(version, load_versions()).archive)
        return path

    return pack


async def test_its_rights_suffice_for_upgrade_test_and_rollback_of_the_whole_chart(
    account: str,
    packed: Callable[[str], Path],
    control_plane: Running,
    helm_program: Path,
    namespace: str,
    tmp_path: Path,
) -> None:
    def helm(user: str | None) -> Helm:
        where = HelmSettings(
            helm_program, tmp_path / f"home-{user is None}", kubeconfig=control_plane.kubeconfig, as_user=user
        )
        return Helm(where)

    values, minutes = tmp_path / "values.yaml", timedelta(minutes=2)
    values.write_text("{}\n")
    common: Json = {"release": "aeterna", "namespace": namespace, "values": values}
    await helm(None).upgrade(**common, chart=packed("0.1.0"), timeout=minutes, install=True, wait=Wait.HOOKS_ONLY)
    bot = helm(account)
    rendered = await bot.dry_run(**common, chart=packed("0.2.1"))
    await bot.upgrade(**common, chart=packed("0.2.1"), timeout=minutes, wait=Wait.HOOKS_ONLY)
    assert (await bot.test("aeterna", namespace, minutes)).suites
    await bot.rollback(release="aeterna", namespace=namespace, revision=1, timeout=minutes, wait=Wait.HOOKS_ONLY)

    async with await Cluster.connect(
        kubeconfig=control_plane.kubeconfig, context=None, as_user=account, as_groups=["system:authenticated"]
    ) as cluster:
        revisions = await ReleaseStore(cluster, namespace=namespace, release="aeterna").history()
        assert [one.revision for one in revisions] == [1, 2, 3]
        for obj in rendered.objects:
            meta = {"namespace": namespace, **obj["metadata"]}
            await cluster.apply({**obj, "metadata": meta}, dry_run=True, field_manager="helm", force=True)
        refs = workload_refs(rendered.objects, namespace)
        assert await health(cluster, refs)
        await events_of(cluster, refs)
        operator = CloudNativePG(cluster)
        postgres = await operator.find_cluster(namespace)
        assert postgres is not None
        await operator.create_backup(namespace, postgres.ref.name, "by-hand", method="barmanObjectStore")
        assert (await operator.wait_backup(namespace, "by-hand", deadline=60)).completed
        recoveries = Recoveries(cluster, namespace)
        (made,) = await recoveries.backups(postgres.ref.name)
        old = await cluster.get_ref(postgres.ref)
        assert old is not None
        await recoveries.create(recovered(old, "restored", backup=made, at=None, labels={"run": "r1"}), mark="run")
        assert (await recoveries.wait_ready("restored", deadline=60)).healthy


async def test_it_has_what_check_config_looks_for_and_no_rights_beyond_the_target(
    account: str, control_plane: Running, namespace: str
) -> None:
    async with await Cluster.connect(kubeconfig=control_plane.kubeconfig, context=None, as_user=account) as cluster:
        for verb, resource, group, _why in NEEDED:
            whole, _, part = resource.partition("/")
            allowed = await cluster.can_i(verb, whole, group, namespace, subresource=part)
            assert allowed, "check-config would ask for it"
        for verb, resource, group, subresource, where in [
            ("create", "pods", "", "exec", namespace),
            ("create", "pods", "", "portforward", namespace),
            ("delete", "backups", "postgresql.cnpg.io", "", namespace),
            ("delete", "persistentvolumeclaims", "", "", namespace),
            ("escalate", "roles", "rbac.authorization.k8s.io", "", namespace),
            ("impersonate", "users", "", "", ""),
            ("get", "secrets", "", "", "default"),
            ("list", "nodes", "", "", ""),
        ]:
            assert not await cluster.can_i(verb, resource, group, where, subresource=subresource), (verb, resource)


async def test_its_rights_suffice_for_an_emergency_and_the_way_back(
    api: Api, account: str, control_plane: Running, namespace: str, tmp_path: Path
) -> None:
    server = "Deployment/aeterna"
    async with await Cluster.connect(kubeconfig=control_plane.kubeconfig, context=None, as_user=account) as cluster:
        for name in ("rollouts", "canaries"):
            async with await Cluster.connect(kubeconfig=control_plane.kubeconfig, context=None) as administrator:
                await define(api, administrator, name)
        world = EmergencyWorld(cluster=cluster, api=api, namespace=namespace, directory=tmp_path)
        world.usual()
        world.install(autoscaler(namespace, server, least=2, most=4), cron_job(namespace, "aeterna-nightly"))
        plan = await world.plan_hold()
        assert not [one.text for one in plan.findings if one.level is not Level.INFO]
        await world.take_down(plan.facts)
        await world.restore()
        assert await world.replicas(server) == [3]
        assert await cluster.can_i("create", "pods", namespace=namespace, subresource="eviction")  # recover restart


async def test_its_rights_suffice_for_a_probe(account: str, control_plane: Running, namespace: str) -> None:
    async with await Cluster.connect(kubeconfig=control_plane.kubeconfig, context=None, as_user=account) as cluster:
        probes = Probes(cluster, namespace, image="registry.example/aeterna-bot:1")
        nowhere = ProbeSpec(kind="redis", host="127.0.0.1", port=9)
        assert (await probes.run(nowhere, name="probe-r1", labels={})).reason is Reason.NO_ANSWER
        assert await probes.find("probe-r1") is None


async def test_its_rights_suffice_for_what_a_plan_reads_and_the_rest_is_a_choice(
    render: Render, api: Api, account: str, control_plane: Running, namespace: str
) -> None:
    claims = [{"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}]
    pod = {"containers": [{"name": "main", "image": "main"}], "priorityClassName": "high"}
    meta = {"name": "kept", "namespace": namespace}
    spec = {"volumeClaimTemplates": claims, "template": {"spec": pod}}
    stateful = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": spec}
    async with await Cluster.connect(kubeconfig=control_plane.kubeconfig, context=None, as_user=account) as cluster:

        async def unseen() -> set[str]:
            found = [
                *await namespace_findings(cluster, namespace),
                *await capacity_findings(cluster, [stateful], namespace, before=[], hooks=[]),
                *await find_losses(cluster, [stateful], [], namespace=namespace),
            ]
            return {one.subject for one in found if one.code == "unseen"}

        outside = {"nodes", "storage classes", "priority classes"}
        assert {one for one in await unseen() if not one.startswith("the pods of other namespaces")} == outside
        asked = render(SQLITE, namespace=namespace, config__targets=_targets(namespace), rbac__capacity=True)
        for kind in ("ClusterRole", "ClusterRoleBinding"):
            api.apply(_one(_placed(asked, namespace), kind))
        assert await unseen() == set()
        assert await cluster.can_i("get", "persistentvolumes", "", "")


async def test_its_rights_suffice_to_recover_a_volume_where_they_were_given_and_else_it_says_which_is_missing(
    render: Render, api: Api, account: str, control_plane: Running, namespace: str, tmp_path: Path
) -> None:
    async with (
        await Cluster.connect(kubeconfig=control_plane.kubeconfig, context=None) as administrator,
        await Cluster.connect(kubeconfig=control_plane.kubeconfig, context=None, as_user=account) as cluster,
    ):
        there = VolumeWorld(cluster=administrator, api=api, namespace=namespace, directory=tmp_path)
        old = await there.stored()
        await there.snapshot("nightly")
        world = VolumeWorld(cluster=cluster, api=api, namespace=namespace, directory=tmp_path)
        shown = await world.plan(CLAIM)
        assert [one.code for one in shown.findings if one.level is Level.BLOCKER] == ["rbac"]
        asked = render(SQLITE, namespace=namespace, config__targets=_targets(namespace), rbac__volumes=True)
        for kind in ("Role", "ClusterRole", "ClusterRoleBinding"):
            api.apply(_one(_placed(asked, namespace), kind))
        await world.play((await world.plan(CLAIM)).facts)
        assert (await there.claim(f"{CLAIM}-before-{world.run.id}"))["spec"]["volumeName"] == old
        assert not await cluster.can_i("delete", "persistentvolumes")


async def test_a_chart_with_a_role_of_more_rights_than_the_bot_has_is_refused_by_the_api_server(
    account: str, control_plane: Running, namespace: str
) -> None:
    rule = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["delete"]}
    meta = {"name": "too-much", "namespace": namespace}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": [rule]}
    async with await Cluster.connect(kubeconfig=control_plane.kubeconfig, context=None, as_user=account) as cluster:
        with pytest.raises(Exception, match="attempting to grant"):
            await cluster.create(role)
