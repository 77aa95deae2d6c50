"""Quotas and limit ranges: what the API server would refuse, told before it is asked."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from bot.kube.demand import demands_of
from bot.kube.findings import KubeFinding
from bot.kube.objects import Json
from bot.kube.quota import Counts, claim_limit_findings, limit_findings, quota_findings, with_defaults
from tests.unit.kube_sample import NS, container, hook, workload


def quota(hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> Json:
    return {"metadata": {"name": "small"}, "spec": {"hard": hard} | spec, "status": {"hard": hard, "used": used or {}}}


def limits(kind: str = "Container", **said: Json) -> Json:
    return {"metadata": {"name": "bounds"}, "spec": {"limits": [{"type": kind} | said]}}


def found(
    objects: list[Json],
    hard: dict[str, str],
    used: dict[str, str] | None = None,
    *,
    present: list[str] | None = None,
    counts: dict[str, Decimal] | None = None,
    spec: Json | None = None,
    **around: list[Json],
) -> list[KubeFinding]:
    pods = [{"containers": [container(cpu)]} for cpu in present or []]
    return quota_findings(
        [quota(hard, used, **(spec or {}))], demands_of(objects, NS, **around), pods, Counts(counts or {})
    )


def test_a_quota_that_would_be_exceeded_is_a_blocker() -> None:
    (one,) = found([workload(replicas=2)], {"requests.cpu": "2"}, {"requests.cpu": "1500m"}, present=["1"])
    assert (one.level, one.code, one.subject) == ("blocker", "quota.exceeded", "ResourceQuota/small")
    assert one.text == "Quota small allows 2 of requests.cpu; the release would bring it to 2.5."
    assert found([workload(replicas=2)], {"requests.cpu": "2"}, {"requests.cpu": "1500m"}, present=["1500m"]) == []


@pytest.mark.parametrize("key", ["cpu", "requests.cpu", "pods", "count/pods"])
def test_every_spelling_of_a_key_counts(key: str) -> None:
    assert [one.code for one in found([workload(replicas=3)], {key: "2"})] == ["quota.exceeded"]


def test_limits_have_a_key_of_their_own() -> None:
    pod = {"containers": [container("1", limits={"cpu": "4"})]}
    (one,) = found([workload(pod=pod)], {"limits.cpu": "3"})
    assert one.text == "Quota small allows 3 of limits.cpu; the release would bring it to 4."


def test_a_quota_that_is_full_already_and_is_not_asked_for_more_is_no_finding() -> None:
    assert found([workload()], {"pods": "1"}, {"pods": "3"}, present=["1"]) == []


def test_objects_are_counted_and_so_is_helms_own_secret() -> None:
    (one,) = found([], {"secrets": "5", "services": "9"}, {"secrets": "5"}, counts={"secrets": Decimal(1)})
    assert one.text == "Quota small allows 5 of secrets; the release would bring it to 6."
    assert found([], {"secrets": "5"}, {"secrets": "5"}, counts={"secrets": Decimal(0)}) == []


def test_storage_is_shown_in_units() -> None:
    (one,) = found([], {"requests.storage": "1Gi"}, counts={"requests.storage": Decimal(2 * 1024**3)})
    assert one.text == "Quota small allows 1 GiB of requests.storage; the release would bring it to 2 GiB."


def test_a_rollout_that_may_not_be_without_a_pod_needs_quota_for_one_more() -> None:
    old, new = workload(replicas=1, cpu="500m"), workload(replicas=1)
    (one,) = found([new], {"pods": "1"}, {"pods": "1"}, present=["500m"], before=[old])
    assert (one.level, one.code) == ("blocker", "quota.surge")
    assert "The rollout of Deployment/aeterna cannot begin" in one.text
    patient = workload(replicas=1, strategy={"rollingUpdate": {"maxUnavailable": 1}})
    assert [f.level for f in found([patient], {"pods": "1"}, {"pods": "1"}, present=["1"], before=[old])] == ["info"]


def test_the_pods_of_hooks_and_tests_count_too() -> None:
    full = {"pods": "1"}
    for events, level in (("pre-upgrade", "blocker"), ("post-upgrade", "blocker"), ("test", "warning")):
        (one,) = found([workload()], full, full, present=["1"], hooks=[hook(events)])
        assert (one.level, one.code) == (level, "quota.hook")
    assert found([], full, full, present=["1"], hooks=[hook("post-upgrade")]) == []


def test_where_a_quota_limits_a_resource_every_container_has_to_say_it() -> None:
    (one,) = found([workload()], {"limits.memory": "8Gi", "requests.cpu": "8"})
    assert (one.level, one.code) == ("blocker", "quota.unsaid")
    assert "every container says its limits.memory; Deployment/aeterna does not" in one.text


@pytest.mark.parametrize(
    ("spec", "pod", "counts"),
    [
        ({"scopes": ["Terminating"]}, {}, False),
        ({"scopes": ["NotTerminating"]}, {}, True),
        ({"scopes": ["Terminating"]}, {"activeDeadlineSeconds": 9}, True),
        ({"scopes": ["BestEffort"]}, {}, False),
        ({"scopes": ["BestEffort"]}, {"containers": [{"name": "main"}]}, True),
        ({"scopes": ["NotBestEffort"]}, {}, True),
        ({"scopes": ["CrossNamespacePodAffinity"]}, {}, False),
    ],
)
def test_a_quota_counts_the_pods_of_its_scopes_only(spec: Json, pod: Json, counts: bool) -> None:
    assert bool(found([workload(replicas=3, pod=pod)], {"pods": "2"}, spec=spec)) is counts


@pytest.mark.parametrize(
    ("operator", "values", "name", "counts"),
    [
        ("In", ["high"], "high", True),
        ("In", ["high"], "low", False),
        ("NotIn", ["high"], "high", False),
        ("Exists", [], "high", True),
        ("DoesNotExist", [], "high", False),
    ],
)
def test_a_quota_may_be_for_some_priorities(operator: str, values: list[str], name: str, counts: bool) -> None:
    one = {"scopeName": "PriorityClass", "operator": operator, "values": values}
    spec = {"scopeSelector": {"matchExpressions": [one]}}
    assert bool(found([workload(replicas=3, pod={"priorityClassName": name})], {"pods": "2"}, spec=spec)) is counts


def test_a_limit_ranges_defaults_are_what_the_pods_will_ask_for() -> None:
    bounds = [limits(default={"cpu": "2"}, defaultRequest={"cpu": "500m", "memory": "1Gi"})]
    (plain,) = demands_of([workload(cpu=None)], NS)
    filled = with_defaults(plain, bounds)
    assert filled.each == {"cpu": Decimal("0.5"), "memory": Decimal(1024**3)}
    (said,) = demands_of([workload(cpu="1")], NS)
    assert with_defaults(said, bounds).each["cpu"] == 1
    assert with_defaults(said, []) is said


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        (limits(max={"cpu": "1"}), "container main may use 2 of cpu, the most is 1"),
        (limits(max={"memory": "1Gi"}), "container main has no limit for memory, the most is 1 GiB"),
        (limits(min={"cpu": "1500m"}), "container main requests 1 of cpu, the least is 1.5"),
        (limits(maxLimitRequestRatio={"cpu": "1"}), "container main's limit of cpu is more than 1 times its request"),
        (limits("Pod", max={"cpu": "1"}), "the pod may use 2 of cpu, the most is 1"),
    ],
)
def test_pods_outside_a_limit_range_are_blockers(bounds: Json, said: str) -> None:
    demands = demands_of([workload(pod={"containers": [container("1", limits={"cpu": "2"})]})], NS)
    (one,) = limit_findings(demands, [bounds])
    assert (one.level, one.code) == ("blocker", "limits.broken")
    assert one.text == f"Deployment/aeterna: {said} (LimitRange bounds)."
    assert limit_findings(demands, [limits(max={"cpu": "2"}, min={"cpu": "1"})]) == []


def test_claims_outside_a_limit_range_are_blockers() -> None:
    bounds = limits("PersistentVolumeClaim", max={"storage": "5Gi"}, min={"storage": "1Gi"})
    assert claim_limit_findings({"data": "2Gi"}, [bounds]) == []
    assert "the most is 5 GiB" in claim_limit_findings({"data": "10Gi"}, [bounds])[0].text
    assert "the least is 1 GiB" in claim_limit_findings({"data": "1Mi"}, [bounds])[0].text


def test_a_default_limit_below_the_charts_own_request_is_a_blocker() -> None:
    bounds = [limits(default={"cpu": "500m"}, defaultRequest={"cpu": "100m"})]
    (demand,) = demands_of([workload(cpu="1")], NS)
    (one,) = limit_findings([with_defaults(demand, bounds)], bounds)
    assert "container main requests 1 of cpu and may use 500m only" in one.text
