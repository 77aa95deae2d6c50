"""What a chart renders to, taken apart: objects, hooks, notes."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from bot.helm.models import Hook, Json, Release, Rendered
from bot.helm.yamldocs import load_all

HOOK = "helm.sh/hook"
HOOK_WEIGHT = "helm.sh/hook-weight"
_SOURCE = re.compile(r"^# Source: (?P<path>\S+)$", re.M)


def from_template(text: str) -> Rendered:
    """From what ``helm template`` prints, where hooks stand after the manifest."""
    plain, hooks = [], []
    for part in documents(text):
        objects = [d for d in load_all(part, what="the rendered chart") if isinstance(d, dict)]
        if objects and HOOK in _annotations(objects[0]):
            hooks.append(_hook(objects[0], part))
        elif part.strip():
            plain.append(part.strip("\n"))
    manifest = "".join(f"---\n{part}\n" for part in plain)
    return Rendered(manifest, parse_objects(manifest), tuple(hooks))


def from_release(release: Release) -> Rendered:
    """From the release that a dry run prints."""
    return Rendered(release.manifest, parse_objects(release.manifest), release.hooks, release.notes)


def parse_objects(manifest: str) -> tuple[Json, ...]:
    """The objects in a manifest, the items of a ``List`` each for itself. Raises `Permanent` when it is not
    YAML.
    """
    objects: list[Json] = []
    for document in load_all(manifest, what="the rendered manifest"):
        if isinstance(document, dict) and document:
            items = document.get("items") if str(document.get("kind", "")).endswith("List") else None
            objects.extend([i for i in items if isinstance(i, dict)] if isinstance(items, list) else [document])
    return tuple(objects)


def objects_from(rendered: Rendered, templates: Collection[str]) -> tuple[Json, ...]:
    """Objects and hooks that come from these templates, by their paths in the chart (``templates/x.yaml``)."""
    wanted: list[Json] = []
    for part in documents(rendered.manifest):
        source = _SOURCE.search(part)
        if source and source["path"].partition("/")[2] in templates:
            wanted += parse_objects(part)
    for hook in rendered.hooks:
        if hook.path.partition("/")[2] in templates:
            wanted += parse_objects(hook.manifest)
    return tuple(wanted)


def documents(text: str) -> list[str]:
    """A manifest's documents, as text."""
    return re.split(r"^---[ \t]*$", text, flags=re.M)


def _annotations(document: Json) -> dict[str, Any]:
    metadata = document.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return annotations if isinstance(annotations, dict) else {}


def _hook(document: Json, part: str) -> Hook:
    annotations = _annotations(document)
    weight = str(annotations.get(HOOK_WEIGHT, "0"))
    source = _SOURCE.search(part)
    return Hook(
        name=str((document.get("metadata") or {}).get("name", "")),
        kind=str(document.get("kind", "")),
        events=tuple(event.strip() for event in str(annotations[HOOK]).split(",")),
        weight=int(weight) if re.fullmatch(r"[-+]?\d+", weight) else 0,
        path=source["path"] if source else "",
        manifest=part.strip("\n"),
    )
