"""The form in which each look at what stays gives its answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.engine.contract import Finding, Level
from bot.errors import Evidence
from bot.kube.objects import Json, moment

MIGRATIONS, DATABASE, CLAIMS = "rollback.migrations", "rollback.database", "rollback.claims"
OUTSIDE, SERVICES, CRDS, ORPHANS = "rollback.outside", "rollback.services", "rollback.crds", "rollback.orphans"


@dataclass(frozen=True)
class Stays:
    """Findings for the card, and what they rest on for the thread."""

    findings: tuple[Finding, ...] = ()
    evidence: tuple[Evidence, ...] = ()


def said(level: Level, code: str, text: str, *, subject: str = "", way_out: str = "") -> Finding:
    """One finding."""
    return Finding(level, text, way_out, code, subject)


def together(parts: Iterable[Stays]) -> Stays:
    """All of them, warnings first."""
    found = list(parts)
    findings = sorted((one for part in found for one in part.findings), key=lambda one: one.level is not Level.WARNING)
    return Stays(tuple(findings), tuple(piece for part in found for piece in part.evidence))


def written(obj: Json) -> tuple[datetime | None, str]:
    """When the object was last written, as its managed fields tell, and by whom; the server's own status does not count."""
    meta = obj.get("metadata") or {}
    created = moment(meta.get("creationTimestamp"))
    newest, who = created, ""
    for entry in meta.get("managedFields") or []:
        at = moment(entry.get("time"))
        if at is not None and not entry.get("subresource") and (newest is None or at >= newest):
            newest, who = at, str(entry.get("manager") or "")
    return newest, who


def is_later(at: datetime | None, since: datetime | None) -> bool:
    """Whether something happened after the target was deployed. Not known is not later."""
    return at is not None and since is not None and at > since


def names(objects: Sequence[dict[str, Any]], *kinds: str) -> set[tuple[str, str]]:
    """Kind and name of these objects."""
    return {
        (str(obj.get("kind")), str((obj.get("metadata") or {}).get("name")))
        for obj in objects
        if obj.get("kind") in kinds
    }
