"""The clients of one target, built once by the composition root and handed to checks and steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bot.fingerprints import Fingerprints
from bot.helm.client import Helm
from bot.helm.releases import ReleaseStore
from bot.helm.repository import ChartRepository
from bot.kube.access import ServiceAccess
from bot.kube.cluster import Cluster
from bot.kube.probejob import Probes
from bot.services.release_notes import ReleaseNotes


@dataclass(frozen=True)
class TargetClients:
    """Everything that reaches outside for one target. ``charts`` is where pulled charts are kept, by digest.

    ``fingerprints`` stand for the target's secrets in what is stored and shown.
    ``probes`` look at databases from inside the cluster.
    ``notes`` are the release notes behind the address of the configuration; None where it names none.
    """

    helm: Helm
    releases: ReleaseStore
    repository: ChartRepository
    cluster: Cluster
    access: ServiceAccess
    charts: Path
    fingerprints: Fingerprints
    probes: Probes
    notes: ReleaseNotes | None = None
