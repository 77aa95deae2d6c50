"""A small ``aeterna`` chart in many versions, good and bad, and the HTTP repository that serves them.

``versions.yaml`` says what each version changes; packaging is pure Python, so no Helm is needed to build it.
"""

from __future__ import annotations

from dev.charts.package import Package, build, build_all
from dev.charts.repository import ChartRepository
from dev.charts.versions import (
    CHART,
    GOOD_VERSIONS,
    LIGHT_VALUES_FILE,
    BadVersion,
    ChartVersion,
    Edit,
    light_values,
    load_versions,
)

__all__ = [
    "CHART",
    "GOOD_VERSIONS",
    "LIGHT_VALUES_FILE",
    "BadVersion",
    "ChartRepository",
    "ChartVersion",
    "Edit",
    "Package",
    "build",
    "build_all",
    "light_values",
    "load_versions",
]
