"""What the journal knows to be held, by the steps that were done."""

from __future__ import annotations

from typing import Any

from bot.kube.holding import Held
from bot.store.records import PastStep, StepRecord, StepState
from runbooks.components import HOLD, RESTORE, journaled, row_of, summed

NOTE = Held(replicas=3, to=0, run="r1", by="U1", at="2026-03-09T18:02:00", component="server")
SERVER, AGENT = "Deployment/aeterna", "Deployment/aeterna-cedar-agent"


def step(uses: str, state: StepState = StepState.DONE, *, intent: Any = None, **facts: Any) -> PastStep:
    outcome = {"summary": "", "facts": facts}
    return PastStep("r1", "emergency", "U1", StepRecord(1, "one", uses, uses, state, intent=intent, outcome=outcome))


def test_what_was_taken_down_is_held_until_it_is_restored() -> None:
    down = step(HOLD, held=[row_of(SERVER, NOTE), row_of(AGENT, NOTE)])
    assert journaled([down]) == {SERVER: NOTE, AGENT: NOTE}
    assert journaled([step(RESTORE, restored=[SERVER]), down]) == {AGENT: NOTE}
    assert set(journaled([down, step(RESTORE, restored=[SERVER]), down])) == {SERVER, AGENT}


def test_a_step_that_was_cut_off_counts_with_what_it_meant_to_do() -> None:
    intent = {"holds": [row_of(SERVER, NOTE)]}
    assert journaled([step(HOLD, StepState.RUNNING, intent=intent)]) == {SERVER: NOTE}
    assert journaled([step(HOLD, StepState.FAILED, intent=intent)]) == {SERVER: NOTE}
    assert journaled([step(HOLD, intent=intent, held=[])]) == {}, "its outcome says that nothing was taken down"


def test_the_first_number_stays_when_it_is_taken_down_further() -> None:
    later = Held(replicas=1, to=0, run="r2", by="U2", at="2026-03-09T19:00:00")
    assert journaled([step(HOLD, held=[row_of(SERVER, later)]), step(HOLD, held=[row_of(SERVER, NOTE)])]) == {
        SERVER: NOTE
    }


def test_many_workloads_are_counted() -> None:
    assert summed(["a 3 → 0", "b 1 → 0"], 4, 0) == "a 3 → 0, b 1 → 0"
    assert summed(["x"] * 40, 52, 0) == "40 workloads, 52 pods → 0"
