"""Who approves, by the configuration: told when one person confirmed something alone."""

from __future__ import annotations

from bot.engine.contract import as_typed
from bot.settings import Configuration, Permission
from bot.store.records import RunRecord


def confirmed_alone(configuration: Configuration, run: RunRecord, *, user: str) -> str:
    """The sentence for the card's thread, with the people and user groups who may approve on the target."""
    roles = [one for one in configuration.roles.values() if Permission.APPROVE in one.permissions]
    covering = [role for role in roles if role.covers(run.target)]
    people = [f"<@{name}>" for role in covering for name in role.users if name != user]
    groups = [f"<!subteam^{name}>" for role in covering for name in role.groups]
    named = " ".join(dict.fromkeys([*people, *groups])) or "nobody is named in the configuration"
    what = as_typed(run.runbook)
    return f"<@{user}> confirmed this {what} alone, as an incident channel allows. For the approvers: {named}"
