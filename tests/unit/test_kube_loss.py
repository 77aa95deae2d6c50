"""What an upgrade would lose: every kind of holder of data, and everything that can protect it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from bot.kube.holdings import Holdings
from bot.kube.loss import LossFinding, loss_findings
from bot.kube.objects import Json, ObjectRef

NS = "prod"
SET = "apps/v1", "StatefulSet", "aeterna-qdrant"


def obj(api: str, kind: str, name: str, *, keep: bool = False, owner: str = "", **parts: Any) -> Json:
    meta: Json = {"name": name, "namespace": NS, "uid": f"uid-{name}"}
    if keep:
        meta["annotations"] = {"helm.sh/resource-policy": "keep"}
    if owner:
        meta["ownerReferences"] = [{"uid": f"uid-{owner}", "name": owner}]
    return {"apiVersion": api, "kind": kind, "metadata": meta, **parts}


def stateful_set(*, deleted: str | None = None, scaled: str | None = None, replicas: int = 2, **more: Any) -> Json:
    spec: Json = {"replicas": replicas, "volumeClaimTemplates": [{"metadata": {"name": "storage"}}]}
    policy = {"whenDeleted": deleted, "whenScaled": scaled}
    if deleted or scaled:
        spec["persistentVolumeClaimRetentionPolicy"] = {key: value for key, value in policy.items() if value}
    return obj(*SET, spec=spec, **more)


def claim(name: str, *, volume: str = "pv-1", owner: str = "") -> Json:
    status = {"capacity": {"storage": "10Gi"}}
    return obj("v1", "PersistentVolumeClaim", name, owner=owner, spec={"volumeName": volume}, status=status)


def volume(name: str = "pv-1", policy: str = "Delete") -> Json:
    spec = {"persistentVolumeReclaimPolicy": policy, "capacity": {"storage": "10Gi"}}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


CLAIMS = [claim("storage-aeterna-qdrant-0"), claim("storage-aeterna-qdrant-1", volume="pv-2")]


def lost(before: Json, after: list[Json] | None = None, **around: Any) -> list[LossFinding]:
    return loss_findings([before], Holdings(**({"live": [before]} | around)), after or [], namespace=NS)


def one(before: Json, **around: Any) -> LossFinding:
    (found,) = lost(before, **around)
    return found


def test_what_stays_in_the_manifest_is_not_lost_whatever_its_api_version() -> None:
    after = stateful_set() | {"apiVersion": "apps/v2"}
    assert lost(stateful_set(), [after], claims=CLAIMS) == []


def test_a_set_whose_claims_stay_is_a_warning_that_names_them_with_size_and_volume() -> None:
    found = one(stateful_set(), claims=CLAIMS, volumes=[volume(), volume("pv-2")])
    assert (found.level, found.subject, found.protected_by) == (
        "warning",
        "StatefulSet/aeterna-qdrant",
        ("whenDeleted: Retain",),
    )
    assert "PersistentVolumeClaim/storage-aeterna-qdrant-0 (10Gi, volume pv-1, reclaim policy Delete)" in found.text
    assert [(taken.ref.name, taken.fate) for taken in found.takes] == [
        ("storage-aeterna-qdrant-0", "stays"),
        ("storage-aeterna-qdrant-1", "stays"),
    ]


def test_a_set_with_when_deleted_delete_takes_its_claims_along() -> None:
    found = one(stateful_set(deleted="Delete"), claims=CLAIMS, volumes=[volume(), volume("pv-2")])
    assert (found.level, found.code, found.protected_by) == ("blocker", "data.loss", ())
    assert [taken.fate for taken in found.takes] == ["lost", "lost"]
    assert "kubectl annotate -n prod statefulset/aeterna-qdrant helm.sh/resource-policy=keep" in found.way_out


def test_claims_that_the_set_owns_go_even_where_the_policy_was_changed_back() -> None:
    owned = [claim("storage-aeterna-qdrant-0", owner="aeterna-qdrant")]
    assert one(stateful_set(), claims=owned).level == "blocker"


def test_a_claim_of_a_similar_name_is_another_sets() -> None:
    found = one(stateful_set(deleted="Delete"), claims=[claim("storage-aeterna-qdrant-replica-0")])
    assert found.takes == ()


def test_volumes_with_reclaim_policy_retain_keep_the_data() -> None:
    kept = [volume(policy="Retain"), volume("pv-2", policy="Retain")]
    found = one(stateful_set(deleted="Delete"), claims=CLAIMS, volumes=kept)
    assert found.level == "warning"
    assert found.protected_by[0] == "reclaim policy Retain of PersistentVolume/pv-1"
    half = one(stateful_set(deleted="Delete"), claims=CLAIMS, volumes=[kept[0], volume("pv-2")])
    assert half.level == "blocker"


def test_the_keep_annotation_counts_on_the_live_object_and_only_there() -> None:
    plain, kept = stateful_set(deleted="Delete"), stateful_set(deleted="Delete", keep=True)
    found = one(plain, live=[kept])
    assert (found.level, found.protected_by[0]) == ("info", "helm.sh/resource-policy: keep")
    taken_off = one(kept, live=[plain])
    assert taken_off.level == "blocker"
    assert "was taken off the live object" in taken_off.text


def test_an_object_that_is_gone_already_loses_nothing() -> None:
    gone = frozenset({ObjectRef(*SET, NS)})
    assert one(stateful_set(deleted="Delete"), live=[], gone=gone).level == "info"


def test_a_database_takes_the_claims_that_it_owns_and_their_secrets() -> None:
    cluster = obj("postgresql.cnpg.io/v1", "Cluster", "aeterna-cnpg")
    app = obj("v1", "Secret", "aeterna-cnpg-app", owner="aeterna-cnpg")
    found = one(cluster, claims=[claim("aeterna-cnpg-1", owner="aeterna-cnpg")], volumes=[volume()], secrets=[app])
    assert found.level == "blocker"
    assert "a PostgreSQL database" in found.text
    assert "PersistentVolumeClaim/aeterna-cnpg-1 (10Gi, volume pv-1, reclaim policy Delete)" in found.text
    assert [taken.ref.kind for taken in found.takes] == ["PersistentVolumeClaim", "Secret"]


def test_a_database_whose_claims_are_not_seen_is_a_blocker_all_the_same() -> None:
    cluster = obj("postgresql.cnpg.io/v1", "Cluster", "aeterna-cnpg", spec={"storage": {"size": "1Gi"}})
    found = one(cluster)
    assert (found.level, found.takes[0].size) == ("blocker", "1Gi")
    assert "Cluster/aeterna-cnpg would be deleted" in found.text


def test_an_unknown_resource_is_judged_by_what_it_owns_also_through_a_set() -> None:
    custom = obj("example.com/v1", "Store", "cache")
    assert lost(custom) == []
    inner = stateful_set(deleted="Delete", owner="cache")
    found = one(custom, sets=[inner], claims=CLAIMS)
    assert (found.level, len(found.takes)) == ("blocker", 2)


@pytest.mark.parametrize(
    ("spec", "level"), [({}, "info"), ({"snapshot": {"persistentVolumeClaimSpec": {"x": 1}}}, "blocker")]
)
def test_dragonfly_is_a_cache_unless_it_keeps_snapshots(spec: Json, level: str) -> None:
    assert one(obj("dragonflydb.io/v1alpha1", "Dragonfly", "cache", spec=spec)).level == level


@pytest.mark.parametrize(
    ("volumes", "level"),
    [([{"name": "data", "emptyDir": {}}], "info"), ([{"name": "data", "hostPath": {"path": "/x"}}], "warning")],
)
def test_a_deployment_with_a_volume_of_its_node_is_told(volumes: list[Json], level: str) -> None:
    spec = {"template": {"spec": {"volumes": volumes}}}
    assert one(obj("apps/v1", "Deployment", "dragonfly", spec=spec)).level == level
    assert lost(obj("apps/v1", "Deployment", "dragonfly", spec={})) == []


def test_a_claim_of_the_manifest_is_lost_unless_its_volume_is_retained() -> None:
    found = one(claim("uploads"), claims=[claim("uploads")], volumes=[volume()])
    assert found.level == "blocker"
    assert found.text == "PersistentVolumeClaim/uploads would be deleted (10Gi, volume pv-1, reclaim policy Delete)."
    assert one(claim("uploads"), claims=[claim("uploads")], volumes=[volume(policy="Retain")]).level == "warning"
    blind = one(claim("uploads"), claims=[claim("uploads")], volumes_known=False)
    assert blind.text.endswith("; the volumes' reclaim policies could not be read.")


@pytest.mark.parametrize(("policy", "level"), [("Retain", "warning"), ("Delete", "blocker")])
def test_a_volume_of_the_manifest_goes_by_its_own_policy(policy: str, level: str) -> None:
    found = one(volume(policy=policy))
    assert found.level == level
    assert " -n " not in found.way_out


@pytest.mark.parametrize(
    ("name", "keys", "level"),
    [
        ("aeterna-kms-local", ["key"], "blocker"),
        ("aeterna", ["encryption-key"], "blocker"),
        ("aeterna-opal", ["master-token"], "warning"),
    ],
)
def test_a_secret_with_generated_keys_is_missed_when_it_goes(name: str, keys: list[str], level: str) -> None:
    assert one(obj("v1", "Secret", name, data=dict.fromkeys(keys, "YQ=="))).level == level


def test_secrets_without_keys_and_those_that_the_cluster_makes_are_not_missed() -> None:
    assert lost(obj("v1", "Secret", "settings", data={"region": "YQ=="})) == []
    assert lost(obj("v1", "Secret", "pull", type="kubernetes.io/dockerconfigjson", data={"key": "YQ=="})) == []


def test_an_encryption_key_that_changes_or_vanishes_is_a_blocker_and_its_value_is_not_told() -> None:
    live = obj("v1", "Secret", "aeterna-kms-local", data={"key": base64.b64encode(b"old-key").decode()})
    same = obj("v1", "Secret", "aeterna-kms-local", stringData={"key": "old-key"})
    assert lost(live, [same]) == []
    (changed,) = lost(live, [obj("v1", "Secret", "aeterna-kms-local", stringData={"key": "new-key"})])
    assert changed.level == "blocker"
    assert "would change" in changed.text
    assert "old-key" not in str(changed)
    assert "new-key" not in str(changed)
    (vanished,) = lost(live, [obj("v1", "Secret", "aeterna-kms-local")])
    assert "would go away" in vanished.text


def test_an_ordinary_password_that_changes_is_no_loss() -> None:
    live = obj("v1", "Secret", "redis", data={"password": "YQ=="})
    assert lost(live, [obj("v1", "Secret", "redis", data={"password": "Yg=="})]) == []


def test_fewer_replicas_take_claims_only_where_when_scaled_says_so() -> None:
    after = stateful_set(scaled="Delete", replicas=1)
    (found,) = lost(stateful_set(), [after], claims=CLAIMS)
    assert found.level == "blocker"
    assert [taken.ref.name for taken in found.takes] == ["storage-aeterna-qdrant-1"]
    assert lost(stateful_set(), [stateful_set(replicas=1)], claims=CLAIMS) == []
    assert lost(stateful_set(), [stateful_set(scaled="Delete", replicas=3)], claims=CLAIMS) == []


def test_a_namespace_takes_everything_in_it() -> None:
    found = one(obj("v1", "Namespace", NS), claims=CLAIMS)
    assert (found.level, len(found.takes)) == ("blocker", 2)


def test_a_definition_takes_every_object_of_its_kind_and_their_claims() -> None:
    spec = {"group": "postgresql.cnpg.io", "names": {"kind": "Cluster"}}
    definition = obj("apiextensions.k8s.io/v1", "CustomResourceDefinition", "clusters.postgresql.cnpg.io", spec=spec)
    mine = obj("postgresql.cnpg.io/v1", "Cluster", "elsewhere")
    found = one(definition, customs=[mine], claims=[claim("elsewhere-1", owner="elsewhere")])
    assert found.level == "blocker"
    assert [taken.ref.name for taken in found.takes] == ["elsewhere", "elsewhere-1"]


def test_a_hook_is_no_part_of_the_release() -> None:
    hook = stateful_set(deleted="Delete")
    hook["metadata"]["annotations"] = {"helm.sh/hook": "test"}
    assert lost(hook) == []
