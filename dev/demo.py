"""``make demo``: an upgrade with approval and proof, a plan that saves a database, a night in an incident channel. Real parts.

Without a terminal it plays the story itself, prints what was said in Slack, and exits 0 only if every scene came out as
told. On a terminal it then leaves everything running and says where to click.
"""

from __future__ import annotations

import asyncio
import sys
import time

from dev import prepare, scenes
from dev.botprocess import BotProcess
from dev.incident import incident
from dev.release import HelmFailed
from dev.stage import CHANNEL, INCIDENT, Stage, StoryFailed, say
from dev.world import World, ended_by_signal


async def play(world: World) -> None:
    """Every scene, in the story's order. Raises ``StoryFailed``."""
    stage = Stage(world)
    await scenes.upgrade(stage)
    await scenes.void_approval(stage, await scenes.databases_kept(stage))
    await incident(Stage(world, INCIDENT))


async def demo(*, stay: bool) -> int:
    """Plays the story; with ``stay`` leaves everything running afterwards."""
    ended, began = ended_by_signal(), time.monotonic()
    say("• Starting a Kubernetes control plane, a Slack workspace and a chart repository …")
    async with (
        World.running() as world,
        BotProcess.running(environment=world.environment(), directory=world.directory) as bot,
    ):
        code = 0
        try:
            await world.slack.connected(timeout=60)
            await play(world)
            say(f"\n• Every scene came out as told, in {time.monotonic() - began:.0f} s.")
        except (StoryFailed, TimeoutError, LookupError, HelmFailed) as error:
            code = 1
            said = "\n\n".join(f"──── #{name} ────\n{world.slack.transcript(name)}" for name in (CHANNEL, INCIDENT))
            say(f"✗ {error}\n\n{said}")
            say(f"\n──── the bot's log ────\n{bot.said()[-6000:]}")
        if stay and code == 0:
            say(f"\nEverything is still running. Open {world.slack.url} and type /aeterna help in #{CHANNEL}.")
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
