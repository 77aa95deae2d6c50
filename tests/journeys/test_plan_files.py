"""The files of a plan in the thread of its card: the whole plan for machines, and the two differences for people."""

from __future__ import annotations

import json

from tests.journeys.conftest import Start

TOP = {
    "version", "target", "runbook", "inputs", "supplied", "digest", "bindings", "verdict", "counts", "findings", "facts",
}  # fmt: skip
FINDING = {"check", "level", "code", "subject", "text", "way_out", "override"}
BOUND = {"cluster", "release revision", "chart digest", "values", "manifest", "apply mode", "data lost"}


async def test_a_plan_has_its_three_files_in_the_thread_and_says_the_same_twice(start: Start) -> None:
    world = await start()
    card = await world.planned("upgrade 0.3.0")
    text = await world.file(card, "plan.json")
    plan = json.loads(text)
    assert set(plan) >= TOP
    assert plan["version"] == 1
    assert (plan["target"], plan["runbook"], plan["inputs"]) == ("prod", "upgrade", {"version": "0.3.0"})
    assert plan["verdict"] == "ready"
    assert set(plan["bindings"]) >= BOUND
    assert all(set(one) >= FINDING for one in plan["findings"])
    levels = [one["level"] for one in plan["findings"]]
    assert levels == sorted(levels, key=["blocker", "warning", "info"].index)
    assert plan["counts"] == {level: levels.count(level) for level in ("blocker", "warning", "info")}
    assert text == json.dumps(plan, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "the order is stable"

    values = await world.file(card, "values.diff")
    assert "-    radkit: false" in values
    manifests = await world.file(card, "manifests.diff")
    assert "AETERNA_LOG_FORMAT" in manifests
    assert "ConfigMap" in manifests

    await world.ask(f"reject {world.run_id(card)} once more", user="bob")
    await world.card("🚫 *Rejected*", ts=card.ts)
    again = await world.planned("upgrade 0.3.0")
    assert again.ts != card.ts
    assert json.loads(await world.file(again, "plan.json"))["digest"] == plan["digest"]
