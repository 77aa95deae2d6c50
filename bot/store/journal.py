"""The journal: every write of a run, each one a guarded transaction with its audit row and its card's renewal.

People's writes are in ``bot.store.people``, the carrier's in ``bot.store.carrier``, what both are made of in
``bot.store.writing``. Reading is in ``bot.store.reading``.
"""

from __future__ import annotations

from bot.store import reading
from bot.store.carrier import Carrier
from bot.store.people import People
from bot.store.records import PastStep, RunRecord
from bot.store.writing import Carries, Claim, NewRun, Stale, TargetHeld

__all__ = ["Carries", "Claim", "Journal", "NewRun", "Stale", "TargetHeld"]


class Journal(People, Carrier):
    """All writes. ``changed`` is called after each commit with the run's id, to wake whoever carries or posts."""

    async def past(self, target: str, *uses: str) -> list[PastStep]:
        """What runs of ``target`` did before: the steps of these kinds, newest first."""
        return await reading.past_steps(self._database, target, uses)

    async def holders(self, target: str) -> list[RunRecord]:
        """The mutating runs that hold ``target``, an emergency before a change."""
        return await reading.holders(self._database, target)
