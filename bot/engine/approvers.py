"""Who approves, by the configuration: told when one person confirmed something alone."""

from __future__ import annotations

from typing import Any

from bot.engine.contract import as_typed
from bot.settings import Configuration, Permission
from bot.store.records import RunRecord


def confirmed_alone(configuration: Configuration, run: RunRecord, *, user: str) -> dict[str, Any]:
    """The message for the card's thread: its ``text``, with the people who may approve on the target, and their ``groups``."""
    roles = [one for one in configuration.roles.values() if Permission.APPROVE in one.permissions]
    covering = [role for role in roles if role.covers(run.target)]
    people = [f"<@{name}>" for role in covering for name in role.users if name != user]
    groups = list(dict.fromkeys(name for role in covering for name in role.groups))
    named = " ".join(dict.fromkeys(people)) or ("" if groups else "nobody is named in the configuration")
    what = as_typed(run.runbook)
    text = f"<@{user}> confirmed this {what} alone, as an incident channel allows. For the approvers: {named}".rstrip()
    return {"text": text, "groups": groups, "evidence": []}
