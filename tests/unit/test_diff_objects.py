"""Objects three ways: created, removed, changed, replaced and drifted, with the noise folded and nothing lost."""

from __future__ import annotations

import base64
import copy
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.diff import drawn as drawing
from bot.diff import noise, objects
from bot.diff.fields import find
from bot.diff.noise import Noise
from bot.diff.objects import Kind, Live, ObjectChange, Pair
from bot.diff.values import ABSENT

Json = dict[str, Any]


def deployment(**spec: Any) -> Json:
    container = {
        "name": "server",
        "image": "aeterna:0.1.0",
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "resources": {"limits": {"cpu": "1000m", "memory": "1Gi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "aeterna", "labels": {"helm.sh/chart": "aeterna-0.1.0"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "aeterna"}},
            "template": {
                "metadata": {"labels": {"app": "aeterna"}, "annotations": {"checksum/config": "aa"}},
                "spec": {"containers": [container, {"name": "side", "image": "side:1"}]},
            },
            **spec,
        },
    }


def compared(old: Json | None, new: Json | None, live: Any = objects.UNREAD, **more: Any) -> ObjectChange:
    (pair,) = objects.pairs([old] if old else [], [new] if new else [], namespace="n")
    return objects.compare_object(pair, live, **more)


def container(obj: Json, at: int = 0) -> Json:
    found: Json = obj["spec"]["template"]["spec"]["containers"][at]
    return found


def test_an_object_against_itself_gives_nothing() -> None:
    found = compared(deployment(), deployment(), deployment())
    assert (found.change, found.fields, found.drift, found.noise) == (Kind.UNCHANGED, (), (), ())
    assert found.quiet


def test_a_change_is_told_field_by_field_with_what_the_cluster_has() -> None:
    new, live = deployment(), deployment()
    container(new)["image"] = "aeterna:0.2.0"
    container(new)["env"][1] = {"name": "C", "value": "3"}
    container(live)["image"] = "aeterna:hotfix"
    found = compared(deployment(), new, live)
    assert found.change is Kind.CHANGED
    assert found.restarts_pods
    root = "spec.template.spec.containers[server]"
    assert [(one.path, one.old, one.new, one.live) for one in found.fields] == [
        (f"{root}.env[B]", {"name": "B", "value": "2"}, ABSENT, {"name": "B", "value": "2"}),
        (f"{root}.env[C]", ABSENT, {"name": "C", "value": "3"}, ABSENT),
        (f"{root}.image", "aeterna:0.1.0", "aeterna:0.2.0", "aeterna:hotfix"),
    ]
    assert [one.path for one in found.drift] == [f"{root}.image"]
    assert "hotfix" not in repr(found)


def test_versions_labels_checksums_and_order_are_folded_and_counted() -> None:
    new = deployment()
    new["metadata"]["labels"]["helm.sh/chart"] = "aeterna-0.2.0"
    new["spec"]["template"]["metadata"]["annotations"]["checksum/config"] = "bb"
    container(new)["env"].reverse()
    container(new)["resources"]["limits"]["cpu"] = 1
    found = compared(deployment(), new)
    assert found.change is Kind.UNCHANGED
    assert found.restarts_pods
    assert {one.why for one in found.noise} == {Noise.LABELS, Noise.CHECKSUM, Noise.ORDER, Noise.SPELLING}
    said = noise.sentences([(str(found.ref), found.noise)])
    assert said == [
        "4 differences folded: checksums of other objects (1 in 1 object); labels that name the chart and its version "
        "(1 in 1 object); the order of lists, where it means nothing (1 in 1 object); another spelling of the same "
        "(1 in 1 object)."
    ]


def test_labels_that_come_with_their_whole_map_are_still_noise() -> None:
    old = deployment()
    del old["metadata"]["labels"]
    del old["spec"]["template"]["metadata"]["annotations"]
    found = compared(old, deployment())
    assert (found.change, {one.why for one in found.noise}) == (Kind.UNCHANGED, {Noise.LABELS, Noise.CHECKSUM})


def test_the_order_of_init_containers_is_a_change() -> None:
    old, new = deployment(), deployment()
    old["spec"]["template"]["spec"]["initContainers"] = [{"name": "one"}, {"name": "two"}]
    new["spec"]["template"]["spec"]["initContainers"] = [{"name": "two"}, {"name": "one"}]
    (change,) = compared(old, new).fields
    assert (change.path, change.old, change.new) == (
        "spec.template.spec.initContainers",
        ["one", "two"],
        ["two", "one"],
    )


def test_another_order_in_a_custom_resource_is_a_change_because_nobody_knows_what_it_means() -> None:
    old = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "v"}}
    found = compared({**old, "spec": {"http": [{"name": "a"}, {"name": "b"}]}},
                     {**old, "spec": {"http": [{"name": "b"}, {"name": "a"}]}})  # fmt: skip
    assert [one.path for one in found.fields] == ["spec.http"]


