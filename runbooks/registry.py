"""Every check and every step kind that there is, by name. What is not written here does not exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.diff.migrations import MigrationNote, load_notes, merged
from bot.engine.contract import Check, StepKind
from runbooks.checks.changelog import Changelog
from runbooks.checks.cluster import Capacity, HealthNow
from runbooks.checks.components import HoldPlan
from runbooks.checks.crds import CustomResourceDefinitions
from runbooks.checks.external import ExternalService
from runbooks.checks.externalparts import ExternalParts
from runbooks.checks.goingback import RollbackChanges
from runbooks.checks.held import HeldDown, RestorePlan
from runbooks.checks.loss import DataLoss
from runbooks.checks.manifests import ManifestsDryRun
from runbooks.checks.migrations import Migrations
from runbooks.checks.recovery import DatabaseRecovery
from runbooks.checks.release import HelmRelease
from runbooks.checks.restart import RestartPlan
from runbooks.checks.rollback import RollbackTarget
from runbooks.checks.running import RunningVersion
from runbooks.checks.staying import RollbackStays
from runbooks.checks.unlock import UnlockTarget
from runbooks.checks.values import ValuesCompare
from runbooks.checks.version import ChartVersionCheck
from runbooks.checks.versions import ApiVersions
from runbooks.checks.volumes import VolumesRecovery
from runbooks.steps.backup import PostgresBackup, QdrantSnapshot
from runbooks.steps.components import ComponentsHold, ComponentsSettle
from runbooks.steps.differences import ChangelogReport, DiffReport
from runbooks.steps.external import ExternalCompare, ExternalKeep, ExternalPresent, ExternalTest
from runbooks.steps.history import HistoryReport
from runbooks.steps.leftovers import RollbackLeftovers
from runbooks.steps.recovery import DatabaseRestore
from runbooks.steps.recovery_check import DatabaseCheck
from runbooks.steps.reports import StatusReport, VersionsReport
from runbooks.steps.restart import ComponentsRestart
from runbooks.steps.restore import ComponentsRestore
from runbooks.steps.rollback import HelmRollback
from runbooks.steps.rollout import RolloutWatch
from runbooks.steps.tests import HelmTest
from runbooks.steps.unlock import HelmUnlock
from runbooks.steps.upgrade import HelmUpgrade
from runbooks.steps.verify import VerifyBaseline, VerifyRelease
from runbooks.steps.volumes import VolumesBound, VolumesRetain, VolumesSwap, VolumesWait
from runbooks.steps.volumes_qdrant import QdrantRecover

MIGRATIONS = Path(__file__).parent / "migrations"
"""Our migration notes; a users' folder has its own in a folder of the same name."""


@dataclass(frozen=True)
class Registry:
    """Checks and step kinds by the names that runbooks use; and the migration notes, oldest first."""

    checks: Mapping[str, Check]
    steps: Mapping[str, StepKind[Any]]
    notes: tuple[MigrationNote, ...] = ()


def note_folders(users: Path | None) -> tuple[Path, ...]:
    """Our folder of migration notes and that of a users' folder of runbooks, where there is one."""
    return (MIGRATIONS, users / MIGRATIONS.name) if users else (MIGRATIONS,)


def shipped_registry(*, migrations: Sequence[Path] = (MIGRATIONS,)) -> Registry:
    """What comes with the bot. ``migrations`` are folders of migration notes; a later one's note takes an earlier one's place.

    Raises ``UserMistake`` with file, line and field when a note is not in order.
    """
    notes = merged(load_notes(folder) for folder in migrations)
    compare, rehearse = ValuesCompare(notes=notes), ManifestsDryRun()
    checks: Iterable[Check] = (
        HelmRelease(),
        RollbackTarget(),
        RollbackChanges(),
        RollbackStays(notes=notes),
        UnlockTarget(),
        ChartVersionCheck(),
        Changelog(notes=notes),
        compare,
        rehearse,
        CustomResourceDefinitions(),
        DataLoss(),
        Migrations(),
        ApiVersions(),
        Capacity(),
        HealthNow(),
        HoldPlan(),
        RestorePlan(),
        HeldDown(),
        RestartPlan(),
        DatabaseRecovery(notes=notes),
        VolumesRecovery(),
        RunningVersion(),
        ExternalService(),
        ExternalParts(),
    )
    steps: Iterable[StepKind[Any]] = (
        PostgresBackup(),
        QdrantSnapshot(),
        VerifyBaseline(),
        HelmUpgrade(),
        HelmRollback(),
        HelmUnlock(),
        RollbackLeftovers(notes=notes),
        RolloutWatch(),
        HelmTest(),
        VerifyRelease(),
        ComponentsHold(),
        ComponentsSettle(),
        ComponentsRestore(),
        ComponentsRestart(),
        DatabaseRestore(),
        DatabaseCheck(),
        VolumesRetain(),
        VolumesWait(),
        VolumesSwap(),
        VolumesBound(),
        QdrantRecover(),
        ExternalTest(),
        ExternalPresent(),
        ExternalCompare(),
        ExternalKeep(),
        StatusReport(),
        HistoryReport(),
        VersionsReport(),
        ChangelogReport(notes=notes),
        DiffReport(values=compare, manifests=rehearse),
    )
    return Registry({check.name: check for check in checks}, {kind.name: kind for kind in steps}, notes)
