"""``check-config``: tries everything that the configuration names, and says what is missing and what to do about it.

Read-only, but for one Socket Mode ticket that is asked for and not used. Each line stands alone, so one failure hides no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass

import aiohttp

from bot.app import ClientFactory
from bot.engine.clients import TargetClients
from bot.errors import BotError
from bot.settings import Settings, Target
from bot.slack.calls import call
from bot.slack.client import SlackClients, slack_clients
from bot.store.database import Database
from runbooks.library import RunbookLibrary
from runbooks.registry import note_folders, shipped_registry


@dataclass(frozen=True)
class Line:
    """One thing that was tried. ``way_out`` is there when it is not good."""

    subject: str
    good: bool
    text: str
    way_out: str = ""


# What the shipped runbooks read and write in a target's namespace: verb, resource, API group, what needs it.
_NEEDED = (
    ("list", "secrets", "", "Helm's release records"),
    ("create", "secrets", "", "a new Helm revision"),
    ("list", "pods", "", "health and rollouts"),
    ("watch", "deployments", "apps", "rollouts"),
    ("patch", "deployments", "apps", "an upgrade"),
    ("patch", "statefulsets", "apps", "an upgrade"),
    ("create", "pods/eviction", "", "recover restart"),
    ("list", "volumesnapshots", "snapshot.storage.k8s.io", "recover volumes"),
    ("patch", "deployments/scale", "apps", "emergencies"),
    ("patch", "statefulsets/scale", "apps", "emergencies"),
    ("patch", "horizontalpodautoscalers", "autoscaling", "emergencies"),
    ("create", "jobs", "batch", "migration hooks and probes"),
    ("delete", "jobs", "batch", "migration hooks and probes"),
    ("get", "pods/log", "", "what hooks, tests and probes say"),
    ("list", "events", "", "the reason when something is stuck"),
)

# What `recover volumes` needs to put another volume behind a claim, given only where somebody decided so; true: in a namespace.
_FOR_VOLUMES = (
    ("create", "persistentvolumeclaims", True),
    ("delete", "persistentvolumeclaims", True),
    ("patch", "persistentvolumes", False),
)

_NO_PROBE = "no image (probe.image): no database is looked at from inside the cluster, and what needs that is refused"


async def check(settings: Settings) -> AsyncIterator[Line]:
    """Every line, in the order in which a person would put things right."""
    config = settings.config
    yield await _try(
        "configuration", _said(f"{settings.file}: {len(config.targets)} target(s), {len(config.roles)} role(s)")
    )
    if not config.roles:
        yield Line("roles", False, "There are no roles, so nobody may do anything.", "Add roles to the configuration.")
    yield await _try("runbooks", _runbooks(settings))
    yield await _try("database", _database(settings))
    async with slack_clients(settings) as slack, aiohttp.ClientSession(trust_env=True) as http:
        yield await _try("Slack bot token", _bot_token(slack))
        if config.slack.mode == "socket":
            yield await _try("Slack app token", _app_token(slack))
        factory = ClientFactory(settings, http)
        try:
            for target in config.targets:
                async for line in _target(slack, target, factory):
                    yield line
        finally:
            await factory.close()


async def _target(slack: SlackClients, target: Target, factory: ClientFactory) -> AsyncIterator[Line]:
    for channel in target.channels:
        yield await _try(f"{target.name}: channel {channel}", _channel(slack, channel))
    try:
        clients = await factory(target)
    except BotError as error:
        yield Line(f"{target.name}: cluster", False, error.message, error.way_out)
        return
    yield await _try(f"{target.name}: Helm", _helm(clients))
    reached = await _try(f"{target.name}: cluster", _cluster(clients))
    yield reached
    yield await _try(f"{target.name}: chart", _chart(clients))
    if not reached.good:
        return
    yield await _try(f"{target.name}: release", _release(clients, target))
    yield await _try(f"{target.name}: probe", _said(clients.probes.image or _NO_PROBE))
    lines = await asyncio.gather(
        *(_right(clients, target, verb, resource, group, why) for verb, resource, group, why in _NEEDED)
    )
    for line in lines:
        yield line
    yield await _try(f"{target.name}: recover volumes", _volumes(clients, target))


async def _try(subject: str, work: Awaitable[str]) -> Line:
    try:
        return Line(subject, True, await work)
    except BotError as error:
        return Line(subject, False, error.message, error.way_out)


async def _said(text: str) -> str:
    return text


async def _runbooks(settings: Settings) -> str:
    config = settings.config
    registry = shipped_registry(migrations=note_folders(config.runbooks))
    library = RunbookLibrary(registry, users=config.runbooks, command=config.slack.command)
    return ", ".join(library.names())


async def _database(settings: Settings) -> str:
    database = Database(settings.database_url.get_secret_value())
    try:
        await database.time()
    finally:
        await database.close()
    return f"{database.backend} answers"


async def _bot_token(slack: SlackClients) -> str:
    answer = await call("auth.test", slack.web.auth_test())
    return f"is {answer.get('user')} in {answer.get('team')}"


async def _app_token(slack: SlackClients) -> str:
    await call("apps.connections.open", slack.app.api_call("apps.connections.open"))
    return "opens Socket Mode connections"


async def _channel(slack: SlackClients, channel: str) -> str:
    answer = await call("conversations.info", slack.web.conversations_info(channel=channel))
    found = answer.get("channel") or {}
    if not found.get("is_member", True):
        raise BotError(f"The bot is not in #{found.get('name')}.", way_out="Invite it there: /invite @aeterna-bot.")
    return f"#{found.get('name')}"


async def _helm(clients: TargetClients) -> str:
    return f"Helm {await clients.helm.version()}"


async def _cluster(clients: TargetClients) -> str:
    return f"{clients.cluster.server} is Kubernetes {await clients.cluster.server_version()}"


async def _chart(clients: TargetClients) -> str:
    versions = await clients.repository.versions()
    newest = versions[0].version if versions else "none"
    return f"{len(versions)} version(s), the newest is {newest}"


async def _release(clients: TargetClients, target: Target) -> str:
    current = await clients.releases.current()
    version = current.chart.version if current.chart else "an unknown version"
    return f"{target.release} is at {version}, revision {current.revision}, {current.status}"


async def _volumes(clients: TargetClients, target: Target) -> str:
    """Not to be allowed to is no mistake: the command then shows what there is, and says why it goes no further."""
    asked = [
        clients.cluster.can_i(verb, resource, namespace=target.namespace if inside else None)
        for verb, resource, inside in _FOR_VOLUMES
    ]
    missing = [
        f"{verb} {resource}"
        for (verb, resource, _), allowed in zip(_FOR_VOLUMES, await asyncio.gather(*asked), strict=True)
        if not allowed
    ]
    if not missing:
        return "may put another volume behind a claim"
    return f"shows volumes and changes none: it may not {', '.join(missing)} (`rbac.volumes: true` of the bot's chart)"


async def _right(clients: TargetClients, target: Target, verb: str, resource: str, group: str, why: str) -> Line:
    subject = f"{target.name}: may {verb} {resource}"
    try:
        whole, _, part = resource.partition("/")
        allowed = await clients.cluster.can_i(verb, whole, group, target.namespace, subresource=part)
    except BotError as error:
        return Line(subject, False, error.message, error.way_out)
    if allowed:
        return Line(subject, True, f"yes ({why})")
    where = f"a Role in the namespace {target.namespace}"
    rule = f"apiGroups [{group!r}], resources [{resource}], verbs [{verb}]"
    return Line(subject, False, f"No: {why} need it.", f"Give the bot's ServiceAccount {where}: {rule}.")
