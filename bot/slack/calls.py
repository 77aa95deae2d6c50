"""One Web API call, with its failure wrapped by what can be done about it.

``slack_sdk`` repeats nothing here: whether a call may be repeated is known only by whoever makes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError

from bot.errors import Permanent, Temporary

GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "duplicate_message_not_found"})
"""The message cannot be edited any more: only a new one helps."""
UNFIT = frozenset(
    {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long", "too_many_attachments"}
)
"""Slack does not take the blocks: a mistake in our renderer."""
_TOKEN = frozenset(
    {"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "missing_scope",
     "no_permission", "ekm_access_denied", "org_login_required", "team_access_not_granted"}
)  # fmt: skip
_PASSING = frozenset(
    {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org",
     "rate_limited", "ratelimited", "accesslimited"}
)  # fmt: skip


class SlackRefused(Permanent):
    """Slack understood the call and says no. ``code`` is Slack's error name, ``method`` the Web API method."""

    def __init__(self, method: str, code: str, *, details: str = "") -> None:
        more = f": {details}" if details else ""
        super().__init__(f"Slack refuses {method}: {code}{more}.", way_out=_WAY_OUT.get(code, ""))
        self.method = method
        self.code = code

    @property
    def token_is_bad(self) -> bool:
        """Whether every other call will fail alike until somebody repairs the installation."""
        return self.code in _TOKEN


_PRESS_AGAIN = "Slack opens a dialog only within three seconds of the click; press the button again."
_WAY_OUT = {
    "not_in_channel": "Invite the bot into the channel: /invite @aeterna.",
    "channel_not_found": "Check the channel's id; in a private channel the bot has to be a member.",
    "is_archived": "The channel is archived; name another one in the configuration.",
    "missing_scope": "Install the app anew with the scopes of docs/slack-app-manifest.yaml.",
    "invalid_auth": "Check SLACK_BOT_TOKEN.",
    "token_revoked": "Install the app anew and set SLACK_BOT_TOKEN.",
    "expired_trigger_id": _PRESS_AGAIN,
    "exchanged_trigger_id": _PRESS_AGAIN,
    "invalid_trigger_id": _PRESS_AGAIN,
}


async def call(method: str, answer: Awaitable[Any]) -> dict[str, Any]:
    """The answer's data.

    Raises ``Temporary`` (with ``retry_after`` when Slack named a time; the call may have taken effect all the same, when
    the answer was lost) and ``SlackRefused``.
    """
    try:
        response = await answer
    except SlackApiError as error:
        raise _refused(method, error) from error
    except (TimeoutError, asyncio.IncompleteReadError) as error:
        raise Temporary(f"Slack did not answer {method} in time.") from error
    except (aiohttp.ClientError, SlackClientError, OSError) as error:
        raise Temporary(f"Slack cannot be reached for {method}: {type(error).__name__}.") from error
    data = response.data
    return data if isinstance(data, dict) else {}


def _refused(method: str, error: SlackApiError) -> Temporary | SlackRefused:
    response = error.response
    status = getattr(response, "status_code", 200)
    data = response.data if isinstance(getattr(response, "data", None), dict) else {}
    code = str(data.get("error") or f"http_{status}")
    if status == 429 or code in ("ratelimited", "rate_limited"):
        return Temporary(f"Slack wants {method} slower.", retry_after=_seconds(response))
    if status >= 500 or code in _PASSING:
        return Temporary(f"Slack has trouble with {method}: {code}.")
    messages = (data.get("response_metadata") or {}).get("messages") or data.get("errors") or ()
    return SlackRefused(method, code, details="; ".join(str(message) for message in messages)[:500])


def _seconds(response: Any) -> float:
    try:
        return max(1.0, float(response.headers.get("Retry-After", 1)))
    except (TypeError, ValueError):
        return 1.0
