"""Plans of clusters that tell only half, or answer too late: what was not looked at is said, and nobody takes it for good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dev.controlplane import user_kubeconfig
from tests.cluster.kube_cut import Relay
from tests.journeys.conftest import Start
from tests.journeys.journey import ALICE, Journey
from tests.slack.support import everything

ALL = ["get", "list", "watch", "create", "update", "patch", "delete"]
NEEDED = (
    {"apiGroups": [""], "resources": ["secrets", "configmaps", "services", "serviceaccounts", "pods"], "verbs": ALL},
    {"apiGroups": [""], "resources": ["pods/log", "pods/portforward"], "verbs": ["get", "create"]},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ALL},
    {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["get", "list", "watch"]},
)
WRITES = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ALL}
READS = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch"]}


def somebody(world: Journey, directory: Path, *rules: dict[str, Any]) -> Path:
    """A kubeconfig of somebody who may do only this, in the release's namespace."""
    user = f"bot-of-{world.namespace}"
    meta = {"name": "bot", "namespace": world.namespace}
    group = "rbac.authorization.k8s.io"
    world.api.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": list(rules)})
    world.api.apply(
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "bot"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        }
    )
    return user_kubeconfig(world.kubeconfig, directory / "somebody", user=user, namespace=world.namespace)


async def test_rights_that_forbid_half_of_the_reads_make_an_incomplete_plan_that_asks_twice(
    start: Start, world: Journey, tmp_path: Path
) -> None:
    world.bot_kubeconfig = somebody(world, tmp_path, *NEEDED, WRITES)
    await start()
    card = await world.planned("upgrade 0.2.1")
    text = everything(card)
    assert "*Ready for approval*: " in text
    assert "*incomplete*, " in text
    assert "things could not be looked at" in text
    plan = json.loads(await world.file(card, "plan.json"))
    assert plan["verdict"] == "incomplete"
    unseen = [one for one in plan["findings"] if one["code"] == "unseen"]
    assert {one["level"] for one in unseen} <= {"warning", "info"}
    missing = " ".join(one["text"] for one in unseen)
    for what in ("nodes", "quotas", "namespace"):
        assert what in missing.lower()
    assert all("verbs" in one["way_out"] for one in unseen if one["level"] == "warning")
    (approve,) = [one for one in card.elements if one["text"]["text"] == "Approve"]
    assert "could not be looked at" in approve["confirm"]["text"]["text"]
    await world.approve(card)
    await world.card("✅ *Done*", "server ready at 0.2.1", ts=card.ts)


async def test_rights_that_forbid_the_change_itself_block_it_and_name_the_rule(
    start: Start, world: Journey, tmp_path: Path
) -> None:
    world.bot_kubeconfig = somebody(world, tmp_path, *NEEDED, READS)
    await start()
    await world.ask("upgrade 0.2.1")
    card = await world.card(
        "⛔ *Cannot go ahead*", "Deployment/aeterna", 'resources: ["deployments"], verbs: ["patch"]'
    )
    assert "Approve" not in card.buttons
    plan = json.loads(await world.file(card, "plan.json"))
    (found,) = [one for one in plan["findings"] if one["code"] == "dry_run.forbidden"]
    assert (found["level"], found["subject"]) == ("blocker", "Deployment/aeterna")
    assert await world.statuses() == ["0.2.0 deployed"]


async def test_an_api_server_that_answers_too_late_is_named_by_each_check_and_people_are_answered_meanwhile(
    start: Start, world: Journey, tmp_path: Path
) -> None:
    async with Relay.before(world.kubeconfig, tmp_path / "relayed") as relay:
        world.bot_kubeconfig = tmp_path / "relayed"
        await start(engine={"check_timeout": "6s"})
        relay.prompt.clear()
        await world.ask("upgrade 0.2.1")
        planning = await world.card("Planning")
        await world.ask("locks")
        await world.private(ALICE, "*prod* is free")
        assert "Planning" in everything(await world.card(ts=planning.ts))
        card = await world.card(
            "⛔ *Cannot go ahead*", "was given up after 6 s", "engine.check_timeout", ts=planning.ts
        )
        plan = json.loads(await world.file(card, "plan.json"))
        late = {one["subject"] for one in plan["findings"] if "was given up after 6 s" in one["text"]}
        assert {"helm.release", "capacity", "health.now"} <= late
        assert "Approve" not in card.buttons
        relay.prompt.set()
        await world.press(card, "Plan again")
        await world.card("*Ready for approval*: no warnings")
        await world.stop_bot()


async def test_an_api_server_that_is_gone_is_one_cause_told_once_in_words(
    start: Start, world: Journey, tmp_path: Path
) -> None:
    async with Relay.before(world.kubeconfig, tmp_path / "relayed") as relay:
        world.bot_kubeconfig = tmp_path / "relayed"
        await start()
        await relay.cut()
        await world.ask("upgrade 0.2.1")
        card = await world.card("⛔ *Cannot go ahead*: blocked by 1", "cannot be reached: the connection is refused.")
        text = everything(card)
        assert "ssl:default" not in text
        assert "Look whether it runs, and whether address and port are right." in text
        assert "Not looked at for that reason" in text
        await relay.mend()
        await world.press(card, "Plan again")
        await world.card("*Ready for approval*: no warnings")
        await world.stop_bot()
