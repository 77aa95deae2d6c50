"""References, ownership, errors by meaning: the pure parts of bot.kube."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bot.errors import BotError, OutcomeUnknown, Permanent, Refused, Temporary
from bot.kube.access import ready_endpoint
from bot.kube.failures import Call, Conflict, Expired, FieldCause, Invalid, NotFound, ServerAway, failure_of
from bot.kube.objects import Json, ObjectRef, workload_refs
from bot.kube.workloads import family_of, images_of

GET = Call("get", "pods", "", "prod", "a")
PATCH = Call("patch", "deployments", "apps", "prod", "aeterna")


@pytest.mark.parametrize(
    ("call", "status", "kind"),
    [
        (GET, 401, Refused),
        (GET, 403, Refused),
        (GET, 404, NotFound),
        (PATCH, 409, Conflict),
        (PATCH, 422, Invalid),
        (PATCH, 400, Invalid),
        (GET, 410, Expired),
        (PATCH, 429, ServerAway),
        (PATCH, 503, Temporary),
        (GET, 500, Temporary),
        (PATCH, 500, OutcomeUnknown),
        (PATCH, 504, OutcomeUnknown),
        (PATCH, 405, Permanent),
    ],
)
def test_an_answer_becomes_an_error_by_meaning(call: Call, status: int, kind: type[BotError]) -> None:
    assert type(failure_of(call, status, "")) is kind


def test_a_refusal_names_the_missing_rule() -> None:
    refused = failure_of(PATCH, 403, json.dumps({"message": "forbidden"}))
    assert refused.message == "The cluster does not allow to patch deployments/aeterna in namespace prod: forbidden."
    expected = '{apiGroups: ["apps"], resources: ["deployments"], verbs: ["patch"]} by a Role in namespace prod'
    assert expected in refused.way_out


def test_an_invalid_object_names_its_fields() -> None:
    causes = [{"field": "spec.replicas", "message": "must be >= 0"}]
    invalid = failure_of(PATCH, 422, json.dumps({"message": "no", "details": {"causes": causes}}))
    assert isinstance(invalid, Invalid)
    assert invalid.causes == (FieldCause("spec.replicas", "must be >= 0"),)


def test_a_dry_run_that_failed_in_the_server_changed_nothing() -> None:
    assert type(failure_of(PATCH, 500, "", dry_run=True)) is Temporary


def test_a_webhook_that_cannot_be_called_changed_nothing() -> None:
    body = json.dumps({"message": "Internal error occurred: failed calling webhook x"})
    assert type(failure_of(PATCH, 500, body)) is Temporary


@pytest.mark.parametrize(
    ("header", "body", "seconds"), [("7", "", 7.0), (None, '{"details":{"retryAfterSeconds":3}}', 3)]
)
def test_the_named_waiting_time_is_kept(header: str | None, body: str, seconds: float) -> None:
    error = failure_of(GET, 429, body, retry_after=header)
    assert isinstance(error, Temporary)
    assert error.retry_after == seconds


def test_importing_the_package_does_not_import_the_kubernetes_client() -> None:
    code = "import sys, bot.kube, bot.services.checkup; sys.exit('kubernetes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _owned(name: str, kind: str, owner: str, uid: str, *, revision: str = "", own_uid: str = "") -> Json:
    return {
        "metadata": {
            "name": name,
            "uid": own_uid or name,
            "annotations": {"deployment.kubernetes.io/revision": revision} if revision else {},
            "labels": {"app.kubernetes.io/name": "aeterna"},
            "ownerReferences": [{"kind": kind, "name": owner, "uid": uid, "controller": True}],
        },
        "spec": {"containers": [{"image": name}], "initContainers": [{"image": "init"}]},
    }


def test_pods_are_found_by_ownership_and_not_by_the_labels_that_hooks_share() -> None:
    ref = ObjectRef("apps/v1", "Deployment", "aeterna", "prod")
    obj: Json = {"metadata": {"uid": "d", "annotations": {"deployment.kubernetes.io/revision": "2"}}}
    sets = [
        _owned("old", "Deployment", "aeterna", "d", revision="1"),
        _owned("new", "Deployment", "aeterna", "d", revision="2"),
        _owned("foreign", "Deployment", "other", "x", revision="2"),
    ]
    pods = [
        _owned("p-old", "ReplicaSet", "old", "old"),
        _owned("p-new", "ReplicaSet", "new", "new"),
        _owned("p-foreign", "ReplicaSet", "foreign", "foreign"),
        _owned("aeterna-migration-x", "Job", "aeterna-migration", "j"),
        {"metadata": {"name": "aeterna-test-connection", "labels": {"app.kubernetes.io/name": "aeterna"}}},
    ]
    family = family_of(ref, obj, sets, pods)
    assert [pod["metadata"]["name"] for pod in family.pods] == ["p-old", "p-new"]
    assert [pod["metadata"]["name"] for pod in family.newest] == ["p-new"]
    assert images_of(family.pods) == ("p-new", "p-old")


def test_a_job_made_anew_does_not_own_its_predecessors_pods() -> None:
    ref = ObjectRef("batch/v1", "Job", "migrate", "prod")
    pods = [_owned("a", "Job", "migrate", "old"), _owned("b", "Job", "migrate", "new")]
    family = family_of(ref, {"metadata": {"uid": "new"}}, [], pods)
    assert [pod["metadata"]["name"] for pod in family.pods] == ["b"]


def test_hooks_are_not_among_the_workloads_of_a_manifest() -> None:
    objects: list[Json] = [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "aeterna"}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "aeterna", "namespace": "else"}},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "opal"}},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "m", "annotations": {"helm.sh/hook": "test"}}},
    ]
    assert [(str(ref), ref.namespace) for ref in workload_refs(objects, "prod")] == [
        ("Deployment/aeterna", "else"),
        ("StatefulSet/opal", "prod"),
    ]


def test_a_ready_pod_behind_a_service_is_taken_with_its_own_port() -> None:
    slices: list[Json] = [
        {
            "ports": [{"name": "http", "port": 18080}, {"name": "metrics", "port": 19090}],
            "endpoints": [
                {"conditions": {"ready": False}, "targetRef": {"kind": "Pod", "name": "a"}},
                {"conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": "b"}},
            ],
        }
    ]
    assert ready_endpoint(slices, "metrics") == ("b", 19090)
    assert ready_endpoint(slices, "other") is None
    assert ready_endpoint([], "http") is None
