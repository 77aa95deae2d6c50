"""A chart's source, its versions, and a chart that has been pulled, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bot.errors import UserMistake
from bot.helm.subcharts import Parts


@dataclass(frozen=True)
class ChartSource:
    """Where a chart comes from: exactly one of ``repo`` (with ``name``), ``oci``, ``path``.

    ``repo`` the URL of a chart repository; ``oci`` the whole reference ``oci://registry/path/chart``;
    ``path`` a chart's directory or a ``.tgz``.
    """

    name: str = ""
    repo: str | None = None
    oci: str | None = None
    path: Path | None = None

    def __post_init__(self) -> None:
        if sum(place is not None for place in (self.repo, self.oci, self.path)) != 1:
            raise UserMistake("A chart comes from exactly one place.", way_out="Give `repo`, `oci` or `path`.")
        if self.repo is not None and not (self.name and self.repo.startswith(("http://", "https://"))):
            raise UserMistake("A chart repository needs an http(s) URL, and the chart its name.")
        if self.oci is not None and not self.oci.startswith("oci://"):
            raise UserMistake("A chart in a registry is written `oci://registry/path/chart`.")

    def __str__(self) -> str:
        return f"{self.name} from {self.repo}" if self.repo else str(self.oci or self.path)


@dataclass(frozen=True)
class ChartVersion:
    """One version on offer. ``digest`` is the SHA-256 of the archive in hex, empty when the source names
    none.
    """

    version: str
    app_version: str = ""
    created: datetime | None = None
    digest: str = ""
    urls: tuple[str, ...] = ()
    deprecated: bool = False
    description: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PulledChart:
    """A chart on our disk, fixed under its digest.

    ``path`` is what Helm is given: the archive, or a copy of the directory. ``digest`` is the SHA-256 of the
    archive (of the listing of all files, for a directory). ``files`` are changelogs and the like, by path in
    the chart; ``parts`` its templates, definitions and subcharts.
    """

    path: Path
    digest: str
    metadata: Mapping[str, Any]
    values: dict[str, Any] = field(repr=False)
    schema: dict[str, Any] | None = field(repr=False)
    files: Mapping[str, str] = field(repr=False)
    parts: Parts = field(default_factory=Parts, repr=False)

    @property
    def name(self) -> str:
        """The chart's name, from its Chart.yaml."""
        return str(self.metadata["name"])

    @property
    def version(self) -> str:
        """The chart's version, from its Chart.yaml."""
        return str(self.metadata["version"])

    @property
    def app_version(self) -> str:
        """The version of the application, from its Chart.yaml, or empty."""
        return str(self.metadata.get("appVersion") or "")
