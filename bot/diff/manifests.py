"""What of a manifest an approval is bound to: everything but what a chart draws anew at each rendering."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from bot.diff.drawn import Drawn
from bot.diff.fields import without
from bot.diff.objects import plain
from bot.kube.objects import ref_of

Json = dict[str, Any]
_GENERATED = re.compile(r"(^|/)checksum/")


def steady(objects: Iterable[Json], drawn: Drawn | None, *, namespace: str = "") -> list[Json]:
    """What the objects say, in an order of its own, without what is ``drawn`` and without checksums over other objects.

    Where nobody knows what is drawn (None), the data of all Secrets is left out.
    """
    return sorted(
        (_steady(obj, drawn, namespace) for obj in objects),
        key=lambda obj: json.dumps(obj, sort_keys=True, default=str),
    )


def _steady(obj: Json, drawn: Drawn | None, namespace: str) -> Any:
    shown = plain(obj)
    if drawn is None and obj.get("kind") == "Secret":
        shown = without(shown, [("data",)])
    paths = (drawn or {}).get(ref_of(obj, namespace), frozenset())
    return _unsummed(without(shown, sorted(paths, key=repr)))


def _unsummed(obj: Any) -> Any:
    if isinstance(obj, Mapping):
        return {key: _unsummed(value) for key, value in obj.items() if not _GENERATED.search(str(key))}
    return [_unsummed(part) for part in obj] if isinstance(obj, list) else obj