def test_objects_come_and_go_and_are_matched_whatever_their_api_version() -> None:
    pdb = {"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "p"}}
    old = [pdb, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}]
    new = [{**pdb, "apiVersion": "policy/v1"}, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}]
    found = list(objects.compare(old, new, namespace="n"))
    assert [(str(one.ref), one.change) for one in found] == [
        ("ConfigMap/c", Kind.CREATED),
        ("Service/s", Kind.REMOVED),
        ("PodDisruptionBudget/p", Kind.CHANGED),
    ]
    assert [one.path for one in found[2].fields] == ["apiVersion"]
    assert objects.counts(found) == {
        "created": 1, "removed": 1, "changed": 1, "replaced": 0, "unchanged": 0, "drifted": 0,
    }  # fmt: skip


def test_the_keep_policy_counts_as_the_cluster_has_it() -> None:
    """Helm asks the live object before it deletes (``pkg/kube/client.go`` of 4.3)."""
    kept = deployment()
    kept["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    assert compared(deployment(), None, kept).kept
    assert not compared(kept, None, deployment()).kept
    assert compared(kept, None).kept


def test_an_object_that_somebody_deleted_is_missing_and_one_nobody_read_is_not() -> None:
    assert compared(deployment(), deployment(), None).live is Live.MISSING
    assert not compared(deployment(), deployment(), None).quiet
    assert compared(deployment(), deployment()).live is Live.UNREAD
    assert compared(deployment(), deployment()).quiet


STATEFUL_SET: Json = {
    "apiVersion": "apps/v1",
    "kind": "StatefulSet",
    "metadata": {"name": "q"},
    "spec": {
        "serviceName": "q",
        "replicas": 1,
        "volumeClaimTemplates": [
            {
                "metadata": {"name": "storage", "labels": {"helm.sh/chart": "q-1"}},
                "spec": {"resources": {"requests": {"storage": "10Gi"}}},
            }
        ],
    },
}
JOB: Json = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "j"},
    "spec": {"template": {"metadata": {"labels": {}}}},
}
SERVICE: Json = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"type": "ClusterIP"}}
FROZEN: Json = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "c"},
    "immutable": True,
    "data": {"a": "1"},
}
CLAIM: Json = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "p"},
    "spec": {"accessModes": ["A"]},
}


def put(obj: Json, value: Any, *path: Any) -> Json:
    changed = copy.deepcopy(obj)
    at: Any = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return changed


_CLAIMS = ("spec", "volumeClaimTemplates", 0)


