"""Who may do what: roles of the configuration, for Slack users and user groups. What no role allows is refused.

A person who is named in a role needs no question to Slack. Groups are asked of Slack and remembered for five minutes; when
Slack does not tell, the answer is no, and the refusal says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from slack_sdk.web.async_client import AsyncWebClient

from bot.errors import BotError, Refused
from bot.settings import Configuration, Permission, Role
from bot.slack.calls import call

_log = logging.getLogger(__name__)
Members = Callable[[str], Awaitable[frozenset[str]]]


@dataclass
class _Known:
    users: frozenset[str]
    until: float


class UserGroups:
    """The users of a group, remembered for ``ttl`` seconds; one question at a time for each group."""

    def __init__(self, client: AsyncWebClient, *, ttl: float = 300.0, clock: Callable[[], float] | None = None) -> None:
        self._client = client
        self._ttl = ttl
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def __call__(self, group: str) -> frozenset[str]:
        """Raises ``Temporary`` or ``SlackRefused`` when Slack does not tell."""
        async with self._asking.setdefault(group, asyncio.Lock()):
            known = self._known.get(group)
            if known is not None and known.until > self._clock():
                return known.users
            asked = self._client.usergroups_users_list(usergroup=group)
            answer = await call("usergroups.users.list", asked)
            users = frozenset(str(user) for user in answer.get("users") or ())
            self._known[group] = _Known(users, self._clock() + self._ttl)
            return users


class Permissions:
    """Answers for one configuration. ``members`` gives the users of a group."""

    def __init__(self, *, config: Configuration, members: Members) -> None:
        self._config = config
        self._members = members

    async def allowed(self, user: str, permission: Permission, target: str) -> bool:
        """Whether some role allows it. A group that Slack does not tell of counts as empty."""
        found, _ = await self._find(user, permission, target)
        return found

    async def require(self, user: str, permission: Permission, target: str) -> None:
        """Raises ``Refused``, naming what is missing and who has it, unless some role allows it."""
        found, unknown = await self._find(user, permission, target)
        if found:
            return
        if unknown:
            groups = " and ".join(f"`{group}`" for group in unknown)
            raise Refused(
                f"Slack does not tell who is in the user group {groups}, so I cannot see whether you may "
                f"{permission.value} on {target}.",
                way_out="Try again in a moment, or ask somebody who is named in the configuration.",
            )
        raise Refused(
            f"You need the permission `{permission.value}` on {target}.", way_out=self._who(permission, target)
        )

    async def targets(self, user: str, permission: Permission | None = None) -> list[str]:
        """The targets on which the person has the permission (None: any permission at all)."""
        wanted = [permission] if permission else list(Permission)
        return [target.name for target in self._config.targets if await self._any(user, wanted, target.name)]

    # -- inside ---------------------------------------------------------------------------------------------

    async def _any(self, user: str, permissions: list[Permission], target: str) -> bool:
        for permission in permissions:
            if await self.allowed(user, permission, target):
                return True
        return False

    def _roles(self, permission: Permission, target: str) -> list[Role]:
        return [role for role in self._config.roles.values() if permission in role.permissions and role.covers(target)]

    async def _find(self, user: str, permission: Permission, target: str) -> tuple[bool, list[str]]:
        """Whether it is allowed, and the groups that Slack did not tell of."""
        roles = self._roles(permission, target)
        if any(user in role.users for role in roles):
            return True, []
        unknown: list[str] = []
        for group in dict.fromkeys(group for role in roles for group in role.groups):
            try:
                if user in await self._members(group):
                    return True, []
            except BotError as error:
                _log.warning("user group %s: %s", group, error)
                unknown.append(group)
        return False, unknown

    def _who(self, permission: Permission, target: str) -> str:
        roles = self._roles(permission, target)
        users = list(dict.fromkeys(user for role in roles for user in role.users))
        if users:
            named = ", ".join(f"<@{user}>" for user in users[:5])
            return f"{named} {'has' if len(users) == 1 else 'have'} it."
        if any(role.groups for role in roles):
            groups = ", ".join(dict.fromkeys(f"`{group}`" for role in roles for group in role.groups))
            return f"The user group {groups} has it."
        return "Nobody has it: it takes a role in the configuration."
