"""The demo's last scene: a night in an incident channel, from the alarm to a healthy release, by one person with a phone."""

from __future__ import annotations

import asyncio
import re

from dev.controlplane import Api
from dev.stage import Stage, StoryFailed, say
from dev.world import NAMESPACE

_WORKLOADS = ("deployments", "statefulsets")


async def incident(stage: Stage) -> None:
    """Alarm, scale-down in one confirmation, rollback by a button, restore, proof."""
    before = await _replicas(stage)
    say(f"\n═══ 4. Ten past three. The pager calls Carol into #{stage.channel}: the server of prod answers 503.")
    await stage.world.standins.switch(NAMESPACE, not_ready=True)
    await stage.types("carol", "status --target prod")
    await stage.card("Status of prod", "not ready", what="a status that says what is wrong")
    say("• It eats its database. Carol takes the load off first.")
    await stage.types("carol", "emergency scale-down --target prod")
    await stage.confirms("carol")
    down = await stage.card("Scale down prod", "✅ *Done*", what="everything at its minimum")
    small = await _replicas(stage)
    if not sum(small.values()) < sum(before.values()):
        raise StoryFailed(f"Nothing went down: {before} became {small}.")
    say("• Now back to the version from before the evening.")
    await stage.types("carol", "history --target prod")
    history = await stage.card("History of prod", "Roll back to", what="the revisions and their buttons")
    way = next(label for label in history.buttons if label.startswith("Roll back to"))
    await stage.presses("carol", history, way)
    back = await stage.card("Roll back prod", "Ready to be confirmed", what="the rollback's plan")
    await stage.presses("carol", back, "Approve")
    await stage.world.standins.switch(NAMESPACE, not_ready=False)  # the fault was the newer version's
    await stage.card("✅ *Done*", "Look what was left behind", ts=back.ts, what="the release as it was before")
    await stage.presses("carol", down, "Restore…")
    await stage.confirms("carol")
    await stage.card("Restore prod", "✅ *Done*", what="everything back")
    await stage.types("carol", "verify --target prod")
    await stage.card("Verify prod", "✅ *Healthy", what="the proof")
    after = await _replicas(stage)
    if after != before:
        raise StoryFailed(f"It did not come back to what it was: {before} became {after}.")
    status = await stage.world.status()
    wanted = re.search(r"\(([^)]+)\)", way)
    if wanted is None or status["chart"] != f"aeterna-{wanted[1]}" or status["status"] != "deployed":
        raise StoryFailed(f"The release ended as {status}, not as {way!r} says.")
    say(
        f"• Helm says {status['chart']} is {status['status']}, revision {status['revision']}; every workload is what it was."
    )


async def _replicas(stage: Stage) -> dict[str, int]:
    """Pods that each workload of the release is meant to have, as the cluster has it."""
    api = Api(stage.world.cluster.kubeconfig)
    found = {}
    for kind in _WORKLOADS:
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/{kind}"
        for item in (await asyncio.to_thread(api.get, path))["items"]:
            found[f"{kind}/{item['metadata']['name']}"] = int(item["spec"]["replicas"])
    return found
