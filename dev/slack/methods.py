"""The Web API methods that the workspace knows: which token, which scope, which rate.

Tiers and scopes are those of Slack's method pages. A method that is not here answers ``unknown_method``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dev.slack.model import Json, Limits

TIER_2, TIER_3, TIER_4 = 20, 50, 100


@dataclass(frozen=True)
class Method:
    """What a method asks for. ``per_minute`` is its tier (None: not limited here)."""

    scope: str | None = None
    per_minute: int | None = None
    token: Literal["bot", "app", "any"] = "bot"


METHODS = {
    "api.test": Method(token="any"),
    "apps.connections.open": Method(token="app"),
    "auth.test": Method(),
    "bots.info": Method("users:read", TIER_3),
    "chat.delete": Method("chat:write", TIER_3),
    "chat.getPermalink": Method(),
    "chat.meMessage": Method("chat:write", TIER_3),
    "chat.postEphemeral": Method("chat:write", TIER_4),
    "chat.postMessage": Method("chat:write"),  # one a second a channel, see Rates
    "chat.update": Method("chat:write", TIER_3),
    "conversations.create": Method("channels:manage", TIER_2),
    "conversations.history": Method("channels:history", TIER_3),
    "conversations.info": Method("channels:read", TIER_3),
    "conversations.list": Method("channels:read", TIER_2),
    "conversations.members": Method("channels:read", TIER_4),
    "conversations.open": Method("im:write", TIER_3),
    "conversations.replies": Method("channels:history", TIER_3),
    "emoji.list": Method("emoji:read", TIER_2),
    "files.completeUploadExternal": Method("files:write", TIER_4),
    "files.delete": Method("files:write", TIER_3),
    "files.getUploadURLExternal": Method("files:write", TIER_4),
    "files.info": Method("files:read", TIER_4),
    "files.list": Method("files:read", TIER_3),
    "reactions.add": Method("reactions:write", TIER_3),
    "reactions.remove": Method("reactions:write", TIER_2),
    "team.info": Method("team:read", TIER_3),
    "usergroups.list": Method("usergroups:read", TIER_2),
    "usergroups.users.list": Method("usergroups:read", TIER_2),
    "users.conversations": Method("channels:read", TIER_3),
    "users.info": Method("users:read", TIER_4),
    "users.list": Method("users:read", TIER_2),
    "users.lookupByEmail": Method("users:read.email", TIER_3),
    "views.open": Method(None, TIER_4),
    "views.publish": Method(None, TIER_4),
    "views.push": Method(None, TIER_4),
    "views.update": Method(None, TIER_4),
}


class Bucket:
    """A token bucket: ``burst`` calls at once, then one every ``every`` seconds."""

    def __init__(self, *, every: float, burst: int, now: float) -> None:
        self._every = every
        self._burst = burst
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float) -> float:
        """Takes one call: 0.0 if it may go ahead, else the seconds until one may."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) / self._every)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) * self._every
        self._tokens -= 1
        return 0.0


class Rates:
    """Slack's rate limits: posts a channel, everything else a method."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def retry_after(self, method: str, args: Json, limits: Limits, now: float) -> int | None:
        """Whole seconds to wait as in Slack's Retry-After header, or None when the call may go ahead."""
        if method == "chat.postMessage":
            key = (method, str(args.get("channel")))
            every, burst = limits.post_every, limits.post_burst
        elif per_minute := METHODS[method].per_minute:
            key = (method, "")
            every, burst = 60 / per_minute, limits.tier_burst
        else:
            return None
        bucket = self._buckets.setdefault(key, Bucket(every=every, burst=burst, now=now))
        wait = bucket.take(now)
        return max(1, math.ceil(wait)) if wait else None
