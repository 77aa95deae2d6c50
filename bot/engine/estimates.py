"""How long a run will keep people waiting: its longest step, by what earlier runs on the same target took, else by its limit.

Only what the journal has; nothing here is guessed from the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

from bot.engine.contract import Step
from bot.store.records import PastStep, StepState

RUNS = 5
"""Of so many earlier runs the slowest counts: a promise that is kept is worth more than a mean."""
_TELLING = (StepState.DONE, StepState.WARNING)  # a failed one says nothing of how long a good one takes


def longest_step(
    steps: Sequence[Step], past: Sequence[PastStep], timeouts: Mapping[str, timedelta]
) -> dict[str, Any] | None:
    """``title``, ``seconds``, and ``runs``: how many earlier runs that is from; 0 when it is only the step's limit.

    ``past`` is newest first, as the journal gives it. None without steps.
    """
    estimates = [_estimate(step, past, timeouts) for step in steps]
    return max(estimates, key=lambda one: float(one["seconds"]), default=None)


def _estimate(step: Step, past: Sequence[PastStep], timeouts: Mapping[str, timedelta]) -> dict[str, Any]:
    took = list(islice((took for one in past if (took := _took(one, step)) is not None), RUNS))
    limit = timeouts.get(step.kind.name, step.timeout)
    seconds = max(took, default=limit).total_seconds()
    return {"title": step.title, "seconds": round(seconds, 1), "runs": len(took)}


def _took(one: PastStep, step: Step) -> timedelta | None:
    """The duration of an earlier step, if it is this one: the same kind under the same name."""
    record = one.step
    if (record.uses, record.id) != (step.kind.name, step.id) or record.state not in _TELLING:
        return None
    return record.ended_at - record.started_at if record.started_at and record.ended_at else None
