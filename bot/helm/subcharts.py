"""A chart's files taken apart: its own and its subcharts' templates and definitions, and where each subchart's values stand.

Pure functions over what ``bot.helm.archive`` has read; packed subcharts are unfolded there. Rules as in Helm 4.3.1
(``pkg/chart/loader``, ``pkg/chart/v2/util/dependencies.go``); ``import-values`` is left to Helm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]
Load = Callable[[bytes, str], Json]
Schema = Callable[[bytes | None, str], Json | None]

DEEPEST: Final = 8
"""Subcharts within subcharts."""
_SUBCHART = re.compile(r"^charts/(?P<folder>[^/_.][^/]*)/(?P<inner>.+)$")


@dataclass(frozen=True)
class Subchart:
    """One subchart as its parent uses it. ``keys`` is where its values stand in the top chart's (``("db",)``), by its alias
    where it has one. ``condition`` and ``tags`` are the parent's, which turn it off.
    """

    keys: tuple[str, ...]
    name: str
    version: str
    values: Json = field(repr=False)
    schema: Json | None = field(repr=False)
    condition: str = ""
    tags: tuple[str, ...] = ()
    library: bool = False
    """Whether it has no values of its own: its templates read those of the chart that includes them."""

    @property
    def path(self) -> str:
        """As Helm writes it: ``charts/db/charts/common``."""
        return "/".join(f"charts/{key}" for key in self.keys)


@dataclass(frozen=True)
class Parts:
    """``sources`` are the texts of templates and ``crds`` those of definitions, by path in the chart; those of a subchart
    under ``charts/KEY/``. ``left_out`` names what was beyond the limit.
    """

    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    crds: Mapping[str, str] = field(default_factory=dict, repr=False)
    subcharts: tuple[Subchart, ...] = ()
    left_out: tuple[str, ...] = ()


def taken_apart(files: Mapping[str, bytes], metadata: Json, *, load: Load, schema: Schema, largest: int) -> Parts:
    """The parts of a chart. ``load`` reads YAML, ``schema`` JSON; ``largest`` are bytes of all texts together."""
    found = list(_charts(files, metadata, (), load, schema))
    texts: dict[str, str] = {}
    left_out: list[str] = []
    room = largest
    for subchart, own in [(None, files), *found]:
        for inner in sorted(own):
            if inner.startswith(("templates/", "crds/")):
                path = f"{subchart.path}/{inner}" if subchart else inner
                room -= len(own[inner])
                if room < 0:
                    left_out.append(path)
                else:
                    texts[path] = own[inner].decode(errors="replace")
    return Parts(
        sources={path: text for path, text in texts.items() if not _definition(path)},
        crds={path: text for path, text in texts.items() if _definition(path)},
        subcharts=tuple(subchart for subchart, _ in found),
        left_out=tuple(left_out),
    )


def enabled(subcharts: Iterable[Subchart], values: Mapping[str, Any]) -> list[Subchart]:
    """Those that are rendered with these values (the chart's defaults included)."""
    found: list[Subchart] = []
    off: set[tuple[str, ...]] = set()
    for one in subcharts:  # a parent stands before its own subcharts
        if one.keys[:-1] in off or not _on(one, values):
            off.add(one.keys)
        else:
            found.append(one)
    return found


def within(path: str, subcharts: Iterable[Subchart]) -> bool:
    """Whether a path in the chart is the chart's own or in one of these subcharts."""
    keys = tuple(re.findall(r"charts/([^/]+)/", re.split(r"(?:^|/)(?:templates|crds)/", path)[0] + "/"))
    return not keys or any(one.keys == keys for one in subcharts)


def _charts(
    files: Mapping[str, bytes], metadata: Json, keys: tuple[str, ...], load: Load, schema: Schema
) -> Iterator[tuple[Subchart, Mapping[str, bytes]]]:
    if len(keys) == DEEPEST:
        return
    folders: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        if match := _SUBCHART.match(path):
            folders.setdefault(match["folder"], {})[match["inner"]] = content
    declared = _declared(files, metadata, load)
    for folder, own in sorted(folders.items()):
        if "Chart.yaml" not in own:
            continue  # Helm says so itself
        about = load(own["Chart.yaml"], f"{folder}/Chart.yaml")
        name = str(about.get("name") or folder)
        for entry in [one for one in declared if one.get("name") == name] or [{}]:
            tags = entry.get("tags")
            subchart = Subchart(
                keys=(*keys, str(entry.get("alias") or name)),
                name=name,
                version=str(about.get("version") or ""),
                values=load(own.get("values.yaml", b""), f"{folder}/values.yaml"),
                schema=schema(own.get("values.schema.json"), f"{folder}/values.schema.json"),
                condition=str(entry.get("condition") or ""),
                tags=tuple(map(str, tags)) if isinstance(tags, list) else (),
                library=about.get("type") == "library",
            )
            yield subchart, own
            yield from _charts(own, about, subchart.keys, load, schema)


def _declared(files: Mapping[str, bytes], metadata: Json, load: Load) -> list[Json]:
    """The dependencies of Chart.yaml, or of requirements.yaml in charts of the first API version."""
    found = metadata.get("dependencies")
    if found is None and "requirements.yaml" in files:
        found = load(files["requirements.yaml"], "requirements.yaml").get("dependencies")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _definition(path: str) -> bool:
    return bool(re.match(r"^(charts/[^/]+/)*crds/", path))


def _on(one: Subchart, values: Mapping[str, Any]) -> bool:
    """The first path of the condition that holds a boolean decides, else the tags: any that is on, or none that is off."""
    for path in filter(None, (part.strip() for part in one.condition.split(","))):
        found = _at(values, (*one.keys[:-1], *path.split(".")))
        if isinstance(found, bool):
            return found
    said = [found for tag in one.tags if isinstance(found := _at(values, ("tags", tag)), bool)]
    return any(said) or not said


def _at(values: Any, path: Sequence[str]) -> Any:
    for key in path:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values
