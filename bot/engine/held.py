"""What is said to somebody whose run cannot start because another one holds the target, and what to press. Pure."""

from __future__ import annotations

from bot.engine.contract import as_typed
from bot.engine.offers import RECOVERIES, recoveries
from bot.store.journal import TargetHeld
from bot.store.records import RunRecord, RunState


def held_by(holder: RunRecord, *, wanted: str) -> TargetHeld:
    """Which run holds the target, since when, and how to come past it to the runbook ``wanted``."""
    since = f"<!date^{int(holder.updated_at.timestamp())}^{{time}}|{holder.updated_at:%H:%M} UTC>"
    return TargetHeld(
        f"{holder.target} is held by run {holder.id} ({as_typed(holder.runbook)}, {said(holder.state)} since {since}, "
        f"asked by <@{holder.requested_by}>).",
        holder=holder.id,
        way_out=f"{_way_past(holder, wanted)} Its card is in <#{holder.channel}>.",
    )


def said(state: RunState) -> str:
    """The state in words."""
    return state.value.replace("_", " ")


def _way_past(holder: RunRecord, wanted: str) -> str:
    if holder.state is not RunState.NEEDS_ATTENTION:
        return "Wait for it, or cancel it."
    stop = f"`Stop here` on its card, or `stop {holder.id}`"
    if wanted in recoveries(holder):
        return f"It waits for a decision. Press `{RECOVERIES[wanted]}` on its card, which ends it and asks for this."
    return f"It waits for a decision. End it first ({stop}), then ask again."
