"""A value that the new chart misses: said by the plan, supplied in a dialog, and what Helm gets in the end."""

from __future__ import annotations

import json

from dev.charts import BadVersion
from tests.journeys.conftest import Start


async def test_a_missing_value_is_supplied_in_a_dialog_and_reaches_helm(start: Start) -> None:
    world = await start()
    await world.ask(f"upgrade {BadVersion.SCHEMA_REFUSES}")
    blocked = await world.card("⛔ *Cannot go ahead*", "aeterna.tenantSlug")
    await world.press(blocked, "Supply values")
    await world.slack.wait_until(lambda workspace: "tenantSlug" in json.dumps(workspace.modal), timeout=30)
    values = {"value-0": {"value": {"type": "plain_text_input", "value": "acme"}}}
    await world.slack.submit_view("alice", values)
    ready = await world.card("Ready for approval", "acme", ts=blocked.ts)
    await world.approve(ready)
    await world.card("✅ *Done*", ts=blocked.ts)
    supplied = json.loads(await world.helm("get", "values", "aeterna", "--output=json"))
    assert supplied["aeterna"]["tenantSlug"] == "acme"
