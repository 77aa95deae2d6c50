"""What there is of a release's volumes, for people: a line for each claim, a table of everything, and a button for each way."""

from __future__ import annotations

from collections.abc import Iterable

from bot.engine.contract import Finding
from bot.errors import Evidence
from bot.kube.objects import Json, name_of
from runbooks.checks.findings import info
from runbooks.checks.volumes_choice import Asked
from runbooks.checks.volumes_ways import Vectors, Way, not_offered, swappable, ways
from runbooks.text import counted, size, when
from runbooks.volumes import Claim, Volumes


def choices(asked: Asked, taken: Way | None, volumes: Volumes, vectors: Vectors) -> Json:
    """The facts by which the card lists the ways, with a button for each: the first of every claim before the second of any."""
    there = [way for way in ways(volumes, vectors) if asked.claim in ("", way.claim)]
    seen: dict[str, int] = {}
    ranked = []
    for way in there:
        seen[way.claim] = seen.get(way.claim, 0) + 1
        ranked.append((seen[way.claim], way))
    ranked.sort(key=lambda pair: pair[0])
    found = [
        {
            "label": f"Recover {way.claim} from {way.source}" if not asked.claim else f"Take {way.source}",
            "text": way.text,
            "values": {"claim": way.claim, "from": way.source},
            "taken": taken is not None and (way.claim, way.source) == (taken.claim, taken.source),
        }
        for _, way in ranked
    ]
    reasons = "" if taken else " ".join(not_offered(volumes, vectors))
    return {"choices_of": "What can be recovered, and from what", "choices": found, "choices_note": reasons}


def lines_of(volumes: Volumes) -> Iterable[Finding]:
    """A line for each claim."""
    for claim in volumes.claims.values():
        snapshots = volumes.snapshots(claim.name)
        ready = [one for one in snapshots if one.ready]
        told = (
            f"{counted(len(ready), 'snapshot')} ready, the newest of {when(ready[0].at)}"
            if ready
            else "no snapshot ready"
        )
        yield info(f"{claim.name}: {_said(volumes, claim)}; last writer {claim.written_by}; {told}.")


def _said(volumes: Volumes, claim: Claim) -> str:
    if claim.obj is None:
        return f"not there ({claim.whose} makes it when it starts)"
    volume = volumes.storage.volume_of(claim.obj) or {}
    policy = str((volume.get("spec") or {}).get("persistentVolumeReclaimPolicy") or "unknown")
    return f"{claim.phase}, {claim.size}, class {claim.storage_class or 'none'}, reclaim policy {policy}"


def table_of(volumes: Volumes, vectors: Vectors) -> Evidence:
    """Everything that was seen, for the thread."""
    lines = []
    for claim in volumes.claims.values():
        lines += [
            f"{claim.name} ({claim.whose})",
            f"  {_said(volumes, claim)}",
            f"  volume       {claim.volume or 'none'}",
        ]
        lines += [f"  last writer  {claim.written_by}"]
        lines += [
            f"  snapshot     {one.name}  {one.state}  {when(one.at)}  {one.size or '–'}"
            for one in volumes.snapshots(claim.name)
        ]
        lines += [f"  let go       {name_of(one)}" for one in volumes.released(claim.name)]
        lines += [f"  kept         {one.name}" for one in volumes.kept(claim.name)]
        if why := swappable(volumes, claim):
            lines.append(f"  not offered  {why}")
    for collection, snapshots in vectors.collections.items():
        lines.append(f"Qdrant's collection {collection}")
        lines += [f"  snapshot     {one.name}  {pod}  {one.created_at}  {size(one.size)}" for pod, one in snapshots]
    lines += ["", *(f"{why}" for why in not_offered(volumes, vectors))]
    return Evidence("Claims, volumes and snapshots", "\n".join(lines))
