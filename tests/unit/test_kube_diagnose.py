"""Why a workload is stuck: every branch of the reasoning, over JSON as clusters give it."""

from __future__ import annotations

from typing import Any

import pytest

from bot.kube.diagnose import Problem, Surroundings, diagnose, diagnose_claim, diagnose_pod
from bot.kube.events import EventLine, fold
from bot.kube.objects import Json, ObjectRef

REF = ObjectRef("apps/v1", "Deployment", "aeterna", "prod")
DEPLOYMENT: Json = {"kind": "Deployment", "metadata": {"name": "aeterna"}, "spec": {"replicas": 1}, "status": {}}


def _pod(name: str = "aeterna-1", *, status: Json | None = None, spec: Json | None = None, **meta: Any) -> Json:
    return {
        "kind": "Pod",
        "metadata": {"name": name, **meta},
        "spec": spec or {},
        "status": {"phase": "Pending", **(status or {})},
    }


def _container(state: Json, **more: Any) -> Json:
    return {"name": "server", "image": "ghcr.io/a:1", "ready": False, "restartCount": 0, "state": state, **more}


def _event(reason: str, message: str, kind: str = "Pod", name: str = "aeterna-1") -> EventLine:
    about = {"kind": kind, "name": name, "namespace": "prod"}
    return fold([{"reason": reason, "message": message, "involvedObject": about, "type": "Warning"}])[0]


def _only(pod: Json, *events: EventLine) -> Problem:
    problems = diagnose_pod(pod, Surroundings(pods=[pod], events=events))
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"])
def test_an_image_that_cannot_be_pulled_is_named_with_the_kubelets_message(reason: str) -> None:
    status = _container({"waiting": {"reason": reason, "message": "manifest unknown"}})
    problem = _only(_pod(status={"containerStatuses": [status]}))
    assert (problem.kind, problem.image) == ("image_pull", "ghcr.io/a:1")
    assert "manifest unknown" in problem.message


def test_an_image_pull_without_a_message_takes_the_events() -> None:
    status = _container({"waiting": {"reason": "ImagePullBackOff"}})
    problem = _only(_pod(status={"containerStatuses": [status]}), _event("Failed", "403 Forbidden"))
    assert "403 Forbidden" in problem.message


def test_a_crash_loop_tells_exit_code_and_restarts() -> None:
    last = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    status = _container({"waiting": {"reason": "CrashLoopBackOff"}}, lastState=last, restartCount=3)
    problem = _only(_pod(status={"containerStatuses": [status]}))
    assert (problem.kind, problem.exit_code, problem.restarts) == ("crash", 137, 3)
    assert problem.message == "Container server of aeterna-1 crashes (exit code 137, OOMKilled, 3 restarts)."
    assert problem.wants_log


def test_a_crash_between_two_restarts_is_still_a_crash() -> None:
    last = {"terminated": {"exitCode": 1, "reason": "Error"}}
    status = _container({"running": {}}, lastState=last, restartCount=1)
    assert _only(_pod(status={"containerStatuses": [status]})).message.endswith("(exit code 1, 1 restart).")


def test_a_container_that_ended_with_an_error_is_a_crash() -> None:
    status = _container({"terminated": {"exitCode": 2, "reason": "Error"}})
    assert _only(_pod(status={"containerStatuses": [status]})).exit_code == 2


def test_a_command_that_cannot_be_run_is_a_crash_without_exit_code() -> None:
    status = _container({"waiting": {"reason": "RunContainerError", "message": "exec: not found"}})
    problem = _only(_pod(status={"containerStatuses": [status]}))
    assert (problem.kind, problem.exit_code) == ("crash", None)
    assert "exec: not found" in problem.message


def test_an_init_container_counts_too() -> None:
    init = _container({"waiting": {"reason": "CrashLoopBackOff"}}, name="wait-for-db")
    main = _container({"waiting": {"reason": "PodInitializing"}})
    problem = _only(_pod(status={"initContainerStatuses": [init], "containerStatuses": [main]}))
    assert problem.container == "wait-for-db"


