"""Which database a release uses, as far as it is a CloudNativePG ``Cluster`` in its own namespace, and how it is told another.

The keys are those of Aeterna's charts: up to 0.5 the chart brings the Cluster (``postgresql.bundled``) or is told of another
under ``postgresql.external``; from 0.6 on ``postgresql.host`` and its neighbours are all there is.
"""

from __future__ import annotations

from typing import Any

from bot.diff.values import overlay
from bot.engine.clients import TargetClients
from bot.helm.models import StoredRelease
from bot.kube.cluster import Cluster
from bot.kube.failures import UnknownKind
from bot.kube.objects import annotations_of, name_of
from bot.services.cnpg import API
from bot.services.cnpg_recovery import Application
from bot.settings import Target
from runbooks.external import Endpoint, switch_over
from runbooks.reading import chart_version, stored_releases

Json = dict[str, Any]
_OWNER = "meta.helm.sh/release-name"
PORT = 5432


def host_of(release: StoredRelease) -> str | None:
    """The host that the release's values name; None where its chart brings the database itself."""
    postgres = _postgres(release)
    if not _brings_its_own(release):
        return str(postgres.get("host") or "")
    if postgres.get("bundled"):
        return None
    return str((postgres.get("external") or {}).get("host") or "")


async def cluster_in_use(cluster: Cluster, target: Target, release: StoredRelease) -> Json | None:
    """The Cluster whose database the release uses: the one of the configuration, else the one that its values lead to."""
    try:
        found = await cluster.list(API, "Cluster", target.namespace)
    except UnknownKind:
        return None
    if target.database.cluster is not None:
        return next((one for one in found if name_of(one) == target.database.cluster), None)
    if (host := host_of(release)) is not None:
        service, _, where = host.partition(".")
        near = not where or where.partition(".")[0] == target.namespace
        return next((one for one in found if near and service == f"{name_of(one)}-rw"), None)
    brought = [one for one in found if is_brought(one, target)]
    return brought[0] if len(brought) == 1 else None


async def name_in_use(clients: TargetClients, target: Target) -> str | None:
    """The Cluster to back up where there are several, as after a restore: the one that the release uses; None when unclear."""
    try:
        found = await clients.cluster.list(API, "Cluster", target.namespace, metadata_only=True)
    except UnknownKind:
        return None
    releases = await stored_releases(clients) if len(found) > 1 else []
    used = await cluster_in_use(clients.cluster, target, releases[-1]) if releases else None
    return name_of(used) if used else None


def is_brought(cluster: Json, target: Target) -> bool:
    """Whether Helm made this Cluster with the release, and so deletes it when the values no longer ask for it."""
    return annotations_of(cluster).get(_OWNER) == target.release


def switched_to(release: StoredRelease, host: str, application: Application, secret: str) -> Json:
    """The values, by dotted path, with which this version of the chart uses the database at ``host``.

    CloudNativePG takes connections with and without TLS, so what the release says of that stays.
    """
    to = Endpoint("postgres", host, PORT, application.database, application.owner, False, secret, "password")
    values = switch_over(chart_version(release), to)
    return {path: value for path, value in values.items() if not path.endswith(".sslMode")}


def _brings_its_own(release: StoredRelease) -> bool:
    """By the chart's own values: what a user once set stays in the release's when a newer chart ignores it."""
    return "bundled" in (release.chart_values.get("postgresql") or {})


def _postgres(release: StoredRelease) -> Json:
    found = overlay(release.chart_values, release.config).get("postgresql")
    return dict(found) if isinstance(found, dict) else {}
