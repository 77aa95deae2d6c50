"""Going back on a bad day: from the history by a button, past what cannot be gone back to, and out of a stuck release."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import os
from collections.abc import AsyncIterator
from typing import Any

from dev.charts import light_values
from dev.release import RELEASE
from tests.journeys.conftest import Start
from tests.journeys.journey import ALICE, JOB, Journey, waits_for_image

REMOVED = "\n---\napiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: old}\n"
HELD = {**light_values(), "migration": {"enabled": True, "image": {"tag": "held-nopull"}}}


async def rewrite(world: Journey, number: int, *, added: str = "", **info: str) -> None:
    """Another manifest, or another state, in a revision's record."""
    path = f"/api/v1/namespaces/{world.namespace}/secrets/sh.helm.release.v1.{RELEASE}.v{number}"
    secret = await asyncio.to_thread(world.api.get, path)
    stored = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))
    stored["manifest"] += added
    stored["info"] |= info
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(stored).encode()))).decode()
    patch: dict[str, Any] = {"data": {"release": packed}}
    if "status" in info:
        patch["metadata"] = {"labels": {"status": info["status"]}}
    await asyncio.to_thread(world.api.call, "PATCH", path, patch, "application/merge-patch+json")


@contextlib.asynccontextmanager
async def somebodys_upgrade(world: Journey, version: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A helm of somebody else that waits in its hook, whose image cannot be pulled. It is killed at the end."""
    values = world.directory / "held.json"
    values.write_text(json.dumps(HELD), encoding="utf-8")
    home = world.directory / "somebody"
    home.mkdir()
    process = await asyncio.create_subprocess_exec(
        str(world.helm_program),
        *("upgrade", RELEASE, RELEASE, f"--repo={world.charts.url}", f"--version={version}", f"--values={values}"),
        f"--namespace={world.namespace}",
        env={"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": str(world.kubeconfig)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await world.pod(lambda pod: JOB in pod["metadata"].get("labels", {}) and waits_for_image(pod))
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_history_shows_who_why_and_what_was_healthy_and_one_button_goes_back(start: Start) -> None:
    world = await start()
    upgraded = await world.under_way("upgrade 0.2.1")
    await world.card("✅ *Done*", ts=upgraded.ts)
    run = world.run_id(upgraded)
    await world.ask("history")
    history = await world.card(
        "2 revisions of aeterna; a rollback goes to 1 (0.2.0, seen healthy).",
        "`2` 0.2.1 · runs now · ✅ healthy",
        f"upgrade to 0.2.1 · <@{ALICE}> · <!date^",
        f"UTC> · `{run}`",
        "`1` 0.2.0 · superseded · ✅ healthy",
    )
    assert history.buttons == ["Roll back to 1 (0.2.0)"]
    await world.press(history, "Roll back to 1 (0.2.0)", user="mallory")
    await world.private("U0MALLORY", "rollback")
    await world.press(history, "Roll back to 1 (0.2.0)")
    card = await world.card("Roll back prod · 0.2.1 → 0.2.0", "*Ready for approval*")
    plan = await world.file(card, "plan.json")
    assert "was healthy on" in plan
    assert "Images that go back: Deployment/aeterna aeterna: ghcr.io/kikokikok/aeterna:0.2.1" in plan
    assert "Deployment/aeterna" in await world.file(card, "manifests.diff")
    await world.press(card, "Approve")
    await world.card("✅ *Done*", "1 of 1 server ready at 0.2.0", "left behind", ts=card.ts)
    assert await world.statuses() == ["0.2.0 superseded", "0.2.1 superseded", "0.2.0 deployed"]


async def test_a_way_back_that_is_closed_is_told_before_anybody_approves(start: Start) -> None:
    world = await start(version="0.1.0")
    await world.install("0.2.0", light_values(), wait=False)
    await world.install("0.2.1", light_values())
    await rewrite(world, 1, added=REMOVED)
    await rewrite(world, 2, status="failed", description='Upgrade "aeterna" failed: boom')
    await world.ask("rollback 1")
    closed = await world.card(
        "⛔ *Cannot go ahead*", "Kubernetes removed PodDisruptionBudget of policy/v1beta1 in 1.25"
    )
    assert closed.buttons == ["Plan again"]
    await world.ask("rollback 2")
    failed = await world.card("⛔ *Cannot go ahead*", "Revision 2 (0.2.0) was never deployed whole: it is failed.")
    assert failed.buttons == ["Override…", "Plan again"]
    assert len(await world.revisions()) == 3


async def test_a_release_that_a_killed_helm_left_pending_is_explained_and_freed(start: Start) -> None:
    world = await start()
    await world.slack.command("carol", "ops", "unlock")
    await world.card("Unlock prod", "Revision 1 is deployed: the release is not stuck, there is nothing to unlock.")
    async with somebodys_upgrade(world, "0.2.1") as helm:
        await world.slack.command("carol", "ops", "unlock")
        await world.card("⛔ *Cannot go ahead*", "A helm on this host", "is still at work on it")
        helm.kill()
        await helm.wait()
    assert await world.statuses() == ["0.2.0 deployed", "0.2.1 pending-upgrade"]
    await world.slack.command("carol", "ops", "unlock")
    card = await world.card(
        "Unlock prod · 0.2.1 → 0.2.0",
        "Ready for approval",
        "Revision 2 (0.2.1) has been pending-upgrade for",
        "Not by me: it carries no mark of mine",
        "Its hook Job/aeterna-migration",
        "`helm rollback` to 1 (0.2.0), the last that was deployed, ends it.",
    )
    await world.press(card, "Approve", user="carol")
    await world.card("✅ *Done*", "Back at revision 1 (0.2.0), which is now revision 3.", ts=card.ts)
    assert await world.statuses() == ["0.2.0 superseded", "0.2.1 pending-upgrade", "0.2.0 deployed"]
