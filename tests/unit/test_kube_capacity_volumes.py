"""Volumes that cannot change that way, budgets that let nobody go, autoscalers without a target, missing priorities."""

from __future__ import annotations

from typing import Any

import pytest

from bot.kube.demand import demands_of
from bot.kube.disruption import budget_findings, priority_findings, scaler_findings
from bot.kube.findings import KubeFinding
from bot.kube.holdings import Holdings
from bot.kube.objects import Json
from bot.kube.volumes import added_storage, claims_of, volume_findings
from tests.unit.kube_sample import NS, scaler, workload


def claim_spec(size: str = "1Gi", **more: Any) -> Json:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}} | more


def claim(name: str = "uploads", size: str = "1Gi", **more: Any) -> Json:
    meta = {"name": name, "namespace": NS}
    spec = claim_spec(size, **more)
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}


def storage_class(name: str = "fast", *, grows: bool = False, default: bool = False) -> Json:
    meta = {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": str(default).lower()}}
    return {"kind": "StorageClass", "metadata": meta, "allowVolumeExpansion": grows}


def stateful(size: str = "1Gi", name: str = "data", **more: Any) -> Json:
    template = {"metadata": {"name": name}, "spec": claim_spec(size, **more)}
    obj = workload("StatefulSet", "qdrant", replicas=2, volumeClaimTemplates=[template])
    obj["metadata"]["namespace"] = NS
    return obj


def found(
    objects: list[Json],
    *,
    live: list[Json] | None = None,
    present: list[Json] | None = None,
    classes: list[Json] | None = None,
) -> list[KubeFinding]:
    claims = claims_of(objects, demands_of(objects, NS), NS)
    there = classes if classes is not None else [storage_class(default=True)]
    return volume_findings(objects, claims, present or [], Holdings(live=live or []), classes=there, namespace=NS)


def test_a_new_claim_needs_a_class_that_exists() -> None:
    assert found([stateful(), claim()]) == []
    (one,) = found([claim(storageClassName="slow")])
    assert (one.level, one.code) == ("blocker", "volume.class")
    assert "of storage class slow, which does not exist" in one.text
    assert "there are: fast" in one.way_out
    assert found([claim(storageClassName="")]) == []
    brought = storage_class("slow") | {"apiVersion": "storage.k8s.io/v1"}
    assert found([claim(storageClassName="slow"), brought]) == []


def test_a_new_claim_without_a_class_needs_a_default() -> None:
    (one,) = found([claim()], classes=[storage_class()])
    assert "the cluster has no default" in one.text


def test_claims_that_are_there_are_not_asked_for_their_class_again() -> None:
    live = stateful()
    there = [claim(f"data-qdrant-{number}") for number in range(2)]
    assert found([stateful()], live=[live], present=there, classes=[]) == []


@pytest.mark.parametrize(
    ("size", "grows", "level", "code"),
    [
        ("512Mi", True, "blocker", "volume.shrink"),
        ("2Gi", False, "blocker", "volume.growth"),
        ("2Gi", True, "info", "volume.growth"),
    ],
)
def test_a_volume_may_grow_where_its_class_allows_it_and_never_shrink(
    size: str, grows: bool, level: str, code: str
) -> None:
    classes = [storage_class(grows=grows)]
    (one,) = found([claim(size=size)], present=[claim(storageClassName="fast")], classes=classes)
    assert (one.level, one.code) == (level, code)


def test_growth_is_a_warning_where_the_classes_could_not_be_read() -> None:
    objects, present = [claim(size="2Gi")], [claim(storageClassName="fast")]
    claims = claims_of(objects, [], NS)
    (one,) = volume_findings(objects, claims, present, Holdings(), classes=None, namespace=NS)
    assert (one.level, "could not be read" in one.text) == ("warning", True)


def test_a_claim_cannot_change_its_class() -> None:
    (one,) = found([claim(storageClassName="fast")], present=[claim(storageClassName="slow")])
    assert (one.level, one.code) == ("blocker", "volume.class")


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (stateful("2Gi"), "data from 1Gi to 2Gi"),
        (stateful(storageClassName="slow"), "data from storage class None to slow"),
        (stateful(accessModes=["ReadWriteMany"]), "data from ReadWriteOnce to ReadWriteMany"),
        (stateful(name="other"), "template other is new, template data goes away"),
    ],
)
def test_claim_templates_of_a_set_never_change(after: Json, said: str) -> None:
    present = [claim(f"data-qdrant-{number}") for number in range(2)]
    one = found([after], live=[stateful()], present=present)[0]
    assert (one.level, one.code, one.subject) == ("blocker", "volume.template", "StatefulSet/qdrant")
    assert said in one.text


def test_growing_a_set_has_a_way_out_only_where_the_class_allows_it() -> None:
    live, after = stateful(storageClassName="fast"), stateful("2Gi", storageClassName="fast")
    present = [claim(f"data-qdrant-{number}") for number in range(2)]
    (one,) = found([after], live=[live], present=present, classes=[storage_class(grows=True)])
    assert "--cascade=orphan" in one.way_out
    (one,) = found([after], live=[live], present=present, classes=[storage_class()])
    assert "does not allow volumes to grow" in one.way_out


