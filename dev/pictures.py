"""The pictures of the README: one upgrade in the throwaway world, its card taken in Chromium as a person sees it.

``python -m dev.pictures [FOLDER]``. Needs ``chromium`` on PATH besides what the world needs.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from dev.botprocess import BotProcess
from dev.scenes import ASKED, loss
from dev.stage import INCIDENT, Stage
from dev.world import World

_FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
_SIZE = ["--window-size=940,1600", "--force-device-scale-factor=1.5"]
_PHONE = 390
"""CSS pixels; the workspace's page has no layout for phones, so what stands beside the channel is taken away."""
_ALONE = """(() => {
  const style = document.createElement('style');
  style.textContent = '.sidebar, .topbar { display: none !important } .thread-pane { width: 100% !important }';
  document.head.append(style);
})()"""
_OPEN = """(() => {
  const found = [...document.querySelectorAll('.sidebar *')].find(e => e.innerText.replace(/[#\\s]/g, '') == NAME);
  found?.click();
  return Boolean(found);
})()"""
_BOX = """(() => {
  const found = [...document.querySelectorAll(SELECTOR)].filter(e => e.innerText.includes(TEXT)).at(-1);
  if (!found) return null;
  found.scrollIntoView({block: 'center'});
  const box = found.getBoundingClientRect();
  return {x: box.x, y: box.y - 4, width: box.width, height: box.height + 8, scale: 1};
})()"""


class Browser:
    """One page in a headless Chromium, driven by its DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    @classmethod
    @contextlib.asynccontextmanager
    async def showing(cls, url: str, channel: str = "ops") -> AsyncIterator[Browser]:
        """The workspace's page with a channel open."""
        if (program := shutil.which("chromium")) is None:
            raise SystemExit("There is no chromium on PATH.")
        with tempfile.TemporaryDirectory(prefix="aeterna-chromium-", ignore_cleanup_errors=True) as profile:
            arguments = (*_FLAGS, *_SIZE, f"--user-data-dir={profile}", url)
            process = await asyncio.create_subprocess_exec(program, *arguments, stderr=asyncio.subprocess.PIPE)
            try:
                async with aiohttp.ClientSession() as session, asyncio.timeout(600):
                    socket = await session.ws_connect(await _address(process, session, url), max_msg_size=0)
                    browser = cls(socket)
                    await browser.open(channel)
                    yield browser
            finally:
                process.kill()
                await process.wait()

    async def ask(self, method: str, **params: Any) -> Any:
        """The result of one command of the protocol."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while (answer := await self._socket.receive_json()).get("id") != number:
            pass
        return answer["result"]

    async def until(self, script: str) -> Any:
        """What a script on the page gives, as soon as that is something; the page tells nobody when it has drawn."""
        async with asyncio.timeout(20):
            while True:
                answer = await self.ask("Runtime.evaluate", expression=script, returnByValue=True)
                if found := answer["result"].get("value"):
                    return found
                await asyncio.sleep(0.2)

    async def open(self, channel: str) -> None:
        """Turns to another channel."""
        await self.until(_OPEN.replace("NAME", json.dumps(channel)))

    async def hold_a_phone(self) -> None:
        """From now on the page is as wide as a phone."""
        screen = {"width": _PHONE, "height": 2600, "deviceScaleFactor": 1.5, "mobile": True}
        await self.ask("Emulation.setDeviceMetricsOverride", **screen)
        await self.ask("Runtime.evaluate", expression=_ALONE)

    async def take(self, file: Path, *, text: str, selector: str = ".msg") -> None:
        """A picture of the newest message that has ``text`` in it, as soon as it is drawn."""
        box = await self.until(_BOX.replace("SELECTOR", json.dumps(selector)).replace("TEXT", json.dumps(text)))
        taken = await self.ask("Page.captureScreenshot", format="png", clip=box)
        await asyncio.to_thread(file.write_bytes, base64.b64decode(taken["data"]))


async def _address(process: asyncio.subprocess.Process, session: aiohttp.ClientSession, url: str) -> str:
    """Where the page's DevTools listen; Chromium says its port on stderr."""
    assert process.stderr
    while b"DevTools listening on ws://" not in (line := await process.stderr.readline()):
        pass
    base = line.decode().partition("ws://")[2].partition("/")[0]
    while True:
        async with session.get(f"http://{base}/json/list") as answer:
            for page in await answer.json():
                if page["url"].startswith(url):
                    return str(page["webSocketDebuggerUrl"])
        await asyncio.sleep(0.1)


async def take(folder: Path) -> None:
    """A plan with breaking changes, the proven release; on a phone a plan that would delete the database, and an emergency."""
    async with (
        World.running() as world,
        BotProcess.running(environment=world.environment(), directory=world.directory),
        Browser.showing(world.slack.url) as browser,
    ):
        await world.slack.connected(timeout=60)
        stage = Stage(world)
        await stage.types("alice", "upgrade 0.3.0")
        await stage.card("Ready for approval", "💥", what="a plan with breaking changes")
        await browser.take(folder / "card-plan.png", text="Ready for approval")
        await stage.types("alice", f"upgrade {ASKED}")
        card = await stage.card("Ready for approval", f"→ {ASKED}", what="the plan")
        await stage.presses("bob", card, "Approve")
        await stage.done(card)
        await browser.take(folder / "card-healthy.png", text="Healthy: ")
        await browser.hold_a_phone()
        await loss(stage)
        await browser.take(folder / "card-blocked-phone.png", text="would be deleted")
        await browser.open(INCIDENT)
        night = Stage(world, INCIDENT)
        await night.types("carol", "emergency scale-down --target prod")
        await night.confirms("carol")
        await night.card("Scale down prod", "✅ *Done*", what="everything at its minimum")
        await browser.until("!document.querySelector('.modal')")
        await browser.take(folder / "card-incident-phone.png", text="Taken down")


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")))
