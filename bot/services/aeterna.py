"""Aeterna's server over HTTP: readiness, version, metrics. The memory round trip is in ``memory``.

Read in its sources at 0.8.0-rc.12: ``/health`` checks nothing and is the only place of the version,
``/ready`` asks the database, metrics are served on a port of their own (open a second session for them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from bot.errors import Permanent
from bot.services.http import Answer, ServiceHttp
from bot.services.memory import MemoryResult, round_trip


@dataclass(frozen=True)
class Check:
    """One line of ``/ready``: ``status`` is the server's word (ok, error, pending, degraded)."""

    status: str
    message: str = ""


@dataclass(frozen=True)
class Readiness:
    """What one server pod says of itself."""

    ready: bool
    checks: Mapping[str, Check] = field(default_factory=dict)
    said: str = ""

    @property
    def complaints(self) -> list[str]:
        """What is not ok, in words."""
        wrong = {name: check for name, check in self.checks.items() if check.status != "ok"}
        told = [f"{name}: {check.message or check.status}" for name, check in sorted(wrong.items())]
        return told or ([] if self.ready else [self.said or "not ready"])


@dataclass(frozen=True)
class Sample:
    """One line of Prometheus text."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Metrics:
    """The samples by metric name, as written (``http_requests_total``)."""

    samples: Mapping[str, tuple[Sample, ...]]

    def __contains__(self, name: object) -> bool:
        return name in self.samples

    def total(self, name: str) -> float:
        """All samples of ``name`` added up; 0 when there are none."""
        return sum(sample.value for sample in self.samples.get(name, ()))


class AeternaClient:
    """One Aeterna server, or the Service before them.

    ``headers`` go with each call (``X-Tenant-ID``, ``Authorization`` …); without them the server takes its
    defaults. ``seconds`` bounds each request.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        *,
        ready_path: str = "/ready",
        health_path: str = "/health",
        metrics_path: str = "/metrics",
        headers: Mapping[str, str] | None = None,
        seconds: float = 10.0,
    ) -> None:
        self._http = ServiceHttp(http, "Aeterna", headers=dict(headers or {}), seconds=seconds)
        self._ready_path = ready_path
        self._health_path = health_path
        self._metrics_path = metrics_path

    async def ready(self) -> Readiness:
        """``/ready``, also when it says no (503). Raises Temporary when the server cannot be reached."""
        answer = await self._http.ask("GET", self._ready_path)
        checks = answer.fields.get("checks")
        if not isinstance(checks, dict):
            if answer.status == 503 and "status" in answer.fields:
                return Readiness(ready=False, said=str(answer.fields["status"]))
            self._http.demand(answer, f"GET {self._ready_path}")
            return Readiness(ready=True)
        told = {
            str(name): Check(str(check.get("status", "")), _check_message(check))
            for name, check in checks.items()
            if isinstance(check, dict)
        }
        return Readiness(answer.ok, told, "" if answer.ok else answer.said)

    async def version(self) -> str:
        """The server's version; empty when it does not say one."""
        answer = await self._http.get(self._health_path)
        return str(answer.fields.get("version", ""))

    async def metrics(self) -> Metrics:
        """All samples of ``/metrics``. Raises Permanent when what comes is not Prometheus' text."""
        answer = await self._http.get(self._metrics_path)
        return parse_metrics(answer)

    async def memory_round_trip(
        self, layer: str = "project", *, patience: float = 5.0, cleanup_seconds: float = 10.0
    ) -> MemoryResult:
        """Add a memory, find it, delete it; never raises for what the server does (see ``MemoryResult``).

        What was added is deleted whatever happens, a cancellation included. ``patience`` is how many
        seconds a search may take to find what was just added, and a tenant to become available.
        """
        return await round_trip(self._http, layer, patience=patience, cleanup_seconds=cleanup_seconds)


def parse_metrics(answer: Answer) -> Metrics:
    """Prometheus' text as samples."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, list[Sample]] = {}
    try:
        for family in text_string_to_metric_families(str(answer.body or "")):
            for sample in family.samples:
                found.setdefault(sample.name, []).append(Sample(sample.labels, float(sample.value)))
    except ValueError as error:
        raise Permanent(f"What Aeterna serves as metrics is not Prometheus' text: {error}.") from error
    return Metrics({name: tuple(samples) for name, samples in found.items()})


def _check_message(check: Mapping[str, object]) -> str:
    message = str(check.get("message") or "")
    slugs = check.get("failedSlugs")
    if isinstance(slugs, list) and slugs:
        message = f"{message} failed: {', '.join(map(str, slugs))}".strip()
    return message
