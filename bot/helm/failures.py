"""What can go wrong with Helm, by meaning. `explain` reads these out of Helm's words.

Helm marks a failed upgrade as failed itself; only a connection that broke in the middle of a change, or a
kill, leaves the outcome unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.errors import Evidence, Permanent, Refused, Temporary, UserMistake


class HelmTooOld(Permanent):
    """The program is older than 3.18, or of a major version that this bot does not know."""


class ReleaseNotFound(UserMistake):
    """There is no release of this name in the namespace."""


class RevisionNotFound(UserMistake):
    """The release has no such revision (any more)."""


class ChartVersionNotFound(UserMistake):
    """The source has no such version. ``nearest`` are the ones that were probably meant, likeliest first."""

    def __init__(self, message: str, *, nearest: tuple[str, ...] = (), way_out: str) -> None:
        super().__init__(message, way_out=way_out)
        self.nearest = nearest


class ReleasePending(Refused):
    """The newest revision is ``pending-*``: an operation goes on, or was cut off. Nothing was changed."""


class ClusterUnreachable(Temporary):
    """The API server did not answer before anything was changed."""


class RepositoryUnreachable(Temporary):
    """The chart repository or registry did not answer, or answered with an error of its own."""


class ClusterForbids(Permanent):
    """The bot's own account may not do this in the cluster (RBAC), or is not accepted at all."""


class ApplyConflict(Permanent):
    """Another field manager owns fields that the chart sets (server-side apply). ``conflicts``: manager →
    fields.
    """

    def __init__(
        self,
        message: str,
        *,
        conflicts: dict[str, tuple[str, ...]],
        way_out: str,
        evidence: Sequence[Evidence],
    ) -> None:
        super().__init__(message, way_out=way_out, evidence=evidence)
        self.conflicts = conflicts


class ManifestRefused(Permanent):
    """The API server does not take an object of the chart: invalid, immutable, unknown kind, refused by an
    admission webhook.
    """


class RenderFailed(Permanent):
    """The chart's templates do not render. ``key`` is the expression at fault, such as
    ``.Values.server.image``; 0 means not told.
    """

    def __init__(
        self,
        message: str,
        *,
        template: str = "",
        line: int = 0,
        column: int = 0,
        key: str = "",
        cause: str = "",
        evidence: Sequence[Evidence] = (),
    ) -> None:
        super().__init__(
            message,
            way_out="The values, or the chart, must change before this can be applied.",
            evidence=evidence,
        )
        self.template = template
        self.line = line
        self.column = column
        self.key = key
        self.cause = cause


@dataclass(frozen=True)
class FieldProblem:
    """One thing that a chart's schema has against the values. ``path`` is dotted (``server.replicas``), empty
    for the whole.
    """

    chart: str
    path: str
    problem: str


class ValuesRefused(Permanent):
    """The chart's schema refuses the values."""

    def __init__(self, message: str, *, fields: tuple[FieldProblem, ...], evidence: Sequence[Evidence] = ()) -> None:
        super().__init__(message, way_out="Correct these values, then plan again.", evidence=evidence)
        self.fields = fields


@dataclass(frozen=True)
class NotReady:
    """A resource that was not as wanted when Helm stopped waiting; ``status`` is kstatus' word."""

    kind: str
    namespace: str
    name: str
    status: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.message or self.status}"


class NotReadyInTime(Permanent):
    """Helm applied the change and stopped waiting. ``resources`` may be empty: Helm 3 does not name them."""

    def __init__(
        self,
        message: str,
        *,
        resources: tuple[NotReady, ...],
        timed_out: bool,
        evidence: Sequence[Evidence] = (),
    ) -> None:
        super().__init__(message, way_out="Look at the pods named here, or roll back.", evidence=evidence)
        self.resources = resources
        self.timed_out = timed_out


class HookFailed(Permanent):
    """A hook did not succeed. ``event`` is Helm's (``pre-upgrade``); ``name`` and ``kind`` are empty when
    Helm does not tell.
    """

    def __init__(
        self,
        message: str,
        *,
        event: str,
        name: str,
        kind: str,
        timed_out: bool,
        evidence: Sequence[Evidence] = (),
    ) -> None:
        super().__init__(message, way_out="The log of its pod says why.", evidence=evidence)
        self.event = event
        self.name = name
        self.kind = kind
        self.timed_out = timed_out


class HelmFailed(Permanent):
    """Helm failed for a reason that no row of the table knows; its own message is the message."""
