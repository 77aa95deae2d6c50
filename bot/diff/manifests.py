"""What of a manifest an approval is bound to: everything but what a chart draws anew at each rendering."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

Json = dict[str, Any]
_GENERATED = re.compile(r"(^|/)checksum/")


def steady(objects: Iterable[Json]) -> list[Json]:
    """What the objects say, in an order of its own.

    The data of Secrets and the checksums over them are left out: charts draw random ones anew at each rendering.
    """
    return sorted((_steady(obj) for obj in objects), key=lambda obj: json.dumps(obj, sort_keys=True, default=str))


def _steady(obj: Any) -> Any:
    if isinstance(obj, Mapping):
        hidden = {"data", "stringData"} if obj.get("kind") == "Secret" else set()
        return {k: _steady(v) for k, v in obj.items() if k not in hidden and not _GENERATED.search(str(k))}
    return [_steady(part) for part in obj] if isinstance(obj, list) else obj
