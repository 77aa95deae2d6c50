"""API versions that go away, constraints as Helm reads them, and namespaces on their way out."""

from __future__ import annotations

import pytest

from bot.errors import UserMistake
from bot.kube.apiversions import (
    helm_findings,
    judge_namespace,
    known_removals,
    kube_version_findings,
    removal_findings,
    unserved_findings,
)
from bot.kube.constraints import allows, normalised
from bot.kube.objects import Json


def obj(api: str, kind: str, name: str = "aeterna", **parts: object) -> Json:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **parts}


def test_the_table_names_its_source_and_every_row_is_whole() -> None:
    table = known_removals()
    assert table.source.startswith("https://kubernetes.io/")
    assert all(one.version and one.kind and 15 < one.minor < 60 for one in table.entries)
    assert len({(one.version, one.kind) for one in table.entries}) == len(table.entries)
    assert all(one.use != one.version for one in table.entries)


SLICE = "resource.k8s.io/v1beta1"


@pytest.mark.parametrize(("server", "level"), [("v1.37.2", "warning"), ("v1.36.0", "warning"), ("v1.34.1", "info")])
def test_what_goes_away_soon_is_a_warning_and_what_goes_later_is_told(server: str, level: str) -> None:
    (one,) = removal_findings([obj(SLICE, "ResourceClaim")], server)
    assert (one.level, one.code) == (level, "api.removal")
    assert "goes away in Kubernetes 1.38" in one.text
    assert "should use resource.k8s.io/v1" in one.way_out
    assert known_removals().source in one.way_out


def test_what_is_gone_already_or_stays_is_not_announced() -> None:
    assert removal_findings([obj(SLICE, "ResourceClaim"), obj("apps/v1", "Deployment")], "v1.38.0") == []


def test_a_server_without_a_version_is_said() -> None:
    assert removal_findings([], "unknown")[0].level == "warning"


def test_a_kind_that_kubernetes_removed_is_a_blocker_that_names_what_replaced_it() -> None:
    old = obj("autoscaling/v2beta2", "HorizontalPodAutoscaler")
    (one,) = unserved_findings([("autoscaling/v2beta2", "HorizontalPodAutoscaler")], [old], "v1.37.2")
    assert (one.level, one.code) == ("blocker", "api.unserved")
    assert "removed HorizontalPodAutoscaler of autoscaling/v2beta2 in 1.26" in one.text
    assert one.way_out == "The chart must use autoscaling/v2."


def test_a_kind_that_nobody_installed_is_a_blocker_even_when_the_manifest_brings_it() -> None:
    custom = obj("dragonflydb.io/v1alpha1", "Dragonfly")
    missing = [("dragonflydb.io/v1alpha1", "Dragonfly")]
    (one,) = unserved_findings(missing, [custom, obj("v1", "Service")], "v1.37.2")
    assert one.level == "blocker"
    assert "CustomResourceDefinition" in one.way_out
    spec = {"group": "dragonflydb.io", "names": {"kind": "Dragonfly"}, "versions": [{"name": "v1alpha1"}]}
    own = obj("apiextensions.k8s.io/v1", "CustomResourceDefinition", spec=spec)
    (one,) = unserved_findings(missing, [custom, own], "v1.37.2")
    assert (one.level, one.code) == ("blocker", "api.own")
    assert "Apply that CustomResourceDefinition first" in one.way_out


@pytest.mark.parametrize(
    ("constraint", "version", "allowed"),
    [
        (">=1.25.0", "1.37.2", True),
        (">= 1.25.0-0", "v1.37.2-gke.12", True),
        (">=1.25.0", "v1.37.2-gke.12", False),
        (">=1.25.0 <1.37.0", "1.37.2", False),
        (">=1.25, <1.38", "1.37.2", True),
        ("1.36.x || 1.37.x", "1.37.2", True),
        ("~1.37", "1.37.9", True),
        ("~1.37.3", "1.37.2", False),
        ("^1.25", "2.0.0", False),
        ("^0.2.3", "0.3.0", False),
        ("^0.0", "0.0.9", True),
        ("^0.0.3", "0.0.4", False),
        ("1.20 - 1.30", "1.30.5", True),
        ("1.20.0 - 1.30.0", "1.30.5", False),
        ("!=1.37", "1.37.2", False),
        ("!=1.37.x", "1.36.2", True),
        ("> 1.36", "1.36.9", False),
        ("> 1.36", "1.37.0", True),
        ("> 1", "1.99.0", False),
        ("<= 1.37", "1.37.9", True),
        ("<=1", "1.99.0", True),
        ("=1.37.2", "1.37.2", True),
        ("*", "1.37.2", True),
        ("~0.0.0", "9.9.9", True),
    ],
)
def test_constraints_are_read_as_helm_reads_them(constraint: str, version: str, allowed: bool) -> None:
    assert allows(constraint, version) is allowed


@pytest.mark.parametrize("constraint", ["", "newest", ">=1.2.3.4", ">>1", "1" * 600])
def test_what_helm_does_not_understand_is_a_mistake(constraint: str) -> None:
    with pytest.raises(UserMistake):
        allows(constraint, "1.37.2")


def test_a_servers_suffix_does_not_count_for_helm_4() -> None:
    assert normalised("v1.33.4-gke.1245000") == "1.33.4"
    assert normalised("1.30+") == "1.30.0"
    assert kube_version_findings(">=1.25.0", "v1.33.4-gke.12", helm_version="v4.3.1") == []
    (one,) = kube_version_findings(">=1.25.0", "v1.33.4-gke.12", helm_version="v3.19.0")
    assert (one.level, "names no pre-release" in one.text) == ("warning", True)


def test_a_chart_for_another_kubernetes_is_a_blocker() -> None:
    (one,) = kube_version_findings(">=1.40.0-0", "v1.37.2")
    assert one.text == "The chart asks for Kubernetes `>=1.40.0-0`; this cluster is v1.37.2."
    assert one.level == "blocker"
    assert kube_version_findings("", "v1.37.2") == []
    assert kube_version_findings("newest", "v1.37.2")[0].level == "warning"


@pytest.mark.parametrize(
    ("api", "helm", "level"),
    [("v2", "v4.3.1", None), ("v1", "", None), ("v3", "v4.3.1", "blocker"), ("", "", "blocker")],
)
def test_helm_reads_charts_of_two_api_versions(api: str, helm: str, level: str | None) -> None:
    assert [one.level for one in helm_findings(helm, api)] == ([level] if level else [])


def test_a_namespace_on_its_way_out_is_a_blocker_that_says_what_it_waits_for() -> None:
    assert judge_namespace("prod", obj("v1", "Namespace", "prod", status={"phase": "Active"})) == []
    assert judge_namespace("prod", None)[0].code == "namespace.missing"
    conditions = [
        {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "Some content has finalizers."},
        {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "All fine."},
    ]
    going = obj("v1", "Namespace", "prod", status={"phase": "Terminating", "conditions": conditions})
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    (one,) = judge_namespace("prod", going)
    assert (one.level, one.code) == ("blocker", "namespace.terminating")
    assert "since 2026-01-01T00:00:00Z: Some content has finalizers; nothing new" in one.text
