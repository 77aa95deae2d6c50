"""Chart archives and the repository's index, built without Helm.

The same table gives the same bytes: entries are sorted, owners and times are fixed. Helm reads the result
as it reads its own. Limits: no dependencies, no provenance files.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from dev.charts.versions import CHART, ChartVersion, Edit

_SOURCE: Final = Path(__file__).parent / CHART


@dataclass(frozen=True)
class Package:
    """One packed version; ``metadata`` is its Chart.yaml, ``digest`` the SHA-256 of ``archive`` in hex."""

    version: str
    created: str
    metadata: Mapping[str, Any]
    archive: bytes

    @property
    def filename(self) -> str:
        return f"{CHART}-{self.version}.tgz"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.archive).hexdigest()


def build(version: str, table: Mapping[str, ChartVersion], *, source: Path = _SOURCE) -> Package:
    """The package of ``version``. Raises KeyError for an unknown one, ValueError for a misfit edit."""
    return pack(table[version], files_of(version, table, source=source))


def build_all(table: Mapping[str, ChartVersion], versions: Iterable[str] | None = None) -> list[Package]:
    """The packages of ``versions``, by default of the whole table."""
    return [build(version, table) for version in (table if versions is None else versions)]


def files_of(version: str, table: Mapping[str, ChartVersion], *, source: Path = _SOURCE) -> dict[str, str]:
    """The chart's files by their path in the chart, after the edits of this version and its bases."""
    entry = table[version]
    files = files_of(entry.base, table, source=source) if entry.base else _read(source)
    for edit in entry.edits:
        files[edit.file] = _apply(files[edit.file], edit, version)
    for path in entry.delete:
        del files[path]
    files |= entry.add
    files["Chart.yaml"] = _chart_yaml(files["Chart.yaml"], entry)
    return files


def index_of(packages: Iterable[Package]) -> bytes:
    """``index.yaml`` for these packages; archive addresses are relative to it."""
    entries = [
        {
            **package.metadata,
            "created": package.created,
            "digest": package.digest,
            "urls": [package.filename],
        }
        for package in packages
    ]
    newest = max((entry["created"] for entry in entries), default="2026-01-01T00:00:00Z")
    index = {"apiVersion": "v1", "entries": {CHART: entries} if entries else {}, "generated": newest}
    return yaml.safe_dump(index, sort_keys=False).encode()


def _read(source: Path) -> dict[str, str]:
    return {
        path.relative_to(source).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(source.rglob("*"))
        if path.is_file()
    }


def _apply(text: str, edit: Edit, version: str) -> str:
    if text.count(edit.old) != 1:
        raise ValueError(f"{version}: {edit.file} has {text.count(edit.old)} times, not once: {edit.old!r}")
    return text.replace(edit.old, edit.new)


def _chart_yaml(text: str, entry: ChartVersion) -> str:
    chart = yaml.safe_load(text)
    chart["version"] = entry.version
    chart["appVersion"] = entry.app_version
    # Artifact Hub wants the list as a text of YAML inside the annotation.
    chart["annotations"]["artifacthub.io/changes"] = yaml.safe_dump(
        [dict(change) for change in entry.changes], sort_keys=False, width=1000
    )
    return yaml.safe_dump(chart, sort_keys=False)


def pack(entry: ChartVersion, files: Mapping[str, str]) -> Package:
    """``files`` by their path in the chart, as an archive."""
    contents = {path: text.encode() for path, text in files.items()}
    for folder in entry.pack:
        inner = {path.removeprefix(f"{folder}/"): contents.pop(path) for path in files if path.startswith(f"{folder}/")}
        contents[f"{folder}.tgz"] = _archive(folder.rpartition("/")[2], inner)
    return Package(entry.version, entry.created, yaml.safe_load(files["Chart.yaml"]), _archive(CHART, contents))


def _archive(chart: str, contents: Mapping[str, bytes]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as tar:
        # Helm wants Chart.yaml early, as its own packages have it.
        for path in sorted(contents, key=lambda name: (name != "Chart.yaml", name)):
            member = tarfile.TarInfo(f"{chart}/{path}")
            member.size = len(contents[path])
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(contents[path]))
    return gzip.compress(plain.getvalue(), compresslevel=6, mtime=0)
