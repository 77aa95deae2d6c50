"""All looks at what a rollback leaves, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bot.diff.migrations import MigrationNote
from bot.engine.contract import Past
from bot.helm.charts import ChartVersion
from bot.helm.rendering import parse_objects
from bot.kube.cluster import Cluster
from bot.kube.objects import Json
from runbooks.staying.claims import claims
from runbooks.staying.found import Stays, together
from runbooks.staying.migrations import migrations
from runbooks.staying.orphans import orphaned
from runbooks.staying.outside import configuration, definitions, services
from runbooks.wayback import WayBack


async def everything(
    cluster: Cluster,
    way: WayBack,
    *,
    notes: Sequence[MigrationNote],
    past: Past,
    offered: Sequence[ChartVersion] = (),
    objects: tuple[Sequence[Json], Sequence[Json]] | None = None,
) -> Stays:
    """Warnings first. Raises what the API server raises when it is away; what may not be read is a finding.

    ``objects`` are the two manifests' where they are parsed already, the newest revision's first.
    """
    before, after = objects if objects is not None else await asyncio.to_thread(_parsed, way)
    found = await asyncio.gather(
        migrations(cluster, way, notes=notes, past=past, offered=offered),
        claims(cluster, way, before, after),
        configuration(cluster, way, before, after),
        definitions(cluster, way, before, after),
        orphaned(cluster, way, before, after),
    )
    return together((*found, services(way, after)))


def _parsed(way: WayBack) -> tuple[Sequence[Json], Sequence[Json]]:
    return parse_objects(way.current.manifest), parse_objects(way.target.manifest)
