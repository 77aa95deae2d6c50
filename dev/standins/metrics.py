"""The Prometheus text of Aeterna's server on port 9090: its names, and counters that move with requests."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Summary, generate_latest


class Metrics:
    """Counters of one namespace. Label names follow the real server's."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._frozen: bytes | None = None
        self.requests = self._counter("http_requests_total", "HTTP requests", "method", "path", "status")
        self.durations = Summary(
            "http_request_duration_ms", "Milliseconds", ["method", "path"], registry=self._registry
        )
        self.operations = self._counter("memory_operations_total", "Memory operations", "operation")
        self.operation_errors = self._counter("memory_operation_errors_total", "Failed memory operations", "operation")
        self.searches = self._counter("memory_searches_total", "Memory searches")
        self.vector_operations = self._counter(
            "vector_backend_operations_total", "Vector backend operations", "backend", "operation"
        )
        self._counter("vector_backend_errors_total", "Vector backend errors", "backend", "operation")
        self._counter("tenant_state_transitions_total", "Tenant state transitions", "from", "to")
        Gauge("vector_backend_healthy", "1 when healthy", ["backend"], registry=self._registry).labels("qdrant").set(1)
        Gauge("graph_write_queue_depth", "Waiting writes", registry=self._registry).set(0)
        Gauge("tenant_state", "Tenants by state", ["state"], registry=self._registry).labels("available").set(1)

    def text(self, *, frozen: bool = False) -> bytes:
        """The exposition text. ``frozen`` gives the same text again and again, until asked without it."""
        if not frozen:
            self._frozen = None
            # A kubelet probes between two scrapes; nothing else does it here.
            self.count("GET", "/health", 200, 0.2)
            return generate_latest(self._registry)
        if self._frozen is None:
            self.count("GET", "/health", 200, 0.2)
            self._frozen = generate_latest(self._registry)
        return self._frozen

    def count(self, method: str, path: str, status: int, milliseconds: float) -> None:
        """Count one answered HTTP request."""
        self.requests.labels(method, path, str(status)).inc()
        self.durations.labels(method, path).observe(milliseconds)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)