@pytest.mark.parametrize(
    ("old", "new", "stuck"),
    [
        (deployment(), deployment(selector={"matchLabels": {"app": "b"}}), ["spec.selector.matchLabels.app"]),
        (STATEFUL_SET, put(STATEFUL_SET, "20Gi", *_CLAIMS, "spec", "resources", "requests", "storage"),
         ["spec.volumeClaimTemplates[storage].spec.resources.requests.storage"]),
        (STATEFUL_SET, put(STATEFUL_SET, "q-2", *_CLAIMS, "metadata", "labels", "helm.sh/chart"),
         ['spec.volumeClaimTemplates[storage].metadata.labels."helm.sh/chart"']),
        (STATEFUL_SET, put(STATEFUL_SET, "10240Mi", *_CLAIMS, "spec", "resources", "requests", "storage"), []),
        (STATEFUL_SET, put(STATEFUL_SET, 3, "spec", "replicas"), []),
        (JOB, put(JOB, {"x": "y"}, "spec", "template", "metadata", "labels"), ["spec.template.metadata.labels.x"]),
        (SERVICE, put(SERVICE, "None", "spec", "clusterIP"), ["spec.clusterIP"]),
        (put(SERVICE, "None", "spec", "clusterIP"), SERVICE, []),
        (FROZEN, put(FROZEN, "2", "data", "a"), ["data.a"]),
        (put(FROZEN, False, "immutable"), put(FROZEN, "2", "data", "a"), []),
        (CLAIM, put(CLAIM, ["B"], "spec", "accessModes"), ["spec.accessModes"]),
        (CLAIM, put(CLAIM, {"requests": {"storage": "1Gi"}}, "spec", "resources"), []),
    ],
)  # fmt: skip
def test_what_cannot_be_changed_in_place_means_replaced(old: Json, new: Json, stuck: list[str]) -> None:
    found = compared(old, new)
    assert list(found.replaced) == stuck
    assert (found.change is Kind.REPLACED) == bool(stuck)


def test_a_rule_of_a_custom_kind_can_make_a_field_immutable() -> None:
    old = {"apiVersion": "x.example/v1", "kind": "X", "metadata": {"name": "x"}, "spec": {"size": "1"}}
    assert compared(old, put(old, "2", "spec", "size"), immutable=["spec.size"]).change is Kind.REPLACED


def live_of(obj: Json, *managed: tuple[str, str, str, Json]) -> Json:
    """As an API server gives it: defaults, status, and who owns what."""
    live = copy.deepcopy(obj)
    live["metadata"] |= {
        "uid": "u", "resourceVersion": "7", "generation": 2, "namespace": "n", "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [
            {"manager": name, "time": time, "subresource": subresource, "operation": "Update", "fieldsV1": fields}
            for name, time, subresource, fields in managed
        ],
    }  # fmt: skip
    live["spec"] |= {"progressDeadlineSeconds": 600, "strategy": {"type": "RollingUpdate"}}
    for one in live["spec"]["template"]["spec"]["containers"]:
        one |= {"terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent"}
        for port in one.get("ports", []):
            port["protocol"] = "TCP"
    live["status"] = {"readyReplicas": 2}
    return live


def test_what_the_server_fills_in_or_spells_otherwise_is_no_drift() -> None:
    old = deployment(paused=False, minReadySeconds=0)
    old["metadata"]["annotations"] = {}
    pod = old["spec"]["template"]["spec"]
    pod |= {"hostNetwork": False, "nodeSelector": {}, "tolerations": [], "securityContext": None, "subdomain": ""}
    live = live_of(deployment())
    container(live)["resources"]["limits"] = {"cpu": "1", "memory": "1024Mi"}
    live["spec"]["template"]["spec"]["containers"].reverse()
    found = compared(old, old, live)
    assert [one.path for one in found.drift] == []
    assert found.live is Live.PRESENT


def test_a_default_that_is_true_is_missed_when_the_manifest_says_false() -> None:
    old = deployment()
    old["spec"]["template"]["spec"]["automountServiceAccountToken"] = False
    (drift,) = compared(old, old, live_of(deployment())).drift
    assert drift.path == "spec.template.spec.automountServiceAccountToken"


