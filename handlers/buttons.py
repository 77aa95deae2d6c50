"""Offers of the engine as buttons of a card, and back. Only an opaque id goes into a button."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.engine.offers import OfferKind, offers
from bot.slack.markup import cut
from bot.slack.render import Button
from bot.store.records import RunRecord

_PREFIX = "run_"
TICKS = 10
_TICK = 45  # characters: a button is one line on a phone, and the whole item stands on the card
DIALOGS = (OfferKind.OVERRIDE, OfferKind.SUPPLY, OfferKind.CONFIRM, OfferKind.EMERGENCY)
"""What opens a dialog instead of doing something at once."""


def buttons(run: RunRecord) -> tuple[Button, ...]:
    """What the card's buttons are now. Of a long checklist only the next items have theirs."""
    made: list[Button] = []
    ticks = 0
    for number, offer in enumerate(offers(run), start=1):
        action = _PREFIX + offer.kind.value
        if offer.kind in (OfferKind.ASK, OfferKind.EMERGENCY, OfferKind.CHOOSE):
            action = f"{action}.{number}"
        if offer.kind is OfferKind.TICK:
            ticks += 1
            if ticks > TICKS:
                continue
            action = f"{action}.{ticks}"  # Slack wants each button of a row under a name of its own
        made.append(
            Button(
                cut(offer.label, _TICK) if offer.kind is OfferKind.TICK else offer.label,
                action,
                offer.value,
                style=offer.style,
                confirm=offer.confirm,
                apart=offer.kind in (OfferKind.TICK, OfferKind.CHOOSE),
            )
        )
    return tuple(made)


def kind(action_id: str) -> OfferKind | None:
    """What a button does; None for one that an older version made."""
    name = action_id.removeprefix(_PREFIX).partition(".")[0]
    return OfferKind(name) if action_id.startswith(_PREFIX) and name in set(OfferKind) else None


def urgent(body: Mapping[str, Any]) -> bool:
    """Whether it may not wait behind others: what opens a dialog, and the command of an emergency, which does so too."""
    return opens_dialog(body) or str(body.get("text") or "").lstrip().lower().startswith("emergency")


def opens_dialog(body: Mapping[str, Any]) -> bool:
    """Whether a click wants a dialog, which Slack opens only for three seconds."""
    actions = body.get("actions") or [{}]
    return kind(str(actions[0].get("action_id", ""))) in DIALOGS
