"""The custom resource definitions of a plan: the old chart's, the new chart's, the cluster's, and the objects of their kinds.

Read-only. The bot's own Role lives in a namespace: what it may not read of the cluster is said, and counted where it may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from bot.diff.crds import Sides, immutable_fields, is_crd, served_as, sides
from bot.engine.contract import PlanContext
from bot.errors import BotError, Temporary
from bot.helm.subcharts import within
from bot.helm.yamldocs import load_all
from bot.kube.cluster import Cluster
from bot.kube.findings import KubeFinding, look, unseen
from runbooks.checks.objects import Json, base_of, objects_of
from runbooks.reading import Reader

API = "apiextensions.k8s.io/v1"
KIND = "CustomResourceDefinition"
AT_ONCE = 8


@dataclass(frozen=True)
class Users:
    """The objects of a kind. ``everywhere`` is False where only those of the release's namespace could be listed."""

    objects: tuple[Json, ...] = field(default=(), repr=False)
    everywhere: bool = True
    unseen: tuple[KubeFinding, ...] = ()


@dataclass(frozen=True)
class Definitions:
    """Each definition of the two charts on its sides; ``unseen`` says what could not be read of the cluster."""

    sides: tuple[Sides, ...]
    unseen: tuple[KubeFinding, ...] = ()


async def definitions_of(context: PlanContext) -> Definitions:
    """The definitions of this plan. Raises what reading the release and rendering the chart raise."""
    found: Definitions = await context.shared.once("definitions", lambda: _read(context))
    return found


async def _read(context: PlanContext) -> Definitions:
    reader = Reader(context)
    objects, chart, given = await objects_of(context), await reader.chart(), await reader.given()
    base = base_of(await reader.releases())
    fresh = {path: text for path, text in chart.parts.crds.items() if within(path, given.subcharts)}
    old, new = await asyncio.gather(
        asyncio.to_thread(_parsed, base.chart_crds, "the release's chart"),
        asyncio.to_thread(_parsed, fresh, "the new chart"),
    )
    found = sides(old, filter(is_crd, objects.before), new, filter(is_crd, objects.after))
    return await _with_live(context.clients.cluster, found)


def _parsed(texts: Mapping[str, str], whose: str) -> list[Json]:
    return [
        obj
        for path, text in texts.items()
        for obj in load_all(text, what=f"{path} of {whose}")
        if isinstance(obj, dict) and is_crd(obj)
    ]


async def _with_live(cluster: Cluster, found: Iterable[Sides]) -> Definitions:
    gate = asyncio.Semaphore(AT_ONCE)
    blind: dict[str, KubeFinding] = {}

    async def one(side: Sides) -> Sides:
        async with gate:
            try:
                return replace(side, live=await cluster.get(API, KIND, side.name))
            except Temporary:
                raise
            except BotError as error:
                blind.setdefault(error.message.replace(side.name, ""), unseen(f"{KIND} objects", error))
                return replace(side, unread=True)

    return Definitions(tuple(await asyncio.gather(*map(one, found))), tuple(blind.values())[:1])


async def users_of(cluster: Cluster, crd: Json, namespace: str) -> Users:
    """The objects of a definition's kind, in all namespaces or, where that is forbidden, in the release's. Raises Temporary."""
    served = served_as(crd)
    if served is None:
        return Users()
    found = await look(cluster, *served)
    if found.known:
        return Users(found.items)
    if (crd.get("spec") or {}).get("scope") == "Namespaced":
        here = await look(cluster, *served, namespace)
        if here.known:
            return Users(here.items, everywhere=False)
    return Users(everywhere=False, unseen=found.unseen)


async def immutable_of(context: PlanContext) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Fields that may not change by their definitions' own rules, by API version and kind of the custom resources at hand.

    A definition that cannot be read names none: the check ``crds`` says that, and the rehearsal finds them one at a time.
    """
    objects = await objects_of(context)
    try:
        known = {one.name: one.live or one.old for one in (await definitions_of(context)).sides}
    except BotError:
        known = {}
    kinds = {(str(obj.get("apiVersion")), str(obj.get("kind"))) for obj in objects.after}
    found = {}
    for version, kind in sorted(
        one for one in kinds if "." in one[0] and not one[0].partition("/")[0].endswith(".k8s.io")
    ):
        crd = await _definition(context.clients.cluster, version, kind, known)
        if fields := immutable_fields(crd, version.rpartition("/")[2]):
            found[version, kind] = fields
    return found


async def _definition(cluster: Cluster, version: str, kind: str, known: Mapping[str, Json | None]) -> Json | None:
    try:
        resource = await cluster.discovery.resource(version, kind)
        name = f"{resource.plural}.{resource.group}"
        return known[name] if name in known else await cluster.get(API, KIND, name)
    except BotError:
        return None
