"""Small objects for the cluster tests: a workload of each kind, with or without something wrong with it."""

from __future__ import annotations

from typing import Any

from bot.kube import Json, ObjectRef
from bot.kube.objects import ref_of

IMAGE = "ghcr.io/kikokikok/aeterna:v0.2.1"


def deployment(
    namespace: str, *, name: str = "aeterna", image: str = IMAGE, replicas: int = 1, cpu: str = "10m", **pod: Any
) -> Json:
    return _workload("Deployment", namespace, name, image, cpu, pod, replicas=replicas)


def stateful_set(
    namespace: str, *, name: str = "opal", image: str = IMAGE, replicas: int = 1, claim: Json | None = None
) -> Json:
    body = _workload("StatefulSet", namespace, name, image, "10m", {}, replicas=replicas, serviceName=name)
    if claim is not None:
        body["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": claim}]
        body["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    return body


def daemon_set(namespace: str, *, name: str = "agent") -> Json:
    return _workload("DaemonSet", namespace, name, IMAGE, "10m", {})


def job(namespace: str, *, name: str = "migrate", image: str = IMAGE) -> Json:
    body = _workload("Job", namespace, name, image, "10m", {"restartPolicy": "Never"}, backoffLimit=0)
    del body["spec"]["selector"], body["spec"]["template"]["metadata"]
    return body | {"apiVersion": "batch/v1"}


def service(namespace: str, *, name: str = "aeterna") -> Json:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "metrics", "port": 9090, "targetPort": 9090}]
    spec = {"selector": {"app": name}, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def ref(obj: Json) -> ObjectRef:
    return ref_of(obj)


def _workload(kind: str, namespace: str, name: str, image: str, cpu: str, pod: Json, **spec: Any) -> Json:
    container = {
        "name": "main",
        "image": image,
        "resources": {"requests": {"cpu": cpu, "memory": "16Mi"}},
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], **pod}}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template, **spec},
    }
