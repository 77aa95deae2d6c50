"""Small Kubernetes objects for the tests of what a plan finds: nodes, pods and workloads as JSON."""

from __future__ import annotations

from typing import Any

from bot.kube.objects import Json
from bot.kube.standing import Standing, standing

NS = "prod"


def node(name: str = "n1", *, cpu: str = "4", memory: str = "8Gi", **parts: Any) -> Json:
    """A Ready node; ``labels``, ``taints``, ``unschedulable`` and ``ready`` change that."""
    spec = {key: parts[key] for key in ("taints", "unschedulable") if key in parts}
    labels = {"kubernetes.io/hostname": name, "zone": parts.get("zone", "a")} | parts.get("labels", {})
    ready = [{"type": "Ready", "status": "True" if parts.get("ready", True) else "False"}]
    status = {"allocatable": {"cpu": cpu, "memory": memory, "pods": parts.get("pods", "110")}, "conditions": ready}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status}


def container(cpu: str | None = "1", *, limits: dict[str, str] | None = None) -> Json:
    requests = {"cpu": cpu} if cpu else {}
    return {"name": "main", "resources": {"requests": requests} | ({"limits": limits} if limits else {})}


def workload(kind: str = "Deployment", name: str = "aeterna", *, cpu: str | None = "1", **parts: Any) -> Json:
    """A workload whose pods request ``cpu``; ``pod`` is laid over the pods' spec, the rest over the spec."""
    pod = {"containers": [container(cpu)]} | parts.pop("pod", {})
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    api = "batch/v1" if kind in ("Job", "CronJob") else "apps/v1"
    spec = {"template": template} | parts
    if kind == "CronJob":
        spec = {"jobTemplate": {"spec": {"template": template}}} | parts
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


def hook(events: str, name: str = "aeterna-migration", **parts: Any) -> Json:
    obj = workload("Job", name, **parts)
    obj["metadata"]["annotations"] = {"helm.sh/hook": events}
    return obj


def scaler(least: int = 2, name: str = "aeterna", *, target: str = "aeterna", **spec: Any) -> Json:
    said = {"minReplicas": least, "scaleTargetRef": {"kind": "Deployment", "name": target}} | spec
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name}, "spec": said}


def running(uid: str, cpu: str, on: str = "n1", *, app: str = "other", namespace: str = NS, **spec: Any) -> Standing:
    """A pod that is on a node."""
    meta = {"uid": uid, "namespace": namespace, "labels": {"app": app}}
    return standing(
        {"metadata": meta, "spec": {"nodeName": on, "containers": [container(cpu)]} | spec}, keep_spec=namespace == NS
    )


def apart(app: str = "aeterna", key: str = "kubernetes.io/hostname", **more: Any) -> Json:
    """A pod spec's part that keeps its pods from each other."""
    term = {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key} | more
    return {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}
