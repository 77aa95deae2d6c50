"""Offers of the engine as buttons of a card, and back. Only an opaque id goes into a button."""

from __future__ import annotations

from bot.engine.offers import OfferKind, offers
from bot.slack.render import Button
from bot.store.records import RunRecord

_PREFIX = "run_"


def buttons(run: RunRecord) -> tuple[Button, ...]:
    """What the card's buttons are now."""
    return tuple(
        Button(offer.label, _PREFIX + offer.kind.value, offer.value, style=offer.style, confirm=offer.confirm)
        for offer in offers(run)
    )


def kind(action_id: str) -> OfferKind | None:
    """What a button does; None for one that an older version made."""
    name = action_id.removeprefix(_PREFIX)
    return OfferKind(name) if action_id.startswith(_PREFIX) and name in set(OfferKind) else None
