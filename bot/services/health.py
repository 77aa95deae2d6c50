"""The health of a release at one moment, as data that the journal can keep, and what differs between two of
them.

Pure: ``checkup`` takes the report. A baseline is simply the report taken before a change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bot.services.memory import MemoryResult


@dataclass(frozen=True)
class PodHealth:
    """One pod of the release. ``phase`` is Kubernetes' word."""

    name: str
    workload: str
    phase: str
    ready: bool
    restarts: int
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkloadReport:
    """One workload; ``problems`` are sentences."""

    name: str
    desired: int
    ready: int
    healthy: bool
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServerHealth:
    """What one server pod answered. ``error`` is why it could not be asked."""

    pod: str
    reachable: bool
    ready: bool
    version: str = ""
    complaints: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class MetricsHealth:
    """The required metrics, summed over the server pods: before and after the round trip of this same
    report.
    """

    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    error: str = ""

    @property
    def still(self) -> tuple[str, ...]:
        """Those that are there and did not move."""
        return tuple(name for name in sorted(self.after) if self.after[name] == self.before.get(name))


@dataclass(frozen=True)
class HealthReport:
    """Everything that was looked at. A part that the target does not ask for is None."""

    taken_at: str
    workloads: tuple[WorkloadReport, ...] = ()
    pods: tuple[PodHealth, ...] = ()
    servers: tuple[ServerHealth, ...] = ()
    metrics: MetricsHealth | None = None
    memory: MemoryResult | None = None

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that the reachable servers say, each once."""
        return tuple(sorted({server.version for server in self.servers if server.version}))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, for the journal."""
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> HealthReport:
        """The report that ``to_json`` gave."""
        metrics, memory = said.get("metrics"), said.get("memory")
        return cls(
            taken_at=said["taken_at"],
            workloads=tuple(WorkloadReport(**_tuples(one)) for one in said["workloads"]),
            pods=tuple(PodHealth(**_tuples(one)) for one in said["pods"]),
            servers=tuple(ServerHealth(**_tuples(one)) for one in said["servers"]),
            metrics=None if metrics is None else MetricsHealth(**_tuples(metrics)),
            memory=None if memory is None else MemoryResult(**memory),
        )


@dataclass(frozen=True)
class HealthProblem:
    """One thing that is wrong; ``kind`` is workload, pod, server, version, metrics or memory."""

    kind: str
    subject: str
    message: str


@dataclass(frozen=True)
class Difference:
    """What changed between two reports, in words; ``worse`` ones are reasons to fail."""

    subject: str
    before: str
    after: str
    worse: bool

    def __str__(self) -> str:
        return f"{self.subject}: {self.before} → {self.after}"


def problems(
    report: HealthReport, *, expected_version: str | None = None, baseline: HealthReport | None = None
) -> list[HealthProblem]:
    """What is wrong with ``report`` in itself; empty means healthy.

    "Reached, but memory backend unwired" is a problem only when the baseline's memory was better. A server
    may say the expected version with or without a leading ``v``.
    """
    return [
        *_workload_problems(report),
        *_server_problems(report, expected_version),
        *_metric_problems(report),
        *_memory_problems(report, baseline),
    ]


def compare(before: HealthReport, after: HealthReport) -> list[Difference]:
    """What differs, the worse first. Pod names and restarts are not compared: an upgrade replaces pods."""
    found = [
        *_workload_differences(before.workloads, after.workloads),
        *_changed("server version", ", ".join(before.versions), ", ".join(after.versions), worse=False),
        *_changed("servers ready", _ready(before), _ready(after), worse=_share(after) < _share(before)),
        *_metric_differences(before.metrics, after.metrics),
        *_memory_differences(before.memory, after.memory),
    ]
    return sorted(found, key=lambda one: not one.worse)


