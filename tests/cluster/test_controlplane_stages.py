"""What becomes of an object in the throwaway cluster, by what it says of itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dev.controlplane import Api, Running
from dev.toolchain import Toolchain

CRASHED = "SchemaMismatch"
Json = dict[str, Any]


class Kubectl:
    """kubectl in one namespace, as the administrator."""

    def __init__(self, program: Path, kubeconfig: Path, namespace: str) -> None:
        self.command = [str(program), f"--kubeconfig={kubeconfig}", f"--namespace={namespace}"]
        self.environment = {"PATH": os.defpath, "HOME": str(kubeconfig.parent)}

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self.command, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wait(self, what: str, jsonpath: str, value: str) -> Json:
        """Wait until WHAT has VALUE at JSONPATH; the object then."""
        self("wait", what, f"--for=jsonpath={{{jsonpath}}}={value}", "--timeout=45s")
        return dict(json.loads(self("get", what, "-o", "json")))

    def events(self, name: str) -> dict[str, str]:
        """Messages by reason of NAME's events."""
        found = json.loads(self("get", "events", "-o", "json", f"--field-selector=involvedObject.name={name}"))
        return {event["reason"]: event["message"] for event in found["items"]}


@pytest.fixture
def kubectl(toolchain: Toolchain, control_plane: Running, namespace: str) -> Kubectl:
    return Kubectl(toolchain.path("kubectl"), control_plane.kubeconfig, namespace)


def make(api: Api, namespace: str, document: Json) -> None:
    document["metadata"]["namespace"] = namespace
    api.apply(document)


def pod(image: str, *, restart: str = "Always") -> Json:
    containers = [{"name": "main", "image": image}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "it"},
        "spec": {"restartPolicy": restart, "containers": containers},
    }


def job(image: str) -> Json:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "it"},
        "spec": {"backoffLimit": 0, "template": {"spec": pod(image, restart="Never")["spec"]}},
    }


def main_container(found: Json) -> Json:
    return dict(found["status"]["containerStatuses"][0])


def test_pod_becomes_ready_and_shows_a_log(api: Api, namespace: str, kubectl: Kubectl) -> None:
    make(api, namespace, pod("registry.example/aeterna:0.2.1"))
    kubectl("wait", "pod/it", "--for=condition=Ready", "--timeout=45s")
    assert "listening on 0.0.0.0:8080" in kubectl("logs", "it")


def test_pod_with_never_ready_in_its_tag_runs_and_is_not_ready(api: Api, namespace: str, kubectl: Kubectl) -> None:
    make(api, namespace, pod("registry.example/aeterna:0.2.1-never-ready"))
    found = kubectl.wait("pod/it", ".metadata.annotations.kwok\\.x-k8s\\.io/probed", "yes")
    ready = next(one for one in found["status"]["conditions"] if one["type"] == "Ready")
    assert found["status"]["phase"] == "Running"
    assert ready["status"] == "False"
    assert ready["message"] == "containers with unready status: [main]"
    assert main_container(found)["ready"] is False


def test_pod_with_crash_in_its_tag_is_in_a_crash_loop_and_its_log_says_why(
    api: Api, namespace: str, kubectl: Kubectl
) -> None:
    make(api, namespace, pod("registry.example/aeterna:0.2.1-crash"))
    waiting = ".status.containerStatuses[0].state.waiting.reason"
    container = main_container(kubectl.wait("pod/it", waiting, "CrashLoopBackOff"))
    assert container["restartCount"] >= 1
    assert container["lastState"]["terminated"]["exitCode"] == 1
    assert container["lastState"]["terminated"]["reason"] == "Error"
    assert CRASHED in kubectl("logs", "it")
    assert CRASHED in kubectl("logs", "it", "--previous")
    assert kubectl.events("it")["BackOff"] == "Back-off restarting failed container"


@pytest.mark.parametrize("tag", ["no-such-image", "0.2.1-nopull"])
def test_pod_whose_image_cannot_be_pulled_says_so_as_the_kubelet_does(
    tag: str, api: Api, namespace: str, kubectl: Kubectl
) -> None:
    image = f"registry.example:5000/aeterna:{tag}"
    make(api, namespace, pod(image))
    waiting = ".status.containerStatuses[0].state.waiting.reason"
    container = main_container(kubectl.wait("pod/it", waiting, "ImagePullBackOff"))
    assert container["state"]["waiting"]["message"].startswith(f'Back-off pulling image "{image}"')
    events = json.loads(kubectl("get", "events", "-o", "json"))["items"]
    assert any(event["message"].startswith(f'Failed to pull image "{image}"') for event in events)


