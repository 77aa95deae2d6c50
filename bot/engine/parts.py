"""The parts of what an approval is bound to, so that a difference can be named: which value, which object.

A check that binds ``values`` puts ``values_parts`` into its facts: texts of a keyed mark and a name. Nothing of the part itself
can be read from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MOST = 300
"""With more parts none is kept: a difference is then only named by the binding."""
_NAMED = 3
_SUFFIX = "_parts"


def parts(binding: str, found: Sequence[tuple[str, Any]], mark: Callable[[str], str]) -> dict[str, list[str]]:
    """The fact for a binding, from each part's name and content. The mark stands first: redaction looks for ``key=value``."""
    few = found if len(found) <= MOST else ()
    told = [f"{mark(json.dumps(content, sort_keys=True, default=str))} {name}" for name, content in few]
    return {binding + _SUFFIX: sorted(told)}


def without_parts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that say something to a reader."""
    return {name: fact for name, fact in facts.items() if not name.endswith(_SUFFIX)}


def changed(binding: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The names of the parts that differ, ``a, b and 2 more``; empty when that is not known."""
    before, now = (facts.get(binding + _SUFFIX) or [] for facts in (old, new))
    if not before or not now:
        return ""
    names = sorted({str(part).partition(" ")[2] for part in set(before) ^ set(now)})
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
