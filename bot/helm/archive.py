"""Reading a packaged chart without trusting it: nothing is extracted to disk, and what looks wrong is refused.

Refused: paths that leave the chart, absolute paths, links and devices, two entries of one name, more than one chart at the
top, and anything beyond the limits. Subcharts are read under the same conditions, packed ones too.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from bot.errors import Permanent
from bot.helm.subcharts import DEEPEST, Parts, taken_apart
from bot.helm.yamldocs import load_mapping

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """How large a chart may be: bytes packed, bytes unpacked, bytes of one file that is read, number of entries; packed
    subcharts together once more as much. ``texts`` are bytes of templates and definitions; what is more is named, not read.
    """

    packed: int = 20 * MIB  # Helm's own limit for the whole unpacked chart is 100 MiB, for one file 5 MiB
    unpacked: int = 100 * MIB
    one_file: int = 5 * MIB
    entries: int = 10_000
    texts: int = 16 * MIB


@dataclass(frozen=True)
class ChartContents:
    """What is read of a chart. ``files`` are changelogs and the like, by their path in the chart; ``parts`` templates,
    definitions and subcharts.
    """

    metadata: dict[str, Any]
    values: dict[str, Any] = field(repr=False)
    schema: dict[str, Any] | None = field(repr=False)
    files: Mapping[str, str] = field(repr=False)
    parts: Parts = field(default_factory=Parts, repr=False)


_NOTES = re.compile(
    r"^(docs/)?(change|upgrad|migrat|release|breaking|history|news|readme)[^/]*\.(md|txt|rst|ya?ml)$", re.I
)
_PART = re.compile(
    r"^(charts/[^/_.][^/]*/)*((Chart|values|requirements)\.yaml|values\.schema\.json"
    r"|templates/.+\.(ya?ml|tpl|txt|json)|crds/.+\.(ya?ml|json)|charts/[^/_.][^/]*\.tgz)$"
)
_PACKED = re.compile(r"^(?P<within>(charts/[^/]+/)*charts/)[^/]+\.tgz$")


def wanted(path: str) -> bool:
    """Whether a file at this path in a chart is read: what Helm reads of it and of its subcharts, and its changelogs."""
    return bool(_PART.match(path) or _NOTES.match(path))


def read_archive(path: Path, *, limits: Limits | None = None) -> ChartContents:
    """Read a ``.tgz``. Blocking. Raises `Permanent` for whatever is refused."""
    limits = limits or Limits()
    if path.stat().st_size > limits.packed:
        raise Permanent(f"The chart {path.name} is larger than {limits.packed // MIB} MiB.")
    try:
        with gzip.open(path) as packed:
            files, _ = _unfolded(packed, limits, path.name)
        return contents(expanded(files, limits, path.name), path.name, limits)
    except (tarfile.TarError, zlib.error, EOFError, OSError, UnicodeError) as error:
        raise Permanent(f"The chart {path.name} is not a readable archive: {error}.") from error


def expanded(files: Mapping[str, bytes], limits: Limits, name: str) -> dict[str, bytes]:
    """The files with every packed subchart unfolded beside the others (``charts/db/Chart.yaml``), in place of its archive."""
    left = replace(limits)
    for _ in range(DEEPEST):
        packed = {path: match["within"] for path in files if (match := _PACKED.match(path))}
        if not packed:
            return dict(files)
        found = {path: content for path, content in files.items() if path not in packed}
        for path, folder in sorted(packed.items()):
            inner, size = _subchart(files[path], left, f"{path} of {name}")
            left = replace(left, unpacked=left.unpacked - size, entries=left.entries - len(inner))
            # Where the same subchart lies there unpacked as well, its files come first.
            found = {f"{folder}{file}": content for file, content in inner.items()} | found
        files = found
    raise Permanent(f"The subcharts of {name} are packed more than {DEEPEST} deep.")


def _subchart(content: bytes, limits: Limits, name: str) -> tuple[dict[str, bytes], int]:
    """The files of a packed subchart, under its folder's name, and the bytes of all of it."""
    try:
        with gzip.open(io.BytesIO(content)) as packed:
            return _unfolded(packed, limits, name, top=True)
    except (tarfile.TarError, zlib.error, EOFError, OSError, UnicodeError) as error:
        raise Permanent(f"The subchart {name} is not a readable archive: {error}.") from error


