"""The digest of a manifest: what an approval is bound to, steady over everything that a chart draws anew."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bot.diff import values

Json = dict[str, Any]
_GENERATED = re.compile(r"(^|/)checksum/")


def digest(objects: Iterable[Json]) -> str:
    """A digest of what the objects say, whatever their order.

    The data of Secrets and the checksums over them are left out: charts draw random ones anew at each rendering.
    """
    return values.digest(sorted((_steady(obj) for obj in objects), key=lambda obj: values.digest(obj)))


def _steady(obj: Any) -> Any:
    if isinstance(obj, Mapping):
        hidden = {"data", "stringData"} if obj.get("kind") == "Secret" else set()
        return {k: _steady(v) for k, v in obj.items() if k not in hidden and not _GENERATED.search(str(k))}
    return [_steady(part) for part in obj] if isinstance(obj, list) else obj
