"""Who may do what, and where: deny by default, groups remembered, silence of Slack means no."""

from __future__ import annotations

from typing import Any

import pytest

from bot.errors import Refused, Temporary, UserMistake
from bot.settings import Configuration, Permission
from bot.slack.channels import Channels
from bot.slack.permissions import Permissions


def configuration(**roles: Any) -> Configuration:
    common = {"namespace": "n", "release": "r", "chart": {"path": "chart"}}
    return Configuration.model_validate(
        {
            "targets": [
                {"name": "prod", "channels": ["C0OPS"], "incident_channels": ["inc-*"], **common},
                {"name": "staging", "channels": ["C0STAGE"], **common},
                {"name": "lab", "channels": ["C0STAGE"], **common},
            ],
            "roles": roles,
        }
    )


class Groups:
    """User groups as Slack would tell them; an unknown one fails."""

    def __init__(self, **groups: set[str]) -> None:
        self.groups = groups

    async def __call__(self, group: str) -> frozenset[str]:
        if group not in self.groups:
            raise Temporary("Slack does not answer.")
        return frozenset(self.groups[group])


def permissions(groups: Groups | None = None, **roles: Any) -> Permissions:
    return Permissions(config=configuration(**roles), members=groups or Groups())


async def test_nobody_may_anything_without_a_role() -> None:
    with pytest.raises(Refused, match="Nobody has it"):
        await permissions().require("U1", Permission.UPGRADE, "prod")


async def test_a_role_allows_its_permissions_on_its_targets_only() -> None:
    may = permissions(dev={"users": ["U1"], "permissions": ["upgrade"], "targets": ["stag*"]})
    await may.require("U1", Permission.UPGRADE, "staging")
    for permission, target in ((Permission.UPGRADE, "prod"), (Permission.ROLLBACK, "staging")):
        with pytest.raises(Refused):
            await may.require("U1", permission, target)
    assert await may.targets("U1") == ["staging"]


async def test_a_group_allows_its_members() -> None:
    may = permissions(Groups(S1={"U2"}), ops={"groups": ["S1"], "permissions": ["approve"]})
    assert await may.allowed("U2", Permission.APPROVE, "prod")
    assert not await may.allowed("U1", Permission.APPROVE, "prod")


async def test_silence_of_slack_means_no_and_is_said() -> None:
    may = permissions(ops={"groups": ["S9"], "permissions": ["approve"]})
    with pytest.raises(Refused, match="does not tell who is in the user group `S9`"):
        await may.require("U2", Permission.APPROVE, "prod")


async def test_a_named_person_needs_no_group() -> None:
    may = permissions(ops={"users": ["U2"], "groups": ["S9"], "permissions": ["approve"]})
    await may.require("U2", Permission.APPROVE, "prod")


async def test_a_refusal_names_who_has_the_permission() -> None:
    may = permissions(ops={"users": ["U7"], "permissions": ["rollback"]})
    with pytest.raises(Refused) as caught:
        await may.require("U1", Permission.ROLLBACK, "prod")
    assert caught.value.message == "You need the permission `rollback` on prod."
    assert caught.value.way_out == "<@U7> has it."


class Names:
    """Channel names as Slack would tell them."""

    def __init__(self, **names: str) -> None:
        self.names = names

    async def name(self, channel: str) -> str | None:
        return self.names.get(channel)


def channels(**names: str) -> Channels:
    return Channels(config=configuration(), names=Names(**names))


def test_a_channel_means_its_own_target() -> None:
    assert channels().target(None, "C0OPS", possible=["prod"]).name == "prod"


def test_a_channel_of_no_target_lists_the_persons_targets() -> None:
    with pytest.raises(Refused, match=r"belongs to no target.*`prod`"):
        channels().target(None, "C0ELSE", possible=["prod"])


def test_a_channel_of_two_targets_asks_which() -> None:
    with pytest.raises(UserMistake, match=r"several targets.*`staging`, `lab`"):
        channels().target(None, "C0STAGE", possible=["prod"])


@pytest.mark.parametrize("name", ["nowhere", "staging"])
def test_an_unknown_target_and_one_that_is_not_theirs_look_alike(name: str) -> None:
    with pytest.raises(UserMistake, match=f"no target '{name}' for you. Your targets: `prod`"):
        channels().target(name, "C0OPS", possible=["prod"])


async def test_messages_appear_in_channels_of_targets_and_in_incident_channels() -> None:
    places = channels(C0INC="inc-42", C0ELSE="random")
    prod = places.target("prod", "C0ELSE", possible=[])
    await places.check_place(prod, "C0STAGE")
    await places.check_place(prod, "C0INC")
    for channel in ("C0ELSE", "D0DIRECT"):
        with pytest.raises(Refused, match=r"<#C0OPS>, or in an incident channel \(`inc-\*`\)"):
            await places.check_place(prod, channel)
