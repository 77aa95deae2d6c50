"""What the stand-ins remember, by namespace: switches, memories, snapshots, counters, and who asked for what.

All of it lives in memory and ends with the process. The pods of a namespace share it, as the real ones share
their database.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from dev.standins.metrics import Metrics

_KEPT_REQUESTS: Final = 2000


class Switches(BaseModel):
    """How the services of one namespace misbehave; the defaults are a healthy release."""

    model_config = ConfigDict(extra="forbid")

    not_ready: bool = False
    """/ready answers 503; /health stays 200, as with a real server whose database is gone."""
    version: str | None = None
    """Reported in place of the version in the image's tag."""
    metrics: Literal["present", "absent", "empty", "frozen"] = "present"
    """absent: 404; empty: 200 without the server's own names; frozen: counters stand still."""
    memory: Literal["ok", "unwired", "no_provider"] = "ok"
    """unwired: no embedding service; no_provider: no backend for any layer. Both as the real server says it."""
    slow: float = Field(default=0.0, ge=0)
    """Seconds before each answer."""
    qdrant: Literal["ok", "failing", "empty", "down"] = "ok"
    """failing: snapshots answer 500; empty: snapshots of no bytes; down: everything answers 503."""
    qdrant_key: str | None = None
    """What every call but health has to bring as `api-key`."""
    opal: Literal["ok", "failing"] = "ok"
    tenants: list[str] = ["default"]
    collections: list[str] = ["memory_embeddings"]


@dataclass(frozen=True)
class Snapshot:
    """A Qdrant snapshot; ``checksum`` is the hexadecimal SHA-256 of ``content``."""

    name: str
    creation_time: str
    checksum: str
    content: bytes


@dataclass
class NamespaceState:
    """Everything about one namespace."""

    switches: Switches = field(default_factory=Switches)
    memories: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """Memory entries as the API shows them, by tenant and id."""
    synced: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """Rows of the sync API by tenant and id, tombstones included."""
    snapshots: dict[str | None, list[Snapshot]] = field(default_factory=dict)
    """By collection; None holds those of the full storage."""
    metrics: Metrics = field(default_factory=Metrics)
    requests: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_KEPT_REQUESTS))

    def note(self, *, port: int, pod: str, method: str, path: str, status: int, body: object) -> None:
        """Remember one request and its answer's status."""
        self.requests.append(
            {
                "time": time.time(),
                "port": port,
                "pod": pod,
                "method": method,
                "path": path,
                "status": status,
                "body": body,
            }
        )


class World:
    """The states of all namespaces; one is made when it is first asked for."""

    def __init__(self) -> None:
        self._states: dict[str, NamespaceState] = {}

    def __getitem__(self, namespace: str) -> NamespaceState:
        return self._states.setdefault(namespace, NamespaceState())

    def reset_switches(self, namespace: str | None) -> None:
        """Back to a healthy release; None means in every namespace."""
        for name, state in self._states.items():
            if namespace in (None, name):
                state.switches = Switches()