def test_a_database_does_not_shrink() -> None:
    def cluster(size: str) -> Json:
        meta = {"name": "db", "namespace": NS}
        spec = {"storage": {"size": size}}
        return {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": meta, "spec": spec}

    (one,) = found([cluster("1Gi")], live=[cluster("10Gi")])
    assert (one.level, one.code) == ("blocker", "volume.shrink")
    assert found([cluster("10Gi")], live=[cluster("1Gi")]) == []


def test_a_claim_that_is_mounted_and_is_not_there_is_a_blocker() -> None:
    mounting = workload(pod={"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "uploads"}}]})
    (one,) = found([mounting])
    assert (one.level, one.code) == ("blocker", "volume.missing")
    assert found([mounting], present=[claim()]) == []
    assert found([mounting, claim()]) == []


def test_new_claims_count_against_quotas_also_by_class() -> None:
    objects = [stateful("2Gi", storageClassName="fast")]
    claims = claims_of(objects, demands_of(objects, NS), NS)
    told = added_storage(claims, [claim("data-qdrant-0")])
    assert told["persistentvolumeclaims"] == 1
    assert told["requests.storage"] == told["fast.storageclass.storage.k8s.io/requests.storage"] == 2 * 1024**3


def budget(name: str = "aeterna", app: str = "aeterna", **rule: Any) -> Json:
    spec = {"selector": {"matchLabels": {"app": app}}} | rule
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(
    ("rule", "blocks"),
    [
        ({"minAvailable": 2}, True),
        ({"minAvailable": 1}, False),
        ({"minAvailable": "51%"}, True),
        ({"minAvailable": "50%"}, False),
        ({"maxUnavailable": 0}, True),
        ({"maxUnavailable": "1%"}, False),
        ({}, False),
    ],
)
def test_a_budget_that_lets_no_pod_go_is_a_warning(rule: Json, blocks: bool) -> None:
    demands = demands_of([workload(replicas=2)], NS)
    told = budget_findings([budget(**rule)], demands, namespace=NS)
    assert [(one.level, one.code) for one in told] == ([("warning", "budget.blocks")] if blocks else [])


def test_a_budget_that_was_so_before_is_only_told_and_one_of_other_pods_not_at_all() -> None:
    demands, mine = demands_of([workload(replicas=1)], NS), budget(minAvailable=1)
    assert [one.level for one in budget_findings([mine], demands, before=[mine], namespace=NS)] == ["info"]
    assert budget_findings([budget(app="x", minAvailable=1)], demands, namespace=NS) == []


def test_two_budgets_for_the_same_pods_are_a_warning() -> None:
    demands = demands_of([workload(replicas=3)], NS)
    told = budget_findings([budget(minAvailable=1), budget("b", minAvailable=1)], demands, namespace=NS)
    assert [one.code for one in told] == ["budget.twice"]


def test_an_autoscaler_whose_target_goes_away_is_a_warning() -> None:
    (one,) = scaler_findings([scaler()], before=[workload()], namespace=NS)
    assert one.text == "HorizontalPodAutoscaler/aeterna scales Deployment/aeterna, which goes away with this upgrade."
    (one,) = scaler_findings([scaler()], namespace=NS)
    assert "does not come with the chart" in one.text
    assert scaler_findings([], others=[scaler(target="foreign")], namespace=NS) == []


def test_replicas_in_the_manifest_quarrel_with_an_autoscaler() -> None:
    objects = [workload(replicas=3), scaler()]
    (one,) = scaler_findings(objects, namespace=NS)
    assert (one.level, one.code) == ("warning", "scaler.replicas")
    (one,) = scaler_findings(objects, before=objects, namespace=NS)
    assert one.level == "info"
    assert scaler_findings([workload(), scaler()], namespace=NS) == []


def test_an_autoscaler_has_to_be_able_to_work() -> None:
    (one,) = scaler_findings([workload(), scaler(5, maxReplicas=3)], namespace=NS)
    assert (one.level, one.code) == ("blocker", "scaler.limits")
    metric = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization"}}}
    (one,) = scaler_findings([workload(), scaler(metrics=[metric])], namespace=NS)
    assert (one.level, one.code) == ("warning", "scaler.requests")


def test_a_priority_class_has_to_exist() -> None:
    demands = demands_of([workload(pod={"priorityClassName": "high"})], NS)
    known = [{"kind": "PriorityClass", "metadata": {"name": "low"}}]
    (one,) = priority_findings(demands, known)
    assert (one.level, one.code) == ("blocker", "priority.missing")
    assert one.way_out == "Create the PriorityClass, or name one of: low."
    assert priority_findings(demands, known, [{"kind": "PriorityClass", "metadata": {"name": "high"}}]) == []
