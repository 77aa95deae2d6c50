"""The other bot: Bolt's AsyncApp with one command in Socket Mode, in the form in which Bolt acknowledges soonest.

A process of its own, started like ours: ``python -m tests.bench.bare``. Without ``process_before_response`` Bolt looks
only every 10 ms whether the listener has acknowledged, so that every ack would take at least that long.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient


async def main() -> None:
    """Serves ``/aeterna`` until it is ended."""
    base = os.environ["SLACK_API_URL"]
    client = AsyncWebClient(token=os.environ["SLACK_BOT_TOKEN"], base_url=base)
    app = AsyncApp(client=client, process_before_response=True)

    @app.command("/aeterna")
    async def repeat_text(ack: Any, command: dict[str, Any]) -> None:
        await ack(f"{command['text']}")

    app_token = os.environ["SLACK_APP_TOKEN"]
    handler = AsyncSocketModeHandler(app, app_token, web_client=AsyncWebClient(token=app_token, base_url=base))
    await handler.start_async()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    asyncio.run(main())
