"""``make demo``: one whole upgrade with approval, health and the way back, on real parts.

Without a terminal it plays the story itself, prints what was said in Slack, and exits 0 only if the release really ended
healthy at the asked version. On a terminal it then leaves everything running and says where to click.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import urllib.request
from collections.abc import Callable

from dev import prepare
from dev.botprocess import BotProcess
from dev.release import HelmFailed
from dev.slack import DEFAULT_USERS, Message
from dev.world import INSTALLED, NAMESPACE, World, ended_by_signal

ASKED = "0.2.1"
_BAR = re.compile(r"[🟩🟦🟥⬜]+ +\d+ of \d+")
_UNDER_WAY = re.compile(r"🔄 \*(?!Running)(.+?)\*")
_ALICE = next(user.id for user in DEFAULT_USERS if user.name == "alice")


class StoryFailed(Exception):
    """The demo did not come to its good end; the text says where."""


def say(text: str) -> None:
    """A line of the narrator's."""
    print(text, flush=True)


async def play(world: World) -> None:
    """Alice asks, Bob approves, everybody sees the release become healthy. Raises ``StoryFailed``."""
    slack = world.slack
    say(f"• The release aeterna is at {INSTALLED}. Alice types: /aeterna upgrade {ASKED}")
    await slack.command("alice", "ops", f"upgrade {ASKED}")
    card = await _card(world, lambda message: "Approve" in message.buttons, "the plan with an Approve button", 60)
    say("• The plan is there. Alice cannot approve her own request; Bob presses Approve.")
    await slack.click("alice", "ops", card.ts, "run_approve")
    await _card(world, lambda message: message.ephemeral_to == _ALICE, "the refusal that only Alice sees", 30)
    await slack.click("bob", "ops", card.ts, "run_approve")
    told: list[str] = []
    await _card(world, lambda message: message.ts == card.ts and _ended(message, told), "the run's end", 240)
    status = await world.status()
    healthy = await asyncio.to_thread(_healthy, world)
    final = await _card(world, lambda message: message.ts == card.ts, "the card", 5)
    if status["status"] != "deployed" or status["chart"] != f"aeterna-{ASKED}" or not healthy:
        raise StoryFailed(f"The release ended as {status}; its server is {'' if healthy else 'not '}ready.")
    if not any(label.startswith("Roll back to") for label in final.buttons):
        raise StoryFailed(f"The card has no way back: {final.buttons}")
    say(f"• Helm says {status['chart']} is {status['status']}, revision {status['revision']}; the server is ready.")


async def _card(world: World, true: Callable[[Message], bool], what: str, patience: float) -> Message:
    try:
        return await world.slack.wait_for("ops", true, timeout=patience)
    except TimeoutError as error:
        raise StoryFailed(f"Waited {patience:.0f} s for {what} in vain.") from error


def _ended(message: Message, told: list[str]) -> bool:
    """A run that goes on has a Cancel button; one that has ended offers the way back, or another try.

    Each new state of the progress bar is told on the way, for a transcript shows only how the card looks in the end.
    """
    text = "\n".join(block.get("text", {}).get("text", "") for block in message.blocks if block["type"] == "section")
    bar, step = _BAR.search(text), _UNDER_WAY.search(text)
    line = f"  {bar[0]}{f' · {step[1]}' if step else ''}" if bar else ""
    if line and line not in told:
        told.append(line)
        say(line)
    return bool(message.buttons) and not {"Cancel", "Approve"} & set(message.buttons)


def _healthy(world: World) -> bool:
    """Whether the server itself says that it is ready and what was asked for, seen past the bot."""
    assert world.cluster.standins is not None
    base = f"http://127.0.0.1:{world.cluster.standins['8080']}"

    def get(path: str) -> dict[str, object]:
        request = urllib.request.Request(base + path, headers={"X-Standin-Namespace": NAMESPACE})
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, object] = json.load(answer)
            return found

    return get("/ready")["status"] == "ready" and get("/health")["version"] == ASKED


async def demo(*, stay: bool) -> int:
    """Plays the story; with ``stay`` leaves everything running afterwards."""
    ended = ended_by_signal()
    say("• Starting a Kubernetes control plane, a Slack workspace and a chart repository …")
    async with (
        World.running() as world,
        BotProcess.running(environment=world.environment(), directory=world.directory) as bot,
    ):
        code = 0
        try:
            await world.slack.connected(timeout=60)
            await play(world)
        except (StoryFailed, TimeoutError, LookupError, HelmFailed) as error:
            code = 1
            say(f"✗ {error}\n\nThe bot's log:\n{bot.said()[-6000:]}")
        say(f"\n──────── #ops, as everybody sees it ────────\n{world.slack.transcript('ops')}\n────────")
        if stay and code == 0:
            say(f"\nEverything is still running. Open {world.slack.url} and type /aeterna help in #ops.")
            say(
                "You are whoever you choose on that page: alice and bob release, carol is on call, mallory may do nothing."
            )
            say(f"export KUBECONFIG={world.cluster.kubeconfig}\nCtrl-C ends it.")
            await ended.wait()
    return code


def main() -> int:
    """Makes sure that every program is there, then plays."""
    if code := prepare.main():
        return code
    return asyncio.run(demo(stay=sys.stdin.isatty() and sys.stdout.isatty()))


if __name__ == "__main__":
    sys.exit(main())
