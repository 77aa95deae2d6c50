"""The template sources of a chart that has been pulled, its unpacked subcharts' included, as text by path in the chart.

The archive was judged when it was pulled (``bot.helm.archive``); here it is only read again, within a bound of its own.
A subchart that is itself packed is left out.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from bot.errors import Permanent

Read: TypeAlias = Callable[[], bytes]
LARGEST: Final = 8 * 1024 * 1024
"""Bytes of all templates together; what comes after them is left out."""
_TEMPLATE = re.compile(r"^(charts/[^/]+/)*templates/.+\.(ya?ml|tpl|txt|json)$")


def template_sources(chart: Path) -> dict[str, str]:
    """``templates/x.yaml`` to its text. Blocking. Raises ``Permanent`` when the chart cannot be read."""
    found: dict[str, str] = {}
    left = LARGEST
    try:
        for path, size, content in _directory(chart) if chart.is_dir() else _archive(chart):
            left -= size
            if left < 0:
                break
            found[path] = content().decode(errors="replace")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Permanent(f"The templates of the chart {chart.name} cannot be read: {error}.") from error
    return found


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


def _archive(chart: Path) -> Iterator[tuple[str, int, Read]]:
    with tarfile.open(chart, "r:gz") as archive:
        for member in archive:
            inner = member.name.partition("/")[2]
            if member.isreg() and _TEMPLATE.match(inner):
                yield inner, member.size, partial(_member, archive, member)


def _directory(chart: Path) -> Iterator[tuple[str, int, Read]]:
    for path in sorted(chart.rglob("*")):
        inner = path.relative_to(chart).as_posix()
        if path.is_file() and not path.is_symlink() and _TEMPLATE.match(inner):
            yield inner, path.stat().st_size, path.read_bytes