def _unfolded(packed: gzip.GzipFile, limits: Limits, name: str, *, top: bool = False) -> tuple[dict[str, bytes], int]:
    """What is wanted of a packed chart, and the size of all of it.

    Unpacked under our own limit first: tarfile reads header blocks of any size.
    """
    most = limits.unpacked + limits.entries * 1024
    with tempfile.TemporaryFile() as tar:
        while block := packed.read(MIB):
            if tar.tell() > most:
                raise Permanent(f"The chart {name} unpacks to more than {most // MIB} MiB.")
            tar.write(block)
        size = tar.tell()
        tar.seek(0)
        with tarfile.open(fileobj=tar, mode="r:") as archive:
            return _files(archive, limits, name, top=top), size


def contents(files: Mapping[str, bytes], name: str, limits: Limits | None = None) -> ChartContents:
    """A chart from its files, packed subcharts unfolded. Raises `Permanent` when it has no Chart.yaml, or one that says too
    little.
    """
    if "Chart.yaml" not in files:
        raise Permanent(f"{name} has no Chart.yaml: it is not a chart.")
    metadata = load_mapping(files["Chart.yaml"], what=f"Chart.yaml of {name}", unique_keys=True)
    if not all(isinstance(metadata.get(key), str) and metadata[key] for key in ("name", "version")):
        raise Permanent(f"Chart.yaml of {name} lacks its name or version.")
    values = load_mapping(files.get("values.yaml", b""), what=f"values.yaml of {name}")
    notes = {path: text.decode(errors="replace") for path, text in files.items() if _NOTES.match(path)}
    parts = taken_apart(
        files,
        metadata,
        load=lambda text, what: load_mapping(text, what=f"{what} of {name}"),
        schema=lambda text, what: _schema(text, f"{what} of {name}"),
        largest=(limits or Limits()).texts,
    )
    return ChartContents(
        metadata, values, _schema(files.get("values.schema.json"), f"values.schema.json of {name}"), notes, parts
    )


def _schema(text: bytes | None, name: str) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Permanent(f"{name} is not JSON: {error}.") from error
    return schema if isinstance(schema, dict) else None


def _files(archive: tarfile.TarFile, limits: Limits, name: str, *, top: bool) -> dict[str, bytes]:
    """The files that are wanted by their path in the chart, with ``top`` under the chart's own folder."""
    files: dict[str, bytes] = {}
    seen: set[str] = set()
    tops: set[str] = set()
    total = 0
    for number, member in enumerate(archive, start=1):
        path = _checked(member, name)
        total += member.size
        if number > limits.entries or total > limits.unpacked:
            raise Permanent(f"The chart {name} unpacks to too much: {number} files, {total // MIB} MiB so far.")
        if member.isdir():
            continue
        if str(path) in seen:
            raise Permanent(f"The chart {name} has two files of the name `{path}`.")
        seen.add(str(path))
        tops.add(path.parts[0])
        if len(tops) > 1:
            raise Permanent(f"The chart {name} holds more than one chart.")
        inner = "/".join(path.parts[1:])
        if wanted(inner):
            files[str(path) if top else inner] = _content(archive, member, limits, name)
    return files


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, limits: Limits, name: str) -> bytes:
    if member.size > limits.one_file:
        raise Permanent(f"`{member.name}` in the chart {name} is larger than {limits.one_file // MIB} MiB.")
    file = archive.extractfile(member)
    return file.read() if file else b""


def _checked(member: tarfile.TarInfo, name: str) -> PurePosixPath:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or not path.parts:
        raise Permanent(f"The chart {name} holds a file outside of itself: {member.name!r}. It is not used.")
    if not member.isreg() and not member.isdir():
        raise Permanent(f"The chart {name} holds a link or a device: {member.name!r}. It is not used.")
    return path