def test_drift_names_who_and_when() -> None:
    live = live_of(
        deployment(replicas=5),
        ("helm", "2026-01-01T00:00:00Z", "", {"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
            'k:{"name":"server"}': {".": {}, "f:image": {}}}}}}}),
        ("kubectl", "2026-02-01T10:00:00Z", "scale", {"f:spec": {"f:replicas": {}}}),
        ("kubectl-edit", "2026-02-02T10:00:00Z", "", {"f:spec": {"f:template": {"f:spec": {"f:containers": {
            'k:{"name":"server"}': {"f:env": {'k:{"name":"DEBUG"}': {".": {}, "f:name": {}, "f:value": {}}}}}}}}}),
        ("kube-controller-manager", "2026-02-03T00:00:00Z", "", {"f:metadata": {"f:annotations": {
            "f:deployment.kubernetes.io/revision": {}}}}),
    )  # fmt: skip
    live["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "4"}
    container(live)["env"].append({"name": "DEBUG", "value": "1"})
    found = compared(deployment(), deployment(replicas=3), live)
    assert [(one.path, one.old, one.new, one.live, str(one.owners[0])) for one in found.drift] == [
        ("spec.replicas", 2, 3, 5, "kubectl at 2026-02-01T10:00:00Z"),
        (
            "spec.template.spec.containers[server].env[DEBUG]",
            ABSENT,
            ABSENT,
            {"name": "DEBUG", "value": "1"},
            "kubectl-edit at 2026-02-02T10:00:00Z",
        ),
    ]


def test_replicas_of_an_autoscaler_are_no_drift() -> None:
    hpa = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "aeterna"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "aeterna"}},
    }
    ref = objects.pairs([deployment()], [], namespace="n")[0].ref
    live = {ref: live_of(deployment(replicas=7))}
    alone = list(objects.compare([deployment()], [deployment()], namespace="n", live=live))
    assert [one.path for one in alone[0].drift] == ["spec.replicas"]
    both = list(objects.compare([deployment(), hpa], [deployment(), hpa], namespace="n", live=live))
    assert [one.drift for one in both] == [(), ()]
    assert [one.why for one in both[0].noise] == [Noise.AUTOSCALED]


def test_the_autoscaler_is_known_by_its_managed_field_as_well() -> None:
    live = live_of(deployment(replicas=7), ("kube-controller-manager", "", "scale", {"f:spec": {"f:replicas": {}}}))
    assert compared(deployment(), deployment(), live).drift == ()


def test_a_restart_by_hand_is_folded() -> None:
    mark = {"kubectl.kubernetes.io/restartedAt": "2026-02-01"}
    fields: Json = {f"f:{key}": {} for key in mark}
    live = live_of(
        deployment(),
        ("kubectl-rollout", "", "", {"f:spec": {"f:template": {"f:metadata": {"f:annotations": fields}}}}),
    )
    live["spec"]["template"]["metadata"]["annotations"] |= mark
    found = compared(deployment(), deployment(), live)
    assert (found.drift, [one.why for one in found.noise]) == ((), [Noise.RESTARTED])


SECRET: Json = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}


def test_string_data_is_the_data_that_it_becomes() -> None:
    coded = base64.b64encode(b"hunter2").decode()
    found = compared(
        {**SECRET, "stringData": {"p": "hunter2"}}, {**SECRET, "data": {"p": coded}}, {**SECRET, "data": {"p": coded}}
    )
    assert (found.change, found.drift) == (Kind.UNCHANGED, ())


def test_values_that_the_chart_draws_anew_are_folded() -> None:
    old, first, second = ({**SECRET, "data": {"p": text, "q": "x"}} for text in ("a", "b", "c"))
    (drawn,) = drawing.drawn([first], [second], namespace="n").values()
    found = compared(old, first, generated=drawn)
    assert (found.change, [one.why for one in found.noise]) == (Kind.UNCHANGED, [Noise.GENERATED])
    assert compared(old, put(first, "y", "data", "q"), generated=drawn).change is Kind.CHANGED


