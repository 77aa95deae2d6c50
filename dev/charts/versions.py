"""The table of the chart's versions: what each changes and, for the bad ones, what goes wrong.

``versions.yaml`` holds the facts; this module gives the bad ones names that say what they prove.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = "aeterna"
GOOD_VERSIONS: Final = ("0.1.0", "0.2.0", "0.2.1", "0.3.0")
LIGHT_VALUES_FILE: Final = Path(__file__).with_name("light.yaml")
_TABLE: Final = Path(__file__).with_name("versions.yaml")


class BadVersion(StrEnum):
    """Chart versions that are meant to fail, by the way in which they do."""

    IMAGE_CANNOT_BE_PULLED = "0.2.2"
    PODS_CRASH = "0.2.3"
    HOOK_FAILS = "0.2.4"
    TEST_FAILS = "0.2.5"
    NEVER_READY = "0.2.6"
    SCHEMA_REFUSES = "0.2.7"
    TEMPLATES_DO_NOT_RENDER = "0.2.8"
    SERVER_NOT_READY = "0.2.9"
    IMMUTABLE_FIELD = "0.2.10"
    BACKENDS_VANISH = "0.2.11"
    CANNOT_BE_SCHEDULED = "0.2.12"
    DATABASE_REFUSED = "0.2.13"
    REQUIRED_VALUE_MISSING = "0.2.14"
    DEFINITION_IN_FOLDER = "0.2.15"
    STORED_VERSION_GOES = "0.2.16"
    PASSWORD_DRAWN_ANEW = "0.2.17"
    SUBCHART_DEMANDS = "0.2.18"
    SUBCHART_LEADS_OUTSIDE = "0.2.19"


@dataclass(frozen=True)
class Edit:
    """Put ``new`` where ``old`` stands in ``file``; ``old`` must occur exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class ChartVersion:
    """One version: the version it starts from, its edits, and what its changelog says.

    ``created`` is RFC 3339; ``changes`` goes into ``artifacthub.io/changes``; ``add`` are new files by their path in the
    chart; ``pack`` are folders of subcharts that are put in as archives; ``bad`` says what goes wrong.
    """

    version: str
    created: str
    base: str | None = None
    changes: tuple[Mapping[str, str], ...] = ()
    edits: tuple[Edit, ...] = ()
    delete: tuple[str, ...] = ()
    add: Mapping[str, str] = field(default_factory=dict)
    pack: tuple[str, ...] = ()
    bad: str | None = None

    @property
    def app_version(self) -> str:
        """The server's version that this chart installs: the chart's own."""
        return self.version


def load_versions(path: Path = _TABLE) -> dict[str, ChartVersion]:
    """All versions of the table, in its order, by version."""
    rows: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {row["version"]: _version(row) for row in rows}


def light_values() -> dict[str, Any]:
    """Values for a release of about five objects (see ``light.yaml``); a fresh copy each time."""
    values: dict[str, Any] = yaml.safe_load(LIGHT_VALUES_FILE.read_text(encoding="utf-8"))
    return values


def _version(row: Mapping[str, Any]) -> ChartVersion:
    return ChartVersion(
        version=row["version"],
        created=row["created"],
        base=row.get("from"),
        changes=tuple(row.get("changes", ())),
        edits=tuple(Edit(**edit) for edit in row.get("edits", ())),
        delete=tuple(row.get("delete", ())),
        add=dict(row.get("add", {})),
        pack=tuple(row.get("pack", ())),
        bad=row.get("bad"),
    )