def test_a_missing_secret_is_a_configuration_problem() -> None:
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "aeterna-db" not found'}
    problem = _only(_pod(status={"containerStatuses": [_container({"waiting": waiting})]}))
    assert (problem.kind, "aeterna-db" in problem.message) == ("configuration", True)


def test_a_container_that_runs_and_is_not_ready_tells_what_the_probe_said() -> None:
    pod = _pod(status={"phase": "Running", "containerStatuses": [_container({"running": {}})]})
    problem = _only(pod, _event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"))
    assert (problem.kind, "statuscode: 503" in problem.message) == ("not_ready", True)


def test_a_readiness_gate_is_told_when_no_probe_spoke() -> None:
    pod = _pod(
        status={"phase": "Running", "containerStatuses": [_container({"running": {}})]},
        spec={"readinessGates": [{"conditionType": "lb/attached"}]},
    )
    assert "readiness gate lb/attached is not met" in _only(pod).message


def test_an_unschedulable_pod_tells_the_schedulers_reason() -> None:
    said = "0/3 nodes are available: 3 Insufficient cpu."
    pod = _pod(status={"conditions": [{"type": "PodScheduled", "status": "False", "message": said}]})
    assert _only(pod).message == "Pod aeterna-1 fits on no node: 0/3 nodes are available: 3 Insufficient cpu."


def test_a_claim_that_is_not_bound_is_named_before_the_scheduler() -> None:
    said = "pod has unbound immediate PersistentVolumeClaims"
    pod = _pod(
        status={"conditions": [{"type": "PodScheduled", "status": "False", "message": said}]},
        spec={"volumes": [{"persistentVolumeClaim": {"claimName": "data-0"}}, {"emptyDir": {}}]},
    )
    claims: list[Json] = [
        {"metadata": {"name": "data-0"}, "spec": {"storageClassName": "fast"}, "status": {"phase": "Pending"}},
        {"metadata": {"name": "other"}, "status": {"phase": "Pending"}},
    ]
    event = _event("ProvisioningFailed", "no such class", kind="PersistentVolumeClaim", name="data-0")
    problems = diagnose_pod(pod, Surroundings(pods=[pod], claims=claims, events=[event]))
    assert [problem.kind for problem in problems] == ["pvc_pending", "unschedulable"]
    assert problems[0].message == "PersistentVolumeClaim data-0 is Pending (storage class fast): no such class."


def test_a_bound_claim_is_no_problem() -> None:
    assert diagnose_claim({"metadata": {"name": "a"}, "status": {"phase": "Bound"}}, Surroundings()) == []


def test_a_volume_that_cannot_be_mounted_is_told() -> None:
    status = _container({"waiting": {"reason": "ContainerCreating"}})
    problem = _only(_pod(status={"containerStatuses": [status]}), _event("FailedMount", "timed out"))
    assert (problem.kind, problem.message) == ("volume", "Pod aeterna-1 waits for a volume: timed out.")


def test_a_pod_without_a_sandbox_is_told() -> None:
    problem = _only(_pod(), _event("FailedCreatePodSandBox", "no address left"))
    assert "no address left" in problem.message


def test_a_pod_that_just_starts_is_not_called_broken() -> None:
    assert _only(_pod()).kind == "starting"


def test_an_evicted_pod_tells_why() -> None:
    pod = _pod(status={"phase": "Failed", "reason": "Evicted", "message": "low on memory"})
    assert _only(pod).message == "Pod aeterna-1 was ended: Evicted. low on memory"


def test_a_pod_on_its_way_out_is_told_so() -> None:
    assert _only(_pod(deletionTimestamp="2026-01-01T00:00:00Z")).kind == "terminating"


@pytest.mark.parametrize(
    "status", [{"phase": "Succeeded"}, {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}]
)
def test_a_good_pod_has_no_problem(status: Json) -> None:
    assert diagnose_pod(_pod(status=status), Surroundings()) == []


def test_pods_that_cannot_be_created_for_quota_are_told_from_the_set_between() -> None:
    owner = {"kind": "ReplicaSet", "metadata": {"name": "aeterna-5f"}}
    said = 'pods "aeterna-5f-x" is forbidden: exceeded quota: small'
    event = _event("FailedCreate", said, kind="ReplicaSet", name="aeterna-5f")
    (problem,) = diagnose(REF, DEPLOYMENT, Surroundings(owners=[owner], events=[event]))
    assert (problem.kind, "exceeded quota: small" in problem.message) == ("quota", True)


def test_an_old_creation_failure_of_a_full_set_is_not_told() -> None:
    event = _event("FailedCreate", "exceeded quota", kind="Deployment", name="aeterna")
    pod = _pod(status={"conditions": [{"type": "Ready", "status": "True"}]})
    assert diagnose(REF, DEPLOYMENT, Surroundings(pods=[pod], events=[event])) == []


def test_a_replica_failure_by_admission_is_told_from_the_condition() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"}
    obj = DEPLOYMENT | {"status": {"conditions": [condition]}}
    (problem,) = diagnose(REF, obj, Surroundings())
    assert (problem.kind, "violates PodSecurity" in problem.message) == ("create_failed", True)


def test_a_progress_deadline_comes_after_the_reason_for_it() -> None:
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    obj = DEPLOYMENT | {"status": {"conditions": [condition]}}
    status = _container({"waiting": {"reason": "ImagePullBackOff", "message": "no"}})
    pod = _pod(status={"containerStatuses": [status]})
    assert [one.kind for one in diagnose(REF, obj, Surroundings(pods=[pod]))] == ["image_pull", "deadline"]


def test_a_paused_deployment_says_so() -> None:
    obj = DEPLOYMENT | {"spec": {"paused": True, "replicas": 0}}
    assert [one.kind for one in diagnose(REF, obj, Surroundings())] == ["paused"]


def test_a_failed_job_tells_its_reason() -> None:
    ref = ObjectRef("batch/v1", "Job", "migrate", "prod")
    condition = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "limit reached"}
    obj: Json = {"kind": "Job", "metadata": {"name": "migrate"}, "spec": {}, "status": {"conditions": [condition]}}
    (problem,) = diagnose(ref, obj, Surroundings())
    assert problem.message == "Job/migrate failed: BackoffLimitExceeded: limit reached."