def test_unnamed_items_are_paired_by_what_they_say() -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}}
    pods, jobs = ({"resources": [name], "verbs": ["get", "list"]} for name in ("pods", "jobs"))
    old, new = {**role, "rules": [pods, jobs]}, {**role, "rules": [jobs, pods]}
    assert [one.why for one in compared(old, new).noise] == [Noise.ORDER]
    (added,) = compared(old, {**role, "rules": [jobs, pods, {"verbs": ["x"]}]}).fields
    assert (added.path, added.old, added.new) == ("rules[2]", ABSENT, {"verbs": ["x"]})
    assert compared(old, put(old, ["list", "get"], "rules", 0, "verbs")).change is Kind.UNCHANGED


def test_a_number_is_not_a_truth_and_an_amount_only_one_where_amounts_stand() -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"cpu": "1000m"}}
    assert compared(config, put(config, "1", "data", "cpu")).change is Kind.CHANGED
    assert compared(deployment(paused=True), deployment(paused=1)).change is Kind.CHANGED


scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2)
names = st.text("abcd", min_size=1, max_size=2)


def named(found: dict[str, Json]) -> list[Json]:
    return [{"name": name, **fields} for name, fields in found.items()]


trees = st.recursive(
    scalars | st.lists(scalars, max_size=3),
    lambda inner: (
        st.dictionaries(names, inner, max_size=3)
        | st.fixed_dictionaries(
            {"items": st.dictionaries(names, st.dictionaries(st.sampled_from("xyz"), inner)).map(named)}
        )
    ),
    max_leaves=8,
)
specs = st.dictionaries(names, trees, max_size=4)


def _of(spec: Json) -> Json:
    return {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec}


def shuffled(value: Any, seed: random.Random) -> Any:
    """The same value with the keys of maps and the items of named lists in another order."""
    if isinstance(value, dict):
        keys = list(value)
        seed.shuffle(keys)
        return {key: shuffled(value[key], seed) for key in keys}
    if isinstance(value, list):
        found = [shuffled(item, seed) for item in value]
        named = [item.get("name") for item in found if isinstance(item, dict)]
        if len(named) == len(found) == len({name for name in named if name}):
            seed.shuffle(found)
        return found
    return value


@given(specs)
def test_property_an_object_against_itself_gives_nothing(spec: Json) -> None:
    found = compared(_of(spec), copy.deepcopy(_of(spec)), copy.deepcopy(_of(spec)))
    assert (found.change, found.fields, found.drift, found.noise) == (Kind.UNCHANGED, (), (), ())


@given(specs, specs, st.randoms(use_true_random=False))
def test_property_the_order_of_maps_and_named_lists_changes_nothing(old: Json, new: Json, seed: random.Random) -> None:
    straight = compared(_of(old), _of(new), _of(old))
    other = compared(_of(shuffled(old, seed)), _of(shuffled(new, seed)), _of(shuffled(old, seed)))
    assert sorted(map(_told, straight.fields)) == sorted(map(_told, other.fields))
    assert straight.change is other.change
    assert straight.drift == other.drift == ()


def _told(change: Any) -> tuple[str, str, str]:
    return change.path, noise_free(change.old), noise_free(change.new)


def noise_free(value: Any) -> str:
    """One text for a value whatever the order in its maps and lists."""
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{key}:{noise_free(item)}" for key, item in value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(sorted(noise_free(item) for item in value)) + "]"
    return repr(value)


@given(specs, specs)
def test_property_each_change_tells_what_stands_there(old: Json, new: Json) -> None:
    there, back = compared(_of(old), _of(new)), compared(_of(new), _of(old))
    for one in there.fields:
        if not any(isinstance(step, objects.Item) and not step.by for step in one.steps):
            assert one.old is ABSENT or find(_of(old), one.steps) == one.old
    assert bool(there.fields) == bool(back.fields)


@given(specs)
def test_property_against_nothing_everything_is_created_or_removed(spec: Json) -> None:
    pair = Pair(objects.pairs([_of(spec)], [], namespace="n")[0].ref, None, _of(spec))
    assert objects.compare_object(pair).change is Kind.CREATED
    assert compared(_of(spec), None).change is Kind.REMOVED
