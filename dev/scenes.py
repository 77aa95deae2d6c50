"""The demo's scenes. Each asks for something in Slack, says what came of it, and fails when it is not what was told."""

from __future__ import annotations

import asyncio
import json
import urllib.request

from dev.charts import later
from dev.controlplane import Api
from dev.slack import Message
from dev.stage import Stage, StoryFailed, say
from dev.world import INSTALLED, NAMESPACE, World

ASKED = "0.2.1"
NEWER = later.DATABASES_TO_CHOOSE
_CHOICE = "databases"
_DATABASE = f"/apis/postgresql.cnpg.io/v1/namespaces/{NAMESPACE}/clusters/aeterna-cnpg"


async def upgrade(stage: Stage) -> None:
    """Alice asks, Bob approves, everybody sees the release become healthy."""
    say(f"\n═══ 1. One upgrade, from the question to the proof. The release aeterna is at {INSTALLED}.")
    await stage.types("alice", f"upgrade {ASKED}")
    card = await stage.card("Ready for approval", what="a plan that waits for approval")
    say("• Alice cannot approve her own request; Bob presses Approve.")
    await stage.presses("alice", card, "Approve")
    await stage.refused("alice", "somebody else has to approve it")
    await stage.presses("bob", card, "Approve")
    final = await stage.done(card)
    stage.quote(stage.text(final))
    await _proven(stage.world, final, version=ASKED)


async def databases_kept(stage: Stage) -> Message:
    """A version that breaks things, asks for a value, and with one of the answers deletes the databases."""
    say(f"\n═══ 2. {NEWER} comes out. It breaks things, and wants to know something that nobody has told it.")
    lost = await loss(stage)
    say(
        "• With that answer the database would be deleted. Carol presses Override; being on call is not enough for that."
    )
    await stage.presses("carol", lost, "Override")
    await stage.refused("carol", "override")
    say("• Alice does not look for somebody who may. She asks again and gives the other answer.")
    await stage.types("alice", f"upgrade {NEWER}")
    again = await stage.sees(lambda m: m.ts > lost.ts and "Supply values" in m.buttons, "the new plan")
    await stage.chooses("alice", again, "Supply values", "bundled")
    kept = await stage.card(
        "Ready for approval", f"`{_CHOICE}` = `bundled`", ts=again.ts, what="the plan without a loss"
    )
    plan = json.loads(await stage.file(kept, "plan.json", '"verdict": "ready"'))
    if plan["facts"]["loses"] or plan["facts"]["objects_removed"]:
        raise StoryFailed(f"The plan still deletes something: {plan['facts']}")
    say("• Nothing would be lost. The files in the card's thread have every line; this is values.diff:")
    stage.quote(await stage.file(kept, "values.diff", f"+{_CHOICE}: bundled"))
    return kept


async def loss(stage: Stage) -> Message:
    """The card of a plan that stops before the database is deleted."""
    later.publish(stage.world.charts, NEWER)
    await stage.types("alice", f"upgrade {NEWER}")
    first = await stage.card("Cannot go ahead", _CHOICE, "💥", what="a plan that misses a value")
    await stage.chooses("alice", first, "Supply values", "external")
    return await stage.card("Cannot go ahead", "Cluster/aeterna-cnpg would be deleted", ts=first.ts, what="the loss")


async def void_approval(stage: Stage, card: Message) -> None:
    """Somebody changes the release between plan and approval; the approval counts no more."""
    say("\n═══ 3. Somebody changes the release behind the plan's back.")
    before = await _uid(stage.world)
    while ticks := [label for label in (await _now(stage, card)).buttons if label.startswith("Done: ")]:
        say(f"• Alice does what has to be done by hand, and says so: {ticks[0].removeprefix('Done: ')}")
        await stage.presses("alice", card, ticks[0])
        await stage.sees(lambda m: m.ts == card.ts and ticks[0] not in m.buttons, "the tick")
    say("• Meanwhile Carol, on her laptop: helm upgrade … --reuse-values --set aeterna.logging.level=debug")
    await stage.by_hand(
        "upgrade", "aeterna", "aeterna", f"--repo={stage.world.charts.url}", f"--version={ASKED}", "--reuse-values",
        "--set=aeterna.logging.level=debug", "--wait", "--timeout=120s",
    )  # fmt: skip
    say("• Bob, who knows nothing of it, presses Approve.")
    await stage.presses("bob", card, "Approve")
    await stage.card("approval is void", "release revision", "Ready for approval", ts=card.ts, what="a void approval")
    say("• Nothing was done: what Bob approved is not what would have run. He reads the new plan and presses Approve.")
    await stage.presses("bob", card, "Approve")
    final = await stage.done(card)
    stage.quote(stage.text(final))
    await _proven(stage.world, final, version=NEWER)
    if await _uid(stage.world) != before:
        raise StoryFailed("The database is not the one that was there before.")
    say("• The database is the one that was there before.")


async def _now(stage: Stage, card: Message) -> Message:
    return await stage.sees(lambda m: m.ts == card.ts, "the card", 5)


async def _proven(world: World, final: Message, *, version: str) -> None:
    """What Helm and the server itself say, seen past the bot."""
    status = await world.status()
    healthy = await asyncio.to_thread(_healthy, world, version)
    if status["status"] != "deployed" or status["chart"] != f"aeterna-{version}" or not healthy:
        raise StoryFailed(f"The release ended as {status}; its server is {'' if healthy else 'not '}ready.")
    if not any(label.startswith("Roll back to") for label in final.buttons):
        raise StoryFailed(f"The card has no way back: {final.buttons}")
    say(f"• Helm says {status['chart']} is {status['status']}, revision {status['revision']}; the server is ready.")


def _healthy(world: World, version: str) -> bool:
    assert world.cluster.standins is not None
    base = f"http://127.0.0.1:{world.cluster.standins['8080']}"

    def get(path: str) -> dict[str, object]:
        request = urllib.request.Request(base + path, headers={"X-Standin-Namespace": NAMESPACE})
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, object] = json.load(answer)
            return found

    return get("/ready")["status"] == "ready" and get("/health")["version"] == version


async def _uid(world: World) -> str:
    api = Api(world.cluster.kubeconfig)
    return str((await asyncio.to_thread(api.get, _DATABASE))["metadata"]["uid"])
