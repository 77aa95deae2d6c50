"""Whether a workload has arrived: the same verdicts as kubectl's rollout status and kstatus."""

from __future__ import annotations

from typing import Any

import pytest

from bot.kube.holding import HIBERNATION
from bot.kube.objects import Json, ObjectRef
from bot.kube.readiness import POSTGRES_HEALTHY, state_of

REFS = {
    "Deployment": ObjectRef("apps/v1", "Deployment", "aeterna", "prod"),
    "StatefulSet": ObjectRef("apps/v1", "StatefulSet", "aeterna-opal-server", "prod"),
    "DaemonSet": ObjectRef("apps/v1", "DaemonSet", "agent", "prod"),
    "Job": ObjectRef("batch/v1", "Job", "aeterna-migration", "prod"),
    "Pod": ObjectRef("v1", "Pod", "aeterna-test", "prod"),
    "Rollout": ObjectRef("argoproj.io/v1alpha1", "Rollout", "aeterna", "prod"),
    "Cluster": ObjectRef("postgresql.cnpg.io/v1", "Cluster", "aeterna-cnpg", "prod"),
}


def _obj(spec: Json, status: Json, *, generation: int = 2, observed: int = 2) -> Json:
    return {
        "metadata": {"generation": generation},
        "spec": spec,
        "status": {"observedGeneration": observed, **status},
    }


def _ready(count: int) -> Json:
    return {"replicas": count, "updatedReplicas": count, "readyReplicas": count, "availableReplicas": count}


