"""Which claim is recovered, and from what: what was asked for, else what one most likely wants; or why that cannot be."""

from __future__ import annotations

from dataclasses import dataclass

from rapidfuzz import process

from bot.engine.contract import Finding, Level, PlanContext
from bot.kube.objects import name_of
from bot.kube.snapshots import claimed_by
from runbooks.checks.volumes_ways import Kind, Vectors, Way, by_qdrant, not_offered, swappable, ways
from runbooks.text import listed, when
from runbooks.volumes import Claim, Volumes

CODE = "volumes"


class Blocked(Exception):
    """The plan ends here, with this blocker."""

    def __init__(self, code: str, text: str, way_out: str) -> None:
        super().__init__(text)
        self.finding = Finding(Level.BLOCKER, text, way_out, code if code == "rbac" else f"{CODE}.{code}")


@dataclass(frozen=True)
class Asked:
    """``claim`` and ``source`` as they were typed, or as they were chosen on the card since; empty where neither was."""

    claim: str
    source: str

    @classmethod
    def of(cls, context: PlanContext) -> Asked:
        given = {**context.run.inputs, **context.run.supplied}
        return cls(str(given.get("claim") or ""), str(given.get("from") or ""))


def choose(asked: Asked, volumes: Volumes, vectors: Vectors) -> Way:
    """Raises ``Blocked`` with the code, the reason and the way out."""
    there = ways(volumes, vectors)
    if not asked.claim:
        if not there:
            reasons = not_offered(volumes, vectors)
            text = "Nothing can be recovered here: there is no snapshot and no volume to go back to."
            raise Blocked("none", text, " ".join(reasons[:3]) or "The release has no claims.")
        way_out = f"Press one of the buttons, or type it: `recover volumes {there[0].claim} {there[0].source}`."
        raise Blocked("choose", "Nothing is chosen yet: this only shows what there is.", way_out)
    if asked.claim in vectors.collections and asked.claim not in volumes.claims:
        return _of_qdrant(asked, vectors)
    claim = volumes.claims.get(asked.claim)
    if claim is None:
        raise _unknown("claim or collection", asked.claim, [*volumes.claims, *vectors.collections], vectors.trouble)
    if why := swappable(volumes, claim):
        raise Blocked("owner", why, "Nothing was changed; `recover volumes` shows what can be recovered.")
    mine = [way for way in there if way.claim == claim.name]
    return _named(asked, claim, mine, volumes) if asked.source else _likely(claim, mine, volumes, vectors)


def _likely(claim: Claim, mine: list[Way], volumes: Volumes, vectors: Vectors) -> Way:
    """A claim without a volume wants its own back; any other one the newest snapshot."""
    if not claim.volume and (back := [way for way in mine if way.kind is Kind.VOLUME and way.source == way.volume]):
        return back[0]
    if newest := next((way for way in mine if way.kind is Kind.SNAPSHOT), None):
        return newest
    if mine:
        text = f"{claim.name} has no snapshot that is ready, but something else to go back to."
        raise Blocked("choose", text, f"Press its button, or type it: `recover volumes {claim.name} {mine[0].source}`.")
    waiting = [f"{one.name} ({one.trouble.rstrip('.') or 'not ready yet'})" for one in volumes.snapshots(claim.name)]
    told = f", only {listed(waiting)}" if waiting else ""
    reasons = " ".join(not_offered(volumes, vectors)[:2]) or "Wait for a snapshot to become ready, then ask again."
    raise Blocked("none", f"{claim.name} has no snapshot that is ready{told}.", reasons)


def _named(asked: Asked, claim: Claim, mine: list[Way], volumes: Volumes) -> Way:
    found = next((way for way in mine if way.source == asked.source), None)
    if found is not None:
        return found
    usable = (
        f"For {claim.name} there are {listed([way.source for way in mine])}." if mine else f"{claim.name} has none."
    )
    snapshot = next((one for one in volumes.storage.snapshots or () if one.name == asked.source), None)
    if snapshot is not None and snapshot.claim == claim.name:
        why = f": {snapshot.trouble.rstrip('.')}" if snapshot.trouble else "; it is still being made"
        raise Blocked("unready", f"VolumeSnapshot {snapshot.name} is not ready to use{why}.", usable)
    if snapshot is not None:
        of = f"of the claim {snapshot.claim}" if snapshot.claim else "of no claim that it names"
        raise Blocked("foreign", f"VolumeSnapshot {snapshot.name} is {of}, not of {claim.name}.", usable)
    volume = (volumes.storage.volumes or {}).get(asked.source)
    if volume is not None:
        namespace, name, _ = claimed_by(volume)
        phase = str((volume.get("status") or {}).get("phase") or "unknown")
        of = f", of the claim {namespace}/{name}" if name else ""
        raise Blocked(
            "foreign", f"Volume {name_of(volume)} is {phase}{of}: it is not {claim.name}'s to have back.", usable
        )
    raise _unknown("snapshot or volume", asked.source, [way.source for way in mine], "")


def _of_qdrant(asked: Asked, vectors: Vectors) -> Way:
    there = [by_qdrant(asked.claim, node, one) for node, one in vectors.collections[asked.claim]]
    mine = [way for way in there if not asked.source or way.source == asked.source]
    if not mine and asked.source:
        raise _unknown("snapshot", asked.source, [one.name for _, one in vectors.collections[asked.claim]], "")
    if not mine:
        text = f"Qdrant has no snapshot of {asked.claim}."
        raise Blocked("none", text, "Every upgrade makes one; look at Qdrant's volume, which may still be good.")
    return max(mine, key=lambda way: when(way.at))


def _unknown(what: str, name: str, known: list[str], trouble: str) -> Blocked:
    near = process.extractOne(name, known, score_cutoff=50)
    there = f"There are {listed(known)}." if known else "There is none."
    way_out = f"Did you mean `{near[0]}`? {there}" if near else there
    return Blocked("unknown", f"There is no {what} `{name[:60]}` of this release.", f"{way_out} {trouble}".strip())
