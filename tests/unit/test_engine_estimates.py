"""The longest step of a plan: what earlier runs took, and the limit where there were none."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from bot.engine.contract import Step
from bot.engine.estimates import RUNS, longest_step
from bot.store.records import PastStep, StepRecord, StepState

START = datetime(2026, 1, 2, 10, tzinfo=UTC)


@dataclass
class Kind:
    name: str


@dataclass
class Planned:
    id: str
    title: str
    timeout: timedelta
    kind: Kind = field(default_factory=lambda: Kind("helm.upgrade"))


def steps(*found: Planned) -> list[Step]:
    return cast(list[Step], list(found))


def past(step: str, seconds: float | None, state: StepState = StepState.DONE, uses: str = "helm.upgrade") -> PastStep:
    ended = None if seconds is None else START + timedelta(seconds=seconds)
    record = StepRecord(1, step, uses, step, state, started_at=START, ended_at=ended)
    return PastStep("r-1", "upgrade", "U0ALICE", record)


BACKUP = Planned("backup", "Back up PostgreSQL", timedelta(hours=2), Kind("postgres.backup"))
UPGRADE = Planned("upgrade", "Upgrade with Helm", timedelta(minutes=15))


def told(*before: PastStep, limits: dict[str, timedelta] | None = None) -> dict[str, Any] | None:
    return longest_step(steps(BACKUP, UPGRADE), before, limits or {})


def test_a_step_that_was_never_done_here_counts_with_its_limit() -> None:
    assert told() == {"title": "Back up PostgreSQL", "seconds": 7200.0, "runs": 0}
    shorter = {"postgres.backup": timedelta(seconds=60)}
    assert told(limits=shorter) == {"title": "Upgrade with Helm", "seconds": 900.0, "runs": 0}


def test_the_slowest_of_the_last_runs_counts_and_not_the_limit() -> None:
    before = [past("backup", 30, uses="postgres.backup"), past("upgrade", 95), past("upgrade", 100)]
    assert told(*before) == {"title": "Upgrade with Helm", "seconds": 100.0, "runs": 2}
    long_ago = [past("upgrade", 5)] * RUNS + [past("upgrade", 900)]
    assert told(before[0], *long_ago) == {"title": "Back up PostgreSQL", "seconds": 30.0, "runs": 1}


def test_what_failed_goes_on_or_is_another_step_says_nothing() -> None:
    before = [past("upgrade", 4, StepState.FAILED), past("upgrade", None, StepState.RUNNING), past("again", 4)]
    assert told(past("backup", 3, uses="postgres.backup"), *before) == {
        "title": "Upgrade with Helm",
        "seconds": 900.0,
        "runs": 0,
    }
    assert longest_step([], before, {}) is None
