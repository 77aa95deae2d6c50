"""What Helm knows, as small frozen values. Whatever may hold a secret (values, manifests, notes) stays out of
``repr``.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from semver import Version

Json = dict[str, Any]


class Status(enum.StrEnum):
    """The state of one revision (Helm's ``release/common/status.go``)."""

    UNKNOWN = "unknown"
    DEPLOYED = "deployed"
    UNINSTALLED = "uninstalled"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    UNINSTALLING = "uninstalling"
    PENDING_INSTALL = "pending-install"
    PENDING_UPGRADE = "pending-upgrade"
    PENDING_ROLLBACK = "pending-rollback"

    @classmethod
    def _missing_(cls, value: object) -> Status:
        return cls.UNKNOWN

    @property
    def pending(self) -> bool:
        """Whether an operation goes on, or was cut off in the middle."""
        return self in {Status.PENDING_INSTALL, Status.PENDING_UPGRADE, Status.PENDING_ROLLBACK}


@dataclass(frozen=True)
class HelmVersion:
    """The program's version, such as 4.3.1."""

    version: Version

    def __str__(self) -> str:
        return str(self.version)


@dataclass(frozen=True)
class ChartRef:
    """A chart by name and version. ``app_version`` is empty when the chart names none."""

    name: str
    version: str
    app_version: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @classmethod
    def from_joined(cls, text: str, app_version: str = "") -> ChartRef:
        """From ``name-version``, as ``helm history`` and ``helm list`` print it: the version begins at the
        first ``-N.N.N``.
        """
        match = re.fullmatch(r"(.+?)-(v?\d+\.\d+\.\d+.*)", text)
        name, version = match.groups() if match else (text, "")
        return cls(name, version, app_version)


@dataclass(frozen=True)
class Hook:
    """A hook of a release and, once it ran, how it ended (``phase``: Succeeded, Failed, Running, Unknown or
    empty).
    """

    name: str
    kind: str
    events: tuple[str, ...]
    weight: int = 0
    phase: str = ""
    started: datetime | None = None
    completed: datetime | None = None
    path: str = ""
    manifest: str = field(default="", repr=False)


@dataclass(frozen=True)
class Revision:
    """One line of a release's history. ``labels`` are the ones that users gave; ``helm history`` does not
    tell them.
    """

    revision: int
    status: Status
    updated: datetime | None
    chart: ChartRef
    description: str = ""
    rollback_to: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ListedRelease:
    """One line of ``helm list``."""

    name: str
    namespace: str
    revision: int
    status: Status
    chart: ChartRef
    updated: str


@dataclass(frozen=True)
class Release:
    """One revision of a release as Helm reports it. ``chart`` is None in ``helm status``, which leaves it
    out.

    ``apply_method`` is ``ssa``, ``csa`` or empty (client-side, as Helm 3 did it). ``rollback_to`` is told by
    Helm 4.3 and later.
    """

    name: str
    namespace: str
    revision: int
    status: Status
    description: str
    first_deployed: datetime | None
    last_deployed: datetime | None
    chart: ChartRef | None
    apply_method: str = ""
    rollback_to: int | None = None
    config: Json = field(default_factory=dict, repr=False)
    manifest: str = field(default="", repr=False)
    hooks: tuple[Hook, ...] = field(default=(), repr=False)
    notes: str = field(default="", repr=False)


@dataclass(frozen=True)
class StoredRelease(Release):
    """A revision as it is stored in its Secret: with the chart's own values and schema, and the labels that
    users gave.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    chart_values: Json = field(default_factory=dict, repr=False)
    chart_schema: Json | None = field(default=None, repr=False)
    chart_crds: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The texts of the chart's ``crds/`` by path; Helm keeps no subcharts'."""

    def as_revision(self) -> Revision:
        """This release as a line of history."""
        chart = self.chart or ChartRef("", "")
        return Revision(
            self.revision,
            self.status,
            self.last_deployed,
            chart,
            self.description,
            self.rollback_to,
            self.labels,
        )


@dataclass(frozen=True)
class Rendered:
    """What a chart gives with given values. ``objects`` are the parsed objects without the hooks."""

    manifest: str = field(repr=False)
    objects: tuple[Json, ...] = field(repr=False)
    hooks: tuple[Hook, ...] = field(repr=False)
    notes: str = field(default="", repr=False)


@dataclass(frozen=True)
class Progress:
    """Something that Helm said while at work: about ``kind`` ``name`` (either may be empty), its state, and a
    sentence.
    """

    kind: str
    name: str
    status: str
    text: str


@dataclass(frozen=True)
class TestSuite:
    """One test of ``helm test``; ``phase`` is Helm's word. ``logs`` is empty when the pod or its log was
    gone.
    """

    __test__ = False  # pytest takes any class named Test… for a collection of tests

    name: str
    phase: str
    started: datetime | None
    completed: datetime | None
    logs: str = field(default="", repr=False)

    @property
    def took(self) -> timedelta | None:
        """How long it ran."""
        return self.completed - self.started if self.started and self.completed else None


@dataclass(frozen=True)
class TestReport:
    """What ``helm test`` found. ``error`` is Helm's sentence when it did not pass."""

    __test__ = False

    suites: tuple[TestSuite, ...]
    passed: bool
    error: str = ""
