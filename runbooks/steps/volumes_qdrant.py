"""A Qdrant collection back to one of its own snapshots, by Qdrant's API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import BaseModel

from bot.engine.contract import Facts, Outcome, Reconciled, Repeat, StepContext, Unknown
from bot.errors import Evidence, Permanent
from bot.services.qdrant import Snapshot
from runbooks.steps.common import Params
from runbooks.vectors import node_at


class QdrantRecover:
    """Restores what the plan's ``recovery`` names. ``qdrant.snapshot`` goes before it, so that it can be undone.

    Qdrant does not tell whether a restore was done, and doing it again throws away what was written since: so only a person
    decides that.
    """

    name: ClassVar[str] = "qdrant.recover"
    title: ClassVar[str] = "Restore Qdrant's snapshot"
    repeat: ClassVar[Repeat] = Repeat.NEVER
    timeout: ClassVar[timedelta] = timedelta(hours=1)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = False
    params: ClassVar[type[BaseModel]] = Params

    async def intend(self, context: StepContext, params: Params) -> Facts:
        """Which snapshot, and how many points there are before."""
        planned: Mapping[str, Any] = context.plan["recovery"]
        collection, node = str(planned["claim"]), str(planned["node"])
        async with node_at(context.clients, context.target, node) as qdrant:
            points = await qdrant.points(collection)
        return {"collection": collection, "node": node, "made": planned["made"], "points": points}

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """Raises ``Permanent`` when the snapshot is not as it was planned; nothing is changed then."""
        collection, node, made = str(intent["collection"]), str(intent["node"]), Snapshot(**intent["made"])
        async with node_at(
            context.clients, context.target, node, seconds=context.timeout.total_seconds() * 0.9
        ) as qdrant:
            try:
                await qdrant.verify(made)
            except Permanent as error:
                error.way_out = "Nothing was changed. `recover volumes` shows the snapshots that there are."
                raise
            context.progress(f"{collection}: restoring {made.name}")
            await qdrant.recover(made, port=context.target.vector_store.port)
            points = await qdrant.points(collection)
        before = [
            str(one["name"])
            for one in (context.outcomes.get("snapshot") or {}).get("snapshots") or ()
            if (one["collection"], one["node"]) == (collection, node)
        ]
        said = f"{collection} on {node} has the data of {made.name}: {points} points, {intent['points']} before."
        back = f"/aeterna recover volumes {collection} {before[0]}" if before else "There is no snapshot of before."
        text = f"The way back, planned and approved as this was:\n\n{back}"
        undo = [
            {
                "runbook": "recover-volumes",
                "inputs": {"claim": collection, "from": name},
                "label": "Go back to what it was",
            }
            for name in before[:1]
        ]
        facts = {"collection": collection, "points": points, "undo": undo}
        return Outcome(said, facts, evidence=(Evidence("The way back", text),))

    async def reconcile(self, context: StepContext, params: Params, intent: Facts) -> Reconciled:
        """Nothing tells."""
        return Unknown(
            f"Qdrant was being asked to restore {intent['collection']} when I was interrupted, and it does not tell whether it "
            "did. Look at the collection; Retry restores it again, and what was written since goes with that."
        )
