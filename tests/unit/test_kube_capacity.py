"""Which pods would find no node: what a manifest asks for, where it may run, and how that is said."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bot.kube.capacity import judge
from bot.kube.demand import Demand, demands_of
from bot.kube.findings import KubeFinding
from bot.kube.objects import Json
from bot.kube.quantities import quantity, requests_of, share, shown
from bot.kube.room import room_findings
from bot.kube.selectors import matches, node_allowed, tolerated
from bot.kube.standing import Standing, owned_by
from bot.kube.surroundings import Surroundings
from tests.unit.kube_sample import NS, apart, hook, node, running, scaler, workload


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", "0.1"),
        ("2", "2"),
        ("256Mi", str(256 * 1024**2)),
        ("1e3", "1000"),
        ("5G", "5000000000"),
        ("0.5", "0.5"),
        ("many", "0"),
    ],
)
def test_quantities_are_read_as_kubernetes_writes_them(text: str, value: str) -> None:
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    ("resource", "value", "said"),
    [
        ("memory", "1610612736", "1.5 GiB"),
        ("requests.storage", "1073741824", "1 GiB"),
        ("memory", "12", "12 B"),
        ("requests.cpu", "0.25", "250m"),
        ("cpu", "64", "64"),
        ("pods", "110", "110"),
    ],
)
def test_amounts_are_shown_as_a_person_would_write_them(resource: str, value: str, said: str) -> None:
    assert shown(resource, Decimal(value)) == said


def test_percentages_round_as_their_field_does() -> None:
    assert (share("25%", 2, up=True), share("25%", 2, up=False), share(3, 9, up=True)) == (1, 0, 3)


def test_a_pod_requests_its_containers_or_its_largest_init_container() -> None:
    spec: Json = {
        "containers": [
            {"resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "1Gi"}}},
            {"resources": {"requests": {"cpu": "200m"}}},
        ],
        "initContainers": [
            {"resources": {"requests": {"cpu": "1"}}},
            {"restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
        ],
        "overhead": {"cpu": "10m"},
    }
    asked = requests_of(spec)
    assert (asked["cpu"], asked["memory"]) == (Decimal("1.06"), Decimal(1024**3))


def demand(obj: Json, **around: list[Json]) -> Demand:
    (found,) = demands_of([obj], NS, **around)
    return found


def test_the_number_of_pods_is_the_manifests_else_the_live_one_and_at_least_the_autoscalers() -> None:
    live = [workload(replicas=5)]
    assert demand(workload()).replicas == 1
    assert demand(workload(replicas=3)).replicas == 3
    assert demand(workload(), live=live).replicas == 5
    scaled = demand(workload(replicas=1), scalers=[scaler(4)])
    assert (scaled.replicas, scaled.scaler) == (4, "aeterna")
    assert demand(workload(replicas=0), scalers=[scaler(4)]).replicas == 0


def test_only_a_deployment_whose_pods_change_runs_more_of_them_for_a_while() -> None:
    old, new = workload(replicas=4, cpu="1"), workload(replicas=4, cpu="2")
    rolling = demand(new, before=[old])
    assert (rolling.surge, rolling.unavailable) == (1, 1)
    assert demand(new, before=[new]).surge == 0
    assert demand(new).surge == 0
    assert demand(new | {"spec": new["spec"] | {"strategy": {"type": "Recreate"}}}, before=[old]).surge == 0
    single = demand(workload(replicas=1, cpu="2"), before=[workload(replicas=1)])
    assert (single.surge, single.unavailable) == (1, 0)
    stuck = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}
    assert demand(workload(replicas=1, cpu="2", strategy=stuck), before=[old]).unavailable == 1


def test_jobs_that_are_done_and_suspended_cronjobs_ask_for_nothing() -> None:
    done = workload("Job", "once") | {"status": {"completionTime": "2026-01-01T00:00:00Z"}}
    assert demands_of([workload("Job", "once")], NS, live=[done]) == []
    assert demand(workload("Job", "once", parallelism=3)).replicas == 3
    assert demands_of([workload("CronJob", "backup", suspend=True)], NS) == []
    assert demand(workload("CronJob", "backup")).purpose == "now and then"


def test_what_an_operator_will_run_is_counted() -> None:
    spec = {"instances": 3, "resources": {"requests": {"cpu": "2"}}, "affinity": {"nodeSelector": {"disk": "ssd"}}}
    cluster = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "db"}, "spec": spec}
    found = demand(cluster)
    assert (found.replicas, found.each["cpu"], found.spec["nodeSelector"]) == (3, Decimal(2), {"disk": "ssd"})


def test_hooks_of_an_upgrade_and_tests_are_kept_apart_from_what_stays() -> None:
    hooks = [
        hook("pre-install,pre-upgrade", "a"),
        hook("post-upgrade", "b"),
        hook("test", "c"),
        hook("pre-delete", "d"),
    ]
    assert [one.purpose for one in demands_of([], NS, hooks=hooks)] == ["before", "after", "test"]


def findings(
    objects: list[Json],
    nodes: list[Json],
    pods: list[Standing] | None = None,
    *,
    mine: dict[str, tuple[str, str]] | None = None,
    **around: list[Json],
) -> list[KubeFinding]:
    owners = mine or {}
    return room_findings(demands_of(objects, NS, **around), nodes, pods or [], owners, owners)


def test_what_fits_is_no_finding() -> None:
    assert findings([workload(replicas=4)], [node()]) == []


def test_a_pod_larger_than_every_node_is_a_blocker_that_says_by_how_much() -> None:
    (found,) = findings([workload(cpu="64")], [node(), node("n2")])
    assert (found.level, found.code, found.subject) == ("blocker", "capacity.unschedulable", "Deployment/aeterna")
    assert found.text == (
        "One pod of Deployment/aeterna requests 64 of cpu, more than any node has in all: "
        "2 nodes: too little cpu (64 asked, 4 free at most)."
    )


def test_the_pods_that_do_not_fit_are_named() -> None:
    (found,) = findings([workload("StatefulSet", "opal", replicas=6)], [node()])
    assert (found.level, found.code) == ("blocker", "capacity.full")
    assert found.text.startswith("StatefulSet/opal: opal-4, opal-5 would not fit: 1 node: too little cpu")
    (found,) = findings([workload(), scaler(6)], [node()])
    assert found.text.startswith(
        "2 of 6 pods of Deployment/aeterna would not fit (the minimum of its autoscaler aeterna is 6)"
    )
    (found,) = findings([workload()], [node()], [running("x", "3500m")])
    assert found.text.startswith("The pod of Deployment/aeterna would not fit")


def test_what_only_our_way_of_packing_could_not_place_is_a_warning() -> None:
    both = [workload(replicas=1, cpu="3"), workload(name="second", replicas=1, cpu="3")]
    (found,) = findings(both, [node()])
    assert found.level == "warning"


def test_where_an_autoscaler_makes_nodes_want_of_room_is_a_warning() -> None:
    made = node(labels={"karpenter.sh/nodepool": "default"})
    assert [one.level for one in findings([workload(cpu="64")], [made])] == ["warning"]


def test_the_present_pods_of_the_release_make_room() -> None:
    mine, other = running("a", "3"), running("b", "1")
    owners = {"a": ("Deployment", "aeterna")}
    assert findings([workload(replicas=3)], [node()], [mine, other], mine=owners) == []
    assert findings([workload(replicas=3)], [node()], [mine, other])[0].code == "capacity.full"


TAINT = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
SOFT = {"key": "dedicated", "effect": "PreferNoSchedule"}
NODE_AFFINITY: Json = {
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}]
            }
        }
    }
}


@pytest.mark.parametrize(
    ("one", "pod", "said"),
    [
        (node(taints=[TAINT]), {}, "taint dedicated=gpu:NoSchedule is not tolerated"),
        (node(unschedulable=True), {}, "cordoned (unschedulable)"),
        (node(ready=False), {}, "not Ready"),
        (node(), {"nodeSelector": {"disk": "ssd"}}, "no label disk=ssd (nodeSelector)"),
        (node(), NODE_AFFINITY, "the required node affinity does not match"),
        (node(), {"nodeName": "n9"}, "the pod asks for node n9"),
    ],
)
def test_a_node_that_the_pods_may_not_use_is_left_out_and_the_reason_told(one: Json, pod: Json, said: str) -> None:
    (found,) = findings([workload(pod=pod)], [one])
    assert (found.level, found.code) == ("blocker", "capacity.unschedulable")
    assert found.text == f"No node may run the pods of Deployment/aeterna: 1 node: {said}."
    assert "tolerations" in found.way_out


def test_tolerations_selectors_and_affinity_let_pods_in() -> None:
    tolerant = {"tolerations": [{"key": "dedicated", "operator": "Exists"}]}
    assert findings([workload(pod=tolerant)], [node(taints=[TAINT])]) == []
    assert findings([workload()], [node(taints=[SOFT])]) == []
    assert findings([workload(pod=NODE_AFFINITY)], [node(zone="b")]) == []
    (found,) = findings([workload(cpu="8", pod=tolerant)], [node(taints=[TAINT]), node("n2", cpu="16", ready=False)])
    assert "more than any node that it may use has in all" in found.text


def test_a_cluster_without_nodes_is_told_plainly() -> None:
    (found,) = findings([workload()], [])
    assert found.text == "No node may run the pods of Deployment/aeterna: the cluster has no nodes."


def test_pods_that_refuse_each_other_need_a_node_each() -> None:
    (found,) = findings([workload(replicas=3, pod=apart())], [node(), node("n2")])
    assert found.level == "blocker"
    assert found.text.startswith("1 of 3 pods of Deployment/aeterna would not fit: 2 nodes: its anti-affinity keeps it")


def test_a_foreign_pods_anti_affinity_keeps_ours_away() -> None:
    hermit = running("h", "1", **apart("aeterna"))
    (found,) = findings([workload()], [node()], [hermit])
    assert "the anti-affinity of a pod in the same kubernetes.io/hostname keeps it away" in found.text
    stranger = running("h", "1", namespace="else", **apart("aeterna"))
    assert findings([workload()], [node()], [stranger]) == []
    everywhere = running("h", "1", namespace="else", **apart("aeterna", namespaceSelector={}))
    assert len(findings([workload()], [node()], [everywhere])) == 1


def test_pods_that_want_company_start_anywhere_and_stay_together() -> None:
    term = {"labelSelector": {"matchLabels": {"app": "aeterna"}}, "topologyKey": "zone"}
    pod = {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}
    nodes = [node(cpu="2"), node("n2", zone="b")]
    (found,) = findings([workload(replicas=3, pod=pod)], nodes)
    assert "no pod that its required affinity asks for is near" in found.text
    lonely = {**term, "labelSelector": {"matchLabels": {"app": "redis"}}}
    pod = {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [lonely]}}}
    assert len(findings([workload(pod=pod)], nodes)) == 1
    assert findings([workload(pod=pod)], nodes, [running("r", "1", app="redis")]) == []


def test_hard_topology_spread_is_kept() -> None:
    rule = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    pod = {"topologySpreadConstraints": [rule | {"labelSelector": {"matchLabels": {"app": "aeterna"}}}]}
    assert findings([workload(replicas=4, pod=pod)], [node(), node("n2", zone="b")]) == []
    (found,) = findings([workload(replicas=4, pod=pod)], [node(), node("n2", zone="b", cpu="1")])
    assert "its topology spread over zone allows no more here" in found.text


def test_a_node_takes_only_so_many_pods() -> None:
    (found,) = findings([workload(replicas=2, cpu=None)], [node(pods="1")])
    assert "too little pods (1 asked, 0 free at most)" in found.text


def test_a_daemon_needs_room_on_every_node_that_it_may_use() -> None:
    daemon = workload("DaemonSet", "agent", cpu="1")
    nodes = [node(), node("n2"), node("n3", taints=[TAINT])]
    (found,) = findings([daemon], nodes, [running("x", "3500m", "n2")])
    assert found.level == "warning"
    assert found.text.startswith("DaemonSet/agent on n2 would not fit")
    assert findings([daemon], [node(unschedulable=True, ready=False)]) == []


def test_a_rollout_that_may_not_be_without_a_pod_needs_room_for_one_more() -> None:
    old, new = workload(replicas=1, cpu="2"), workload(replicas=1, cpu="3")
    pods, owners = [running("a", "2", app="aeterna")], {"a": ("Deployment", "aeterna")}
    (found,) = findings([new], [node()], pods, mine=owners, before=[old])
    assert (found.level, found.code) == ("warning", "capacity.surge")
    assert "The rollout of Deployment/aeterna would not begin: it may not be without a pod" in found.text
    patient = workload(replicas=1, cpu="3", strategy={"rollingUpdate": {"maxUnavailable": 1}})
    assert [one.level for one in findings([patient], [node()], pods, mine=owners, before=[old])] == ["info"]
    assert findings([new], [node(cpu="8")], pods, mine=owners, before=[old]) == []


def test_a_rollout_that_its_own_anti_affinity_locks_is_a_blocker_that_no_waiting_solves() -> None:
    old, new = workload(replicas=1, pod=apart()), workload(replicas=1, cpu="2", pod=apart())
    pods, owners = [running("a", "1", app="aeterna", **apart())], {"a": ("Deployment", "aeterna")}
    (found,) = findings([new], [node()], pods, mine=owners, before=[old])
    assert (found.level, found.code) == ("blocker", "capacity.surge")
    free = apart(matchLabelKeys=["pod-template-hash"])
    mine = running("a", "1", app="aeterna", **free)
    labelled = Standing(**{**vars(mine), "labels": {"app": "aeterna", "pod-template-hash": "abc"}})
    assert findings([workload(cpu="2", pod=free)], [node()], [labelled], mine=owners, before=[old]) == []


def test_hooks_and_tests_are_placed_by_themselves() -> None:
    full = [running("x", "4")]
    for events, level in (("pre-upgrade", "warning"), ("post-upgrade", "warning"), ("test", "warning")):
        (found,) = findings([], [node()], full, hooks=[hook(events)])
        assert (found.level, found.code) == (level, "capacity.hook")
    (found,) = findings([], [node()], hooks=[hook("pre-upgrade", cpu="64")])
    assert found.level == "blocker"
    assert "(hook before the upgrade) would find no node" in found.text
    (found,) = findings([], [node()], hooks=[hook("test", cpu="64")])
    assert found.level == "warning"
    (found,) = findings([workload("CronJob", "backup", cpu="64")], [node()])
    assert "(CronJob)" in found.text


def test_a_hook_before_the_upgrade_has_only_what_is_free_now() -> None:
    pods, owners = [running("a", "4", app="aeterna")], {"a": ("Deployment", "aeterna")}
    small = workload(replicas=1, cpu="1")
    assert findings([small], [node()], pods, mine=owners, hooks=[hook("post-upgrade")]) == []
    assert len(findings([small], [node()], pods, mine=owners, hooks=[hook("pre-upgrade")])) == 1
    leaving = {"a": ("Deployment", "gone")}
    assert findings([small], [node()], pods, mine=leaving, hooks=[hook("pre-upgrade")]) == []


def test_a_pods_workload_is_found_through_what_stands_between() -> None:
    pods = [Standing("a", NS, "n1", {}, {}, owner=("ReplicaSet", "rs")), Standing("b", NS, "n1", {}, {})]
    chains = {("ReplicaSet", "rs"): ("Deployment", "aeterna")}
    assert owned_by(pods, chains) == {"a": ("Deployment", "aeterna"), "b": ("", "")}


def test_the_answer_does_not_depend_on_the_order_of_anything() -> None:
    objects = [workload(replicas=3), workload("StatefulSet", "opal", replicas=3), workload(name="x", cpu="2")]
    nodes, pods = [node(), node("n2", cpu="2")], [running("a", "1"), running("b", "500m", "n2")]
    one = findings(objects, nodes, pods)
    assert one
    assert sorted(findings(objects[::-1], nodes[::-1], pods[::-1]), key=str) == sorted(one, key=str)


def test_what_could_not_be_read_is_left_out_of_the_judgement() -> None:
    blind = Surroundings(nodes=None, classes=None, priorities=None)
    assert judge(blind, [workload(cpu="64", pod={"priorityClassName": "high"})], NS) == []
    seen = Surroundings(nodes=(node(),), classes=(), priorities=())
    codes = [one.code for one in judge(seen, [workload(cpu="64", pod={"priorityClassName": "high"})], NS)]
    assert codes == ["capacity.unschedulable", "priority.missing"]


@pytest.mark.parametrize(
    ("said", "labels", "takes"),
    [
        (None, {"a": "1"}, False),
        ({}, {"a": "1"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": "1"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Unheard"}]}, {"a": "1"}, False),
    ],
)
def test_label_selectors_are_kubernetes_own(said: Json | None, labels: dict[str, str], takes: bool) -> None:
    assert matches(said, labels) is takes


@pytest.mark.parametrize(
    ("toleration", "bears"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "dedicated", "value": "gpu"}, True),
        ({"key": "dedicated", "value": "cpu"}, False),
        ({"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"value": "gpu"}, False),
    ],
)
def test_tolerations_are_kubernetes_own(toleration: Json, bears: bool) -> None:
    assert tolerated(TAINT, [toleration]) is bears


@pytest.mark.parametrize(
    ("term", "allowed"),
    [
        ({}, False),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}, True),
        ({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["7"]}]}, True),
        ({"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["7"]}]}, False),
        ({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["many"]}]}, False),
    ],
)
def test_node_affinity_is_kubernetes_own(term: Json, allowed: bool) -> None:
    said = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    assert node_allowed(said, "n1", {"cores": "8"}) is allowed
