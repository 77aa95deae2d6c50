"""Takes a health report: pods, every server's own word, metrics before and after a memory's round trip.

It only reads, but for the one memory that it adds and deletes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp

from bot.errors import BotError
from bot.kube.access import ServiceAccess, ready_pods
from bot.kube.cluster import Cluster
from bot.kube.objects import Json, ObjectRef, condition_of, is_true, name_of
from bot.kube.workloads import Family, families, health_of, images_of
from bot.services.aeterna import AeternaClient, Metrics
from bot.services.health import HealthReport, MetricsHealth, PodHealth, ServerHealth, WorkloadReport
from bot.services.memory import MemoryResult


@dataclass(frozen=True)
class Checkup:
    """What to look at. ``servers`` are the workloads whose pods speak Aeterna's API; empty asks none of them.

    ``metrics_port`` and ``memory_layer`` None leave those parts out. ``headers`` go with each call to the API.
    """

    workloads: tuple[ObjectRef, ...]
    servers: tuple[ObjectRef, ...] = ()
    port: int | str = 8080
    ready_path: str = "/ready"
    health_path: str = "/health"
    metrics_port: int | str | None = None
    metrics_path: str = "/metrics"
    required_metrics: tuple[str, ...] = ()
    memory_layer: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


async def take_report(cluster: Cluster, access: ServiceAccess, checkup: Checkup) -> HealthReport:
    """The release's health now. What cannot be reached is in the report; only a missing right, or an API
    server that is away, raises.
    """
    wanted = [*checkup.workloads, *checkup.servers]
    found = await families(cluster, wanted)
    listed = [found[ref] for ref in dict.fromkeys(wanted)]
    pods = [pod for ref in checkup.servers for pod in ready_pods(list(found[ref].pods))]
    servers = await _servers(access, checkup, [found[ref] for ref in checkup.servers])
    metrics, memory = await _traffic(access, checkup, pods)
    return HealthReport(
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        workloads=tuple(_workload(family) for family in listed),
        pods=tuple(_pod(family, pod) for family in listed for pod in family.pods if not _ending(pod)),
        servers=servers,
        metrics=metrics,
        memory=memory,
    )


async def _servers(access: ServiceAccess, checkup: Checkup, found: Sequence[Family]) -> tuple[ServerHealth, ...]:
    pods = [pod for family in found for pod in family.pods if not _ending(pod)]
    return tuple(await asyncio.gather(*(_server(access, checkup, pod) for pod in pods)))


async def _server(access: ServiceAccess, checkup: Checkup, pod: Json) -> ServerHealth:
    name = name_of(pod)
    try:
        async with access.session(namespace=_namespace(pod), pod=name, port=checkup.port) as http:
            client = _client(http, checkup)
            readiness = await client.ready()
            version = await client.version()
    except BotError as error:
        return ServerHealth(name, reachable=False, ready=False, error=error.message)
    return ServerHealth(name, True, readiness.ready, version, tuple(readiness.complaints))


async def _traffic(
    access: ServiceAccess, checkup: Checkup, pods: Sequence[Json]
) -> tuple[MetricsHealth | None, MemoryResult | None]:
    """The round trip, with the metrics read on both sides of it."""
    before = await _read_metrics(access, checkup, pods)
    memory = await _memory(access, checkup, pods)
    after = await _read_metrics(access, checkup, pods)
    if before is None or after is None:
        return None, memory
    if isinstance(before, str) or isinstance(after, str):
        return MetricsHealth(error=after if isinstance(after, str) else str(before)), memory
    names = checkup.required_metrics
    return (
        MetricsHealth(
            before={
                name: sum(one.total(name) for one in before) for name in names if any(name in one for one in before)
            },
            after={name: sum(one.total(name) for one in after) for name in names if any(name in one for one in after)},
            missing=tuple(name for name in names if not any(name in one for one in after)),
        ),
        memory,
    )


async def _read_metrics(access: ServiceAccess, checkup: Checkup, pods: Sequence[Json]) -> list[Metrics] | str | None:
    """Every ready server's metrics, or why they could not be read; None when they are not asked for."""
    port = checkup.metrics_port
    if port is None or not checkup.servers:
        return None
    if not pods:
        return "no server pod is ready"

    async def one(pod: Json) -> Metrics:
        async with access.session(namespace=_namespace(pod), pod=name_of(pod), port=port) as http:
            return await _client(http, checkup).metrics()

    try:
        return list(await asyncio.gather(*map(one, pods)))
    except BotError as error:
        return error.message


async def _memory(access: ServiceAccess, checkup: Checkup, pods: Sequence[Json]) -> MemoryResult | None:
    layer = checkup.memory_layer
    if layer is None or not checkup.servers:
        return None
    if not pods:
        return MemoryResult("unreachable", layer, "add", "no server pod is ready")
    pod = pods[0]
    try:
        async with access.session(namespace=_namespace(pod), pod=name_of(pod), port=checkup.port) as http:
            return await _client(http, checkup).memory_round_trip(layer)
    except BotError as error:
        return MemoryResult("unreachable", layer, "add", error.message)


def _client(http: aiohttp.ClientSession, checkup: Checkup) -> AeternaClient:
    return AeternaClient(
        http,
        ready_path=checkup.ready_path,
        health_path=checkup.health_path,
        metrics_path=checkup.metrics_path,
        headers=checkup.headers,
    )


def _workload(family: Family) -> WorkloadReport:
    health = health_of(family)
    said = tuple(problem.message for problem in health.problems)
    return WorkloadReport(str(family.ref), health.desired, health.ready, health.healthy, said)


def _pod(family: Family, pod: Json) -> PodHealth:
    status = pod.get("status") or {}
    return PodHealth(
        name=name_of(pod),
        workload=str(family.ref),
        phase=str(status.get("phase") or "Pending"),
        ready=is_true(condition_of(pod, "Ready")),
        restarts=sum(int(one.get("restartCount") or 0) for one in status.get("containerStatuses") or []),
        images=images_of([pod]),
    )


def _ending(pod: Json) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _namespace(pod: Json) -> str:
    return str(pod["metadata"]["namespace"])
