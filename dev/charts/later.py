"""Chart versions that come out while a story goes on; ``later.yaml`` holds the facts.

``publish`` puts one into a repository that is being served. Until then nobody can see it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dev.charts.package import Package
from dev.charts.repository import ChartRepository
from dev.charts.versions import ChartVersion, load_versions

DATABASES_TO_CHOOSE: Final = "0.3.1"
"""Must be told whether the databases stay; one of the two answers deletes them."""
LAST_WITH_DATABASES: Final = "0.5.0"
NO_DATABASES: Final = "0.6.0"
"""Brings no databases any more and has to be told where they are; a release with bundled ones loses them."""
_TABLE: Final = Path(__file__).with_name("later.yaml")


def later_versions() -> dict[str, ChartVersion]:
    """Every version of the table, by version."""
    return load_versions(_TABLE)


def publish(repository: ChartRepository, version: str) -> Package:
    """Serves ``version`` from now on. Raises ``KeyError`` for one that is not in the table."""
    entry = later_versions()[version]
    assert entry.base is not None, "a later version follows an earlier one"
    return repository.add(
        version,
        base=entry.base,
        edits=entry.edits,
        delete=entry.delete,
        changes=entry.changes,
        created=entry.created,
    )
