"""Two manifests: which objects come, change and go, as lines that a person can read.

Of a Secret only the names of its keys are ever shown, and whether a value changed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from bot.diff import values

Json = dict[str, Any]
Key = tuple[str, str, str, str]
_VERSION_LABELS = frozenset({"helm.sh/chart", "app.kubernetes.io/version", "chart"})
_GENERATED = re.compile(r"(^|/)checksum/")


@dataclass(frozen=True)
class ManifestDiff:
    """``Kind/name`` of what differs, and the whole difference as text. Values of other objects than Secrets stand in it.

    ``relabelled`` differ in nothing but the labels that name chart and version.
    """

    created: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    relabelled: tuple[str, ...]
    text: str = field(repr=False)


def compare(old: Iterable[Json], new: Iterable[Json], *, namespace: str) -> ManifestDiff:
    """What differs between the objects of two manifests of one release in ``namespace``."""
    before = {_key(obj, namespace): obj for obj in old}
    after = {_key(obj, namespace): obj for obj in new}
    created: list[str] = []
    changed: list[str] = []
    removed: list[str] = []
    relabelled: list[str] = []
    pieces: list[str] = []
    for key in sorted(before.keys() | after.keys()):
        was, is_ = before.get(key), after.get(key)
        if was == is_:
            continue
        label = f"{key[1]}/{key[3]}"
        was, is_ = _unversioned(was), _unversioned(is_)
        if was == is_:
            relabelled.append(label)
            continue
        (created if was is None else removed if is_ is None else changed).append(label)
        pieces.append(_lines(label, *_masked(was, is_)))
    if relabelled:
        pieces.append(f"Only the version in their labels: {', '.join(relabelled)}")
    return ManifestDiff(tuple(created), tuple(changed), tuple(removed), tuple(relabelled), "\n".join(pieces))


def digest(objects: Iterable[Json]) -> str:
    """A digest of what the objects say, whatever their order.

    The data of Secrets and the checksums over them are left out: charts draw random ones anew at each rendering.
    """
    return values.digest(sorted((_steady(obj) for obj in objects), key=lambda obj: values.digest(obj)))


def _key(obj: Json, namespace: str) -> Key:
    meta = obj.get("metadata") or {}
    group = str(obj.get("apiVersion", "")).rpartition("/")[0]
    return group, str(obj.get("kind", "")), str(meta.get("namespace") or namespace), str(meta.get("name", ""))


def _unversioned(obj: Json | None) -> Json | None:
    """Without the object's own labels of chart and version, which change with every version; those of pods stay."""
    if obj is None:
        return None
    meta = dict(obj.get("metadata") or {})
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key not in _VERSION_LABELS}
    return {**obj, "metadata": {**meta, "labels": labels}}


def _steady(obj: Any) -> Any:
    if isinstance(obj, Mapping):
        hidden = {"data", "stringData"} if obj.get("kind") == "Secret" else set()
        return {k: _steady(v) for k, v in obj.items() if k not in hidden and not _GENERATED.search(str(k))}
    return [_steady(part) for part in obj] if isinstance(obj, list) else obj


def _masked(old: Json | None, new: Json | None) -> tuple[Json | None, Json | None]:
    """Both with the values of a Secret replaced by words that differ only where the values do."""
    if "Secret" not in {(old or {}).get("kind"), (new or {}).get("kind")}:
        return old, new
    was, is_ = dict(old or {}), dict(new or {})
    for part in ("data", "stringData"):
        before, after = was.get(part) or {}, is_.get(part) or {}
        if part in was:
            was[part] = dict.fromkeys(before, "(hidden)")
        if part in is_:
            is_[part] = {
                key: "(hidden)" if before.get(key, value) == value else "(hidden, another value)"
                for key, value in after.items()
            }
    return (was if old is not None else None), (is_ if new is not None else None)


def _lines(label: str, old: Json | None, new: Json | None) -> str:
    was, is_ = _yaml(old), _yaml(new)
    return "\n".join(difflib.unified_diff(was, is_, f"{label} now", f"{label} then", lineterm="", n=2))


def _yaml(obj: Json | None) -> list[str]:
    return yaml.safe_dump(obj, sort_keys=True, width=200).splitlines() if obj is not None else []
