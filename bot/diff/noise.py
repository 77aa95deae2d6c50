"""What differs between two manifests of a chart without anybody having meant it, folded into a sentence each.

Nothing is dropped: every folded path is kept and counted. That it restarts pods all the same is told of the object.
"""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.diff.fields import Steps, written

_VERSION_LABELS = frozenset({"helm.sh/chart", "app.kubernetes.io/version", "chart"})
_CHECKSUM = re.compile(r"(^|[/.-])(checksum|sha256|sha1|hash|rollme)([/.-]|$)", re.IGNORECASE)


class Noise(enum.StrEnum):
    """Why a difference is folded."""

    CHECKSUM = "checksum"
    LABELS = "labels"
    GENERATED = "generated"
    ORDER = "order"
    SPELLING = "spelling"
    AUTOSCALED = "autoscaled"
    RESTARTED = "restarted"
    INJECTED = "injected"


_WORDS = {
    Noise.CHECKSUM: "checksums of other objects",
    Noise.LABELS: "labels that name the chart and its version",
    Noise.ORDER: "the order of lists, where it means nothing",
    Noise.SPELLING: "another spelling of the same",
    Noise.AUTOSCALED: "replicas that belong to the autoscaler",
    Noise.RESTARTED: "marks of a restart by hand",
    Noise.INJECTED: "certificates put in by a controller",
}


@dataclass(frozen=True)
class Folded:
    """One difference that is not shown by itself; ``restarts`` when it stands in a pod template and so restarts pods."""

    steps: Steps
    why: Noise
    restarts: bool = False

    @property
    def path(self) -> str:
        return written(self.steps)


def judged(steps: Steps) -> Noise | None:
    """Whether a difference there is noise by its place alone."""
    if len(steps) < 2 or not isinstance(steps[-1], str):
        return Noise.INJECTED if steps and steps[-1] == "caBundle" else None
    if steps[-2] == "labels" and steps[-1] in _VERSION_LABELS:
        return Noise.LABELS
    if steps[-2] == "annotations" and _CHECKSUM.search(steps[-1]):
        return Noise.CHECKSUM
    if steps[-2] == "annotations" and steps[-1] == "kubectl.kubernetes.io/restartedAt":
        return Noise.RESTARTED
    return None


def sentences(folded: Iterable[tuple[str, Sequence[Folded]]]) -> list[str]:
    """What is folded over several objects, each given by its name: what the chart draws anew, then the rest in one line."""
    fields: Counter[Noise] = Counter()
    objects: dict[Noise, set[str]] = {}
    for name, found in folded:
        for one in found:
            fields[one.why] += 1
            objects.setdefault(one.why, set()).add(name)
    said = []
    if drawn := fields.pop(Noise.GENERATED, 0):
        where = _counted(len(objects[Noise.GENERATED]), "object")
        said.append(f"Generated anew at every rendering: {_counted(drawn, 'value')} of {where}.")
    parts = [
        f"{_WORDS[why]} ({fields[why]} in {_counted(len(objects[why]), 'object')})" for why in Noise if why in fields
    ]
    if parts:
        said.append(f"{_counted(fields.total(), 'difference')} folded: {'; '.join(parts)}.")
    return said


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