def test_a_missing_object_is_told() -> None:
    assert [one.kind for one in diagnose(REF, None, Surroundings())] == ["missing"]


def test_pods_with_the_same_problem_are_told_once() -> None:
    status = _container({"waiting": {"reason": "ImagePullBackOff", "message": "no"}})
    pods = [_pod(name, status={"containerStatuses": [status]}) for name in ("a", "b", "c")]
    (problem,) = diagnose(REF, DEPLOYMENT, Surroundings(pods=pods))
    assert problem.message.endswith("(3 pods alike)")


def test_repeated_events_become_one_line_and_the_newest_comes_first() -> None:
    about = {"kind": "Pod", "name": "a", "namespace": "prod"}
    base: Json = {"involvedObject": about, "type": "Warning", "reason": "Unhealthy", "message": "503"}
    events = [
        base | {"count": 2, "lastTimestamp": "2026-01-01T00:00:05Z"},
        base | {"series": {"count": 3, "lastObservedTime": "2026-01-01T00:00:09Z"}},
        base | {"reason": "Started", "message": "up", "eventTime": "2026-01-01T00:01:00Z"},
        base | {"reason": "Old", "message": "x", "metadata": {"creationTimestamp": "2025-01-01T00:00:00Z"}},
    ]
    lines = fold(events)
    assert [line.reason for line in lines] == ["Started", "Unhealthy", "Old"]
    assert (lines[1].count, lines[1].at.second) == (5, 9)
    assert str(lines[1]) == "00:00:09 Warning Unhealthy Pod/a: 503 (×5)"