@pytest.mark.parametrize(
    ("spec", "status", "phase", "message"),
    [
        ({"replicas": 2}, _ready(2), "ready", "2 of 2 pods ready"),
        ({}, _ready(1), "ready", "1 of 1 pods ready"),
        ({"replicas": 0}, {}, "ready", "0 of 0 pods ready"),
        ({"replicas": 2}, _ready(2) | {"updatedReplicas": 1}, "progressing", "1 of 2 pods updated"),
        ({"replicas": 2}, _ready(2) | {"replicas": 3}, "progressing", "1 old pods still ending"),
        ({"replicas": 2}, _ready(2) | {"availableReplicas": 1}, "progressing", "1 of 2 updated pods available"),
        (
            {"replicas": 2},
            {"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]},
            "failed",
            "exceeded its progress deadline",
        ),
        ({"replicas": 2, "paused": True}, {}, "failed", "is paused"),
    ],
)
def test_a_deployment_is_judged_by_its_updated_and_available_pods(
    spec: Json, status: Json, phase: str, message: str
) -> None:
    state = state_of(REFS["Deployment"], _obj(spec, status))
    assert (state.phase, state.message) == (phase, message)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_status_of_an_older_generation_proves_nothing(kind: str) -> None:
    counts = _ready(1) | {"desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 1}
    assert state_of(REFS[kind], _obj({}, counts, generation=3, observed=2)).phase == "progressing"
    assert state_of(REFS[kind], _obj({}, counts)).phase == "ready"


SAME: dict[str, Any] = {"updateRevision": "b", "currentRevision": "b"}
OTHER: dict[str, Any] = {"updateRevision": "b", "currentRevision": "a"}


@pytest.mark.parametrize(
    ("spec", "status", "phase"),
    [
        ({"replicas": 3}, _ready(3) | SAME, "ready"),
        ({"replicas": 3}, _ready(3) | OTHER, "progressing"),
        ({"replicas": 3}, _ready(2) | SAME, "progressing"),
        ({"replicas": 3}, _ready(4) | SAME, "progressing"),
        ({"replicas": 0}, OTHER, "ready"),
        ({"replicas": 3, "updateStrategy": {"type": "OnDelete"}}, _ready(3) | OTHER, "ready"),
        (
            {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}},
            _ready(3) | OTHER | {"updatedReplicas": 1},
            "ready",
        ),
        (
            {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
            _ready(3) | OTHER | {"updatedReplicas": 1},
            "progressing",
        ),
    ],
)
def test_a_stateful_set_is_judged_by_revision_and_partition(spec: Json, status: Json, phase: str) -> None:
    assert state_of(REFS["StatefulSet"], _obj(spec, status)).phase == phase


def test_a_daemon_set_waits_for_updated_and_available_pods() -> None:
    status = {"desiredNumberScheduled": 2, "updatedNumberScheduled": 1, "numberReady": 2, "numberAvailable": 2}
    assert state_of(REFS["DaemonSet"], _obj({}, status)).message == "1 of 2 pods updated"
    on_delete = {"updateStrategy": {"type": "OnDelete"}}
    assert state_of(REFS["DaemonSet"], _obj(on_delete, status)).phase == "ready"
    unavailable = status | {"updatedNumberScheduled": 2, "numberAvailable": 1}
    assert state_of(REFS["DaemonSet"], _obj({}, unavailable)).message == "1 of 2 pods available"


def test_a_job_is_ready_when_complete_and_failed_when_it_says_so() -> None:
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too many"}
    assert state_of(REFS["Job"], _obj({}, {"conditions": [failed]})).phase == "failed"
    assert state_of(REFS["Job"], _obj({}, {"conditions": [{"type": "Complete", "status": "True"}]})).phase == "ready"
    assert state_of(REFS["Job"], _obj({"completions": 2}, {"succeeded": 1})).message == "1 of 2 completed"
    assert state_of(REFS["Job"], _obj({"suspend": True}, {})).phase == "ready"


def test_a_pod_is_ready_by_its_condition_or_by_completing() -> None:
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    assert state_of(REFS["Pod"], _obj({}, ready)).phase == "ready"
    assert state_of(REFS["Pod"], _obj({}, {"phase": "Succeeded"})).phase == "ready"
    assert state_of(REFS["Pod"], _obj({}, {"phase": "Failed", "message": "gone"})).phase == "failed"
    assert state_of(REFS["Pod"], _obj({}, {})).message == "pending"


def test_what_is_missing_or_on_its_way_out_is_progressing() -> None:
    assert state_of(REFS["Job"], None).message == "not there yet"
    ending = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert state_of(REFS["Deployment"], ending).message == "being deleted"


def test_a_kind_without_a_rollout_is_ready_when_it_is_there() -> None:
    assert state_of(ObjectRef("v1", "ConfigMap", "aeterna", "prod"), {"metadata": {}}).phase == "ready"


@pytest.mark.parametrize(
    ("status", "phase", "message"),
    [
        ({"availableReplicas": 4, "phase": "Paused"}, "ready", "4 of 4 pods ready"),
        ({"availableReplicas": 4, "phase": "Degraded"}, "ready", "4 of 4 pods ready"),  # aborted: the old version runs
        ({"availableReplicas": 1}, "progressing", "1 of 4 pods available"),
        (
            {"observedGeneration": "1", "availableReplicas": 4},
            "progressing",
            "waiting for the controller to see the change",
        ),
        ({"observedGeneration": "6d4f9c", "availableReplicas": 4}, "ready", "4 of 4 pods ready"),  # before 1.0 a hash
        (
            {"conditions": [{"type": "InvalidSpec", "status": "True", "reason": "InvalidSpec", "message": "no steps"}]},
            "failed",
            "InvalidSpec: no steps",
        ),
    ],
)
def test_an_argo_rollout_is_judged_by_its_available_pods(status: Json, phase: str, message: str) -> None:
    state = state_of(REFS["Rollout"], _obj({"replicas": 4}, {"observedGeneration": "2", **status}))
    assert (state.phase, state.message) == (phase, message)


@pytest.mark.parametrize(
    ("hibernation", "status", "phase", "message"),
    [
        ("off", {"readyInstances": 2, "phase": POSTGRES_HEALTHY}, "ready", "2 of 2 instances ready"),
        ("off", {"readyInstances": 1, "phase": POSTGRES_HEALTHY}, "progressing", "1 of 2 instances ready"),
        (
            "off",
            {"readyInstances": 2, "phase": "Failing over"},
            "progressing",
            "2 of 2 instances ready: Failing over",
        ),
        (
            "off",
            {"readyInstances": 2, "phase": POSTGRES_HEALTHY, "conditions": [{"type": HIBERNATION, "status": "True"}]},
            "progressing",
            "waiting for the operator to wake it",
        ),
        ("on", {"readyInstances": 0}, "ready", "hibernated"),
        (
            "off",
            {"phase": "Cluster is unrecoverable and needs manual intervention"},
            "failed",
            "Cluster is unrecoverable and needs manual intervention",
        ),
    ],
)
def test_a_database_is_judged_by_its_instances_and_its_operators_word(
    hibernation: str, status: Json, phase: str, message: str
) -> None:
    obj = _obj({"instances": 2}, status)
    obj["metadata"]["annotations"] = {HIBERNATION: hibernation}
    state = state_of(REFS["Cluster"], obj)
    assert (state.phase, state.message) == (phase, message)


def test_a_cluster_of_another_group_is_only_there() -> None:
    other = ObjectRef("cluster.x-k8s.io/v1beta1", "Cluster", "prod", "prod")
    assert state_of(other, _obj({}, {})).message == "is there"
