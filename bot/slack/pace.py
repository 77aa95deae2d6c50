"""How fast the poster may go: edits of one card, posts in one channel, and what a 429 said.

Counted from the end of a call: Slack counts arrivals, and a call has arrived before it ends.
"""

from __future__ import annotations

from bot.store.outbox import OutboxItem


class Pace:
    """Remembers when what was done; times are of the event loop's clock, in seconds."""

    def __init__(self, *, update_interval: float, post_interval: float) -> None:
        self._update_interval = update_interval
        self._post_interval = post_interval
        self._edits: dict[int, float] = {}  # by outbox id
        self._posts: dict[str, float] = {}  # by channel
        self._stops: dict[str, float] = {}  # by channel for posts, "" for edits

    def left(self, item: OutboxItem, now: float) -> float:
        """Seconds until the item may go; 0 when it may now."""
        if item.ts is None:
            ready = max(self._posts.get(item.channel, 0.0), self._stops.get(item.channel, 0.0))
        else:
            ready = max(self._edits.get(item.id, 0.0), self._stops.get("", 0.0))
        return max(0.0, ready - now)

    def posted(self, item: OutboxItem, now: float) -> None:
        self._posts[item.channel] = now + self._post_interval
        self._edits[item.id] = now + self._update_interval
        self._tidy(now)

    def edited(self, item: OutboxItem, now: float) -> None:
        self._edits[item.id] = now + self._update_interval
        self._tidy(now)

    def told(self, item: OutboxItem, now: float, seconds: float) -> None:
        """Slack said how long: posts are limited by channel, edits all together."""
        self._stops[item.channel if item.ts is None else ""] = now + seconds

    def _tidy(self, now: float) -> None:
        if len(self._edits) > 500:
            self._edits = {key: ready for key, ready in self._edits.items() if ready > now}
