"""The rows of a plan as what ``bot.kube.scale`` takes, in their order; and what taking down and bringing back have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bot.components import stages
from bot.engine.contract import StepContext
from bot.errors import Evidence, Permanent, Temporary
from bot.kube.holding import KINDS, Autoscaler, Workload
from bot.kube.objects import ObjectRef
from bot.kube.scale import Hold, Result, Return
from runbooks.components import held_of
from runbooks.text import counted, listed

Json = dict[str, Any]
_SUSPENDED_FIRST = ("Canary", "Rollout")
"""What would bring others back goes before them, and comes back after them."""


def in_stages(context: StepContext, rows: Iterable[Json]) -> list[list[Json]]:
    """The rows in the order in which they come back, those of one stage together."""
    named: dict[str, list[Json]] = {}
    for row in rows:
        named.setdefault(str(row["component"]), []).append(row)
    return [[row for name in stage for row in named[name]] for stage in stages(context.target.components, named)]


def in_order(rows: Sequence[Json]) -> list[list[Json]]:
    """The rows of one stage in the order in which they go down: first what would bring the others back."""
    parts: tuple[list[Json], list[Json]] = ([], [])
    for row in rows:
        parts[str(row["subject"]).partition("/")[0] not in _SUSPENDED_FIRST].append(row)
    return [part for part in parts if part]


def ref_of(subject: str, namespace: str) -> ObjectRef:
    """What ``Kind/name`` means."""
    kind, _, name = subject.partition("/")
    return KINDS[kind].ref(name, namespace)


def hold_of(row: Mapping[str, Any], namespace: str) -> Hold:
    """A row of the plan's ``holds``."""
    seen = Workload(
        ref=ref_of(str(row["subject"]), namespace),
        uid=str(row["uid"]),
        level=int(row["replicas"]),
        note=str(row.get("note", "")),
        version=str(row["version"]),
        annotated=bool(row.get("annotated", True)),
        counted=bool(row.get("counted", True)),
    )
    hpa = row.get("hpa")
    return Hold(seen, held_of({**row, "hpa": None}), Autoscaler(**hpa) if hpa else None)


def return_of(row: Mapping[str, Any], namespace: str) -> Return:
    """A row of the plan's ``returns``."""
    ref, written = ref_of(str(row["subject"]), namespace), str(row.get("written", ""))
    return Return(ref, str(row["uid"]), held_of(row), int(row["now"]), written)


def held_rows(context: StepContext) -> list[Json]:
    """What earlier steps of this run took down."""
    return [dict(row) for facts in context.outcomes.values() for row in facts.get("held") or ()]


class Counter:
    """Tells how many of all are done."""

    def __init__(self, context: StepContext, total: int, word: str) -> None:
        self._context, self._total, self._word = context, total, word
        self._done = 0

    def __call__(self, result: Result) -> None:
        self._done += 1
        self._context.progress(str(self))

    def __str__(self) -> str:
        return f"{self._done} of {self._total} {self._word}"


def demand_all(results: Sequence[Result], what: str) -> None:
    """Raises when something failed: ``Temporary`` only when nothing at all was reached."""
    failed = [result for result in results if result.state == "failed"]
    if not failed:
        return
    errors = [result.error for result in failed if result.error is not None]
    lines = [f"{result.subject}: {result.error}" for result in failed]
    if len(failed) == len(results) and all(isinstance(error, Temporary) for error in errors):
        raise Temporary(errors[0].message, way_out=errors[0].way_out)
    names = listed([result.subject for result in failed], most=5)
    way_out = next((error.way_out for error in errors if error.way_out), "")
    raise Permanent(
        f"{len(failed)} of {counted(len(results), 'workload')} {what} ({names}): {errors[0].message}",
        way_out=f"{way_out} Retry does only what is missing.".strip(),
        evidence=(Evidence("What failed", "\n".join(lines)),),
    )
