"""A value that the new chart misses: said by the plan, supplied in a dialog, and what Helm gets in the end."""

from __future__ import annotations

import json

from dev.charts import BadVersion, Edit
from tests.journeys.conftest import Start
from tests.journeys.journey import Journey


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


NEEDS = (
    "{{- if not .Values.audit.existingSecret }}\n"
    '{{- $_ := required "audit.password is required" .Values.audit.password }}\n{{- end }}\n'
)
START = "{{- if .Values.aeterna.enabled }}\n"


def _publish(world: Journey, version: str, audit: str, template: str) -> None:
    edits = [
        Edit("values.yaml", "llm:\n", f"audit: {audit}\n\nllm:\n"),
        Edit("templates/aeterna/service.yaml", START, template + START),
    ]
    world.charts.add(version, base="0.2.1", edits=edits)


async def test_a_missing_secret_is_supplied_by_the_name_of_a_secret_where_the_chart_takes_one(start: Start) -> None:
    world = await start()
    _publish(world, "0.2.71", '{password: "", existingSecret: "", passwordKey: ""}', NEEDS)
    await world.ask("upgrade 0.2.71")
    blocked = await world.card("⛔ *Cannot go ahead*", "audit.password is required")
    await world.press(blocked, "Supply values")
    await world.slack.wait_until(lambda workspace: "audit.existingSecret" in json.dumps(workspace.modal), timeout=30)

    def line(text: str) -> dict[str, dict[str, str]]:
        return {"value": {"type": "plain_text_input", "value": text}}

    await world.slack.submit_view("alice", {"value-0": line("audit-credentials"), "value-0-key": line("pin")})
    ready = await world.card("Ready for approval", "`audit.existingSecret` = `audit-credentials`", ts=blocked.ts)
    await world.approve(ready)
    await world.card("✅ *Done*", ts=blocked.ts)
    supplied = json.loads(await world.helm("get", "values", "aeterna", "--output=json"))
    assert supplied["audit"] == {"existingSecret": "audit-credentials", "passwordKey": "pin"}


async def test_a_secret_that_the_chart_takes_only_in_plain_is_not_asked_for_and_the_way_out_is_said(
    start: Start,
) -> None:
    world = await start()
    _publish(world, "0.2.72", '{password: ""}', NEEDS.replace(".existingSecret", ".never"))
    await world.ask("upgrade 0.2.72")
    blocked = await world.card(
        "⛔ *Cannot go ahead*", "audit.password is required", "takes no Secret's name in its place"
    )
    assert blocked.buttons == ["Plan again"]
