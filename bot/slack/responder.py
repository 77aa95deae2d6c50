"""Answers to the person who typed or pressed: ephemeral, by the command's ``response_url``.

It needs no scope and works where the bot is no member. Slack takes five answers in thirty minutes.
"""

from __future__ import annotations

import asyncio
import logging

import aiohttp

from bot.slack.render import SlackMessage

_log = logging.getLogger(__name__)
_WAITS = (0.3, 1.0, 3.0)


class Responder:
    """Posts to response URLs. Trying again may show an answer twice to one person, which harms nobody."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def answer(self, url: str, message: SlackMessage) -> bool:
        """Whether it got through; when it did not, the log says why."""
        body = {**message.payload(), "response_type": "ephemeral", "replace_original": False}
        problem = ""
        for wait in (*_WAITS, None):
            try:
                async with self._session.post(url, json=body) as answer:
                    if answer.status == 200:
                        return True
                    problem = f"HTTP {answer.status} {(await answer.text())[:200]}"
                    if answer.status < 500 and answer.status != 429:
                        break
                    wait = _told(answer.headers.get("Retry-After"), wait)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = type(error).__name__
            if wait is not None:
                await asyncio.sleep(wait)
        _log.error("an answer to a person was not delivered: %s", problem)
        return False


def _told(header: str | None, wait: float | None) -> float | None:
    return max(wait, float(header)) if wait is not None and header and header.isdigit() else wait