def _workload_problems(report: HealthReport) -> list[HealthProblem]:
    found = [
        HealthProblem("workload", one.name, "; ".join(one.problems) or f"{one.ready} of {one.desired} pods ready")
        for one in report.workloads
        if not one.healthy
    ]
    told = {one.subject for one in found}
    for pod in report.pods:
        if not (pod.ready or pod.phase == "Succeeded") and pod.workload not in told:
            found.append(HealthProblem("pod", pod.name, f"is {pod.phase.lower()} and not ready"))
    return found


def _server_problems(report: HealthReport, expected: str | None) -> list[HealthProblem]:
    found = []
    for server in report.servers:
        if not server.reachable:
            found.append(HealthProblem("server", server.pod, f"cannot be reached: {server.error}"))
        elif not server.ready:
            found.append(HealthProblem("server", server.pod, "; ".join(server.complaints) or "is not ready"))
        elif expected is not None and server.version.removeprefix("v") != expected.removeprefix("v"):
            said = server.version or "no version"
            found.append(HealthProblem("version", server.pod, f"says {said}, expected {expected}"))
    return found


def _metric_problems(report: HealthReport) -> list[HealthProblem]:
    metrics = report.metrics
    if metrics is None:
        return []
    if metrics.error:
        return [HealthProblem("metrics", "metrics", metrics.error)]
    found = [HealthProblem("metrics", name, "is missing") for name in metrics.missing]
    return found + [HealthProblem("metrics", name, "does not move") for name in metrics.still]


def _memory_problems(report: HealthReport, baseline: HealthReport | None) -> list[HealthProblem]:
    memory = report.memory
    if memory is None or memory.outcome == "ok":
        return []
    before = baseline.memory if baseline is not None else None
    if memory.outcome == "unwired" and (before is None or before.outcome != "ok"):
        return []
    return [HealthProblem("memory", memory.layer, str(memory))]


def _workload_differences(before: Sequence[WorkloadReport], after: Sequence[WorkloadReport]) -> list[Difference]:
    was, now = {one.name: one for one in before}, {one.name: one for one in after}
    found = []
    for name in sorted(was.keys() | now.keys()):
        old, new = was.get(name), now.get(name)
        worse = old is not None and old.healthy and new is not None and not new.healthy
        # A workload that is gone may be the change itself; it is told, and the plan has shown it.
        found += _changed(name, _words(old), _words(new), worse=worse)
    return found


def _words(one: WorkloadReport | None) -> str:
    if one is None:
        return "not there"
    return "healthy" if one.healthy else ("; ".join(one.problems) or f"{one.ready} of {one.desired} ready")


def _metric_differences(before: MetricsHealth | None, after: MetricsHealth | None) -> list[Difference]:
    if before is None or after is None:
        return []
    found = _changed("metrics", before.error or "served", after.error or "served", worse=bool(after.error))
    for name in sorted({*before.missing, *after.missing} if not after.error else ()):
        was, now = ("missing" if name in one.missing else "present" for one in (before, after))
        found += _changed(name, was, now, worse=now == "missing")
    return found


def _memory_differences(before: MemoryResult | None, after: MemoryResult | None) -> list[Difference]:
    if before is None or after is None:
        return []
    rank = {"ok": 3, "unwired": 2, "failed": 1, "unreachable": 0}
    if before.outcome == after.outcome:
        return []
    return [Difference("memory", _memory(before), _memory(after), rank[after.outcome] < rank[before.outcome])]


def _memory(result: MemoryResult) -> str:
    return "works" if result.outcome == "ok" else str(result)


def _ready(report: HealthReport) -> str:
    return f"{sum(server.ready for server in report.servers)} of {len(report.servers)}"


def _share(report: HealthReport) -> float:
    return sum(server.ready for server in report.servers) / len(report.servers) if report.servers else 1.0


def _changed(subject: str, before: str, after: str, *, worse: bool) -> list[Difference]:
    return [] if before == after else [Difference(subject, before, after, worse)]


def _tuples(said: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples that they were."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