def test_bare_pod_that_never_restarts_succeeds(api: Api, namespace: str, kubectl: Kubectl) -> None:
    make(api, namespace, pod("registry.example/curl:8", restart="Never"))
    found = kubectl.wait("pod/it", ".status.phase", "Succeeded")
    assert main_container(found)["state"]["terminated"]["exitCode"] == 0
    assert "all checks passed" in kubectl("logs", "it")


def test_bare_pod_with_test_fails_in_its_tag_fails(api: Api, namespace: str, kubectl: Kubectl) -> None:
    make(api, namespace, pod("registry.example/curl:8-test-fails", restart="Never"))
    found = kubectl.wait("pod/it", ".status.phase", "Failed")
    assert main_container(found)["state"]["terminated"]["exitCode"] == 1
    assert "checks failed" in kubectl("logs", "it")


def test_job_completes(api: Api, namespace: str, kubectl: Kubectl) -> None:
    make(api, namespace, job("registry.example/migrate:21"))
    kubectl("wait", "job/it", "--for=condition=Complete", "--timeout=45s")
    assert "migrate: done" in kubectl("logs", "job/it")


def test_job_with_hook_fails_in_its_tag_fails_and_its_log_says_why(api: Api, namespace: str, kubectl: Kubectl) -> None:
    make(api, namespace, job("registry.example/migrate:21-hook-fails"))
    kubectl("wait", "job/it", "--for=condition=Failed", "--timeout=45s")
    assert "transaction rolled back" in kubectl("logs", "job/it")


def test_claim_of_the_default_class_is_bound(api: Api, namespace: str, kubectl: Kubectl) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "it"}, "spec": spec}
    make(api, namespace, claim)
    found = kubectl.wait("pvc/it", ".status.phase", "Bound")
    assert found["spec"]["storageClassName"] == "kwok-volume"


def test_database_cluster_becomes_healthy_with_the_instances_it_asks_for(
    api: Api, namespace: str, kubectl: Kubectl
) -> None:
    make(api, namespace, database("pg", instances=3))
    found = kubectl.wait("clusters.postgresql.cnpg.io/pg", ".status.readyInstances", "3")
    assert found["status"]["phase"] == "Cluster in healthy state"
    assert found["status"]["currentPrimary"] == "pg-1"


def test_backup_runs_and_completes(api: Api, namespace: str, kubectl: Kubectl) -> None:
    make(api, namespace, backup("pg"))
    status = kubectl.wait("backups.postgresql.cnpg.io/it", ".status.phase", "completed")["status"]
    wanted = {"backupId", "backupName", "startedAt", "stoppedAt", "beginWal", "endWal", "beginLSN", "endLSN"}
    assert wanted <= status.keys()
    assert status["method"] == "barmanObjectStore"


def test_backup_of_a_broken_cluster_fails_with_a_reason(api: Api, namespace: str, kubectl: Kubectl) -> None:
    make(api, namespace, backup("pg-broken"))
    status = kubectl.wait("backups.postgresql.cnpg.io/it", ".status.phase", "failed")["status"]
    assert status["error"] == "can't execute backup: exit status 4"


def test_deleted_pod_is_gone(api: Api, namespace: str, kubectl: Kubectl) -> None:
    make(api, namespace, pod("registry.example/aeterna:0.2.1"))
    kubectl("wait", "pod/it", "--for=condition=Ready", "--timeout=45s")
    kubectl("delete", "pod", "it", "--timeout=30s")
    assert json.loads(kubectl("get", "pods", "-o", "json"))["items"] == []


def database(name: str, *, instances: int) -> Json:
    return {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": name},
        "spec": {"instances": instances, "storage": {"size": "1Gi"}},
    }


def backup(cluster: str) -> Json:
    return {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Backup",
        "metadata": {"name": "it"},
        "spec": {"cluster": {"name": cluster}},
    }
