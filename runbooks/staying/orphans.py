"""Objects of the release that Helm would never delete any more: of revisions between, in neither of the two manifests.

A rollback deletes what the newest revision's manifest has and the target's lacks (Helm 4.3.1, pkg/action/rollback.go). After an
operation that was cut off or failed, the newest revision's manifest is not all that is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bot.diff.objects import KEEP
from bot.engine.contract import Level
from bot.helm.models import Status, StoredRelease
from bot.helm.rendering import parse_objects
from bot.kube.cluster import Cluster
from bot.kube.holdings import key_of
from bot.kube.loss_reading import read_live
from bot.kube.objects import Json, annotations_of, ref_of
from runbooks.staying.found import ORPHANS, Stays, said
from runbooks.text import listed
from runbooks.wayback import WayBack

_OWNER = "meta.helm.sh/release-name"


async def orphaned(cluster: Cluster, way: WayBack, before: Sequence[Json], after: Sequence[Json]) -> Stays:
    """What is still in the cluster of the revisions after the target, and known to neither manifest."""
    others = [one for one in way.later if one.revision != way.current.revision]
    left = await asyncio.to_thread(_only_in, others, (*before, *after), way.current.namespace)
    if not left:
        return Stays()
    live = await read_live(cluster, left, way.current.namespace)
    mine = [one for one in live.objects if annotations_of(one).get(_OWNER) == way.current.name]
    if not mine:
        return Stays()
    names = listed(sorted(str(ref_of(one)) for one in mine))
    text = f"{names} came with a revision between and would stay behind: Helm does not know of it any more."
    way_out = "Delete it by hand when nothing needs it."
    return Stays((said(Level.WARNING, ORPHANS, text, way_out=way_out),))


def strands(releases: Sequence[StoredRelease], wanted: int) -> int | None:
    """The last deployed revision, when going from the newest (cut off) one straight to ``wanted`` would strand objects of it.

    None where the straight way leaves nothing behind. Blocking; ``releases`` are oldest first.
    """
    newest = releases[-1]
    last = next((one for one in reversed(releases) if one.status is Status.DEPLOYED), None)
    target = next((one for one in releases if one.revision == wanted), None)
    if not newest.status.pending or last is None or target is None or last.revision == wanted:
        return None
    kept = (*parse_objects(newest.manifest), *parse_objects(target.manifest))
    return last.revision if _only_in([last], kept, newest.namespace) else None


def _only_in(releases: Sequence[StoredRelease], known: Sequence[Json], namespace: str) -> list[Json]:
    """The objects of these revisions that are not among the known ones; those that Helm is to keep are meant to stay."""
    keys = {key_of(ref_of(obj, namespace)) for obj in known}
    found: dict[object, Json] = {}
    for text in dict.fromkeys(one.manifest for one in releases):
        for obj in parse_objects(text):
            key = key_of(ref_of(obj, namespace))
            if key not in keys and annotations_of(obj).get(KEEP) != "keep":
                found.setdefault(key, obj)
    return list(found.values())
