"""kwok's configuration: the Stages of dev/kwok with this plane's paths filled in, and the logs that pods will show."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

SOURCES = Path(__file__).resolve().parent.parent / "kwok"
STAGES = ("nodes", "pods", "finite-pods", "volumes", "snapshots", "cloudnative-pg", "debugging")

# Which image tags mean what; the files in dev/kwok say what happens then.
TAGS = {
    "@PULL_TAGS@": ":[^/]*(no-such-image|nopull)",
    "@UNREADY_TAGS@": ":[^/]*(never-ready|crash)",
    "@FAILING_TAGS@": ":[^/]*(hook-fails|test-fails|crash)",
}


def write_configuration(directory: Path) -> Path:
    """Write kwok's configuration and the logs into DIRECTORY; returns the configuration file."""
    logs = directory / "logs"
    logs.mkdir(exist_ok=True)
    for source in (SOURCES / "logs").glob("*.log"):
        (logs / source.name).write_text(in_cri_format(source.read_text()))
    text = "---\n".join((SOURCES / f"{name}.yaml").read_text() for name in STAGES)
    for placeholder, value in (TAGS | {"@LOGS@": str(logs)}).items():
        text = text.replace(placeholder, value)
    path = directory / "kwok.yaml"
    path.write_text(text)
    return path


def in_cri_format(text: str) -> str:
    """The lines of TEXT as a container runtime keeps them: time, stream, `F` for a full line."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000000000Z")
    return "".join(f"{now} stdout F {line}\n" for line in text.splitlines())


def definitions() -> list[dict[str, Any]]:
    """The CustomResourceDefinitions that the cluster has from the start (CloudNativePG's, the snapshots' and two of kwok's)."""
    return [yaml.load(path.read_text(), _loader()) for path in sorted((SOURCES / "crds").glob("*.yaml"))]


def first_objects() -> list[dict[str, Any]]:
    """Nodes and storage class."""
    return list(yaml.load_all((SOURCES / "cluster.yaml").read_text(), _loader()))


def _loader() -> Any:
    """PyYAML's safe loader in C where it was built with it: ten times faster on the Cluster definition."""
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
