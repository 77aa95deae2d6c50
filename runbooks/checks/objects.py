"""The objects that several checks of a plan look at: the release's manifest, the new one, its hooks. Parsed once a plan.

A chart that does not render has no objects; ``manifests.dry_run`` says why, and the other checks only that they could not look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bot.diff import drawn as drawing
from bot.diff.drawn import Drawn
from bot.diff.templates import Templates
from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.errors import BotError
from bot.helm.failures import ManifestRefused, RenderFailed, ValuesRefused
from bot.helm.models import Hook, Rendered, Status, StoredRelease
from bot.helm.rendering import objects_from, parse_objects
from bot.kube.findings import KubeFinding, unseen
from runbooks.checks.findings import info, not_done
from runbooks.reading import Reader

Json = dict[str, Any]


@dataclass(frozen=True)
class Objects:
    """``before`` is what Helm compares with (see ``base_of``), ``after`` what the new chart gives, without its ``hooks``.

    With ``refused`` Helm stopped at an object, a kind that the cluster does not serve mostly: they are rendered without it.
    """

    before: tuple[Json, ...] = field(repr=False)
    after: tuple[Json, ...] = field(repr=False)
    hooks: tuple[Json, ...] = field(repr=False)
    refused: ManifestRefused | None = None

    @property
    def new(self) -> tuple[Json, ...]:
        """Everything that the API server would be given."""
        return (*self.after, *self.hooks)


async def objects_of(context: PlanContext) -> Objects:
    """The objects of this plan. Raises what reading the release and rendering the chart raise."""
    found: Objects = await context.shared.once("objects", lambda: _parsed(context, Reader(context)))
    return found


def base_of(releases: Sequence[StoredRelease]) -> StoredRelease:
    """The revision whose objects Helm deletes when the new manifest lacks them: the newest that is deployed, else the newest.

    After a failed upgrade that is not the newest (Helm 4.3.1, pkg/action/upgrade.go). ``releases`` are oldest first.
    """
    return next((one for one in reversed(releases) if one.status is Status.DEPLOYED), releases[-1])


@dataclass(frozen=True)
class Unsteady:
    """What the chart draws anew at each rendering; ``drawn`` is None, and ``trouble`` says why, where that is not known."""

    drawn: Drawn | None
    trouble: tuple[KubeFinding, ...] = ()


async def unsteady_of(context: PlanContext) -> Unsteady:
    """What is drawn among the objects of this plan. Raises what ``objects_of`` raises.

    Only a chart whose templates can draw something is rendered twice, and only when what they give is not as it was.
    """
    found: Unsteady = await context.shared.once("unsteady", lambda: _unsteady(context))
    return found


async def _unsteady(context: PlanContext) -> Unsteady:
    reader, namespace = Reader(context), context.target.namespace
    objects = await objects_of(context)
    if objects.refused:
        return Unsteady({})
    rendered, given = await reader.rendered(), await reader.given()
    templates = given.templates
    if templates is None or not (templates.draws or given.left_out):
        return Unsteady({})
    told = await asyncio.to_thread(_as_it_was, objects, rendered, templates, namespace)
    if told and not given.left_out:
        return Unsteady({})
    try:
        again = await _again(context, reader)
    except BotError as error:
        return Unsteady(None, (unseen("what the chart draws anew at each rendering", error),))
    drawn = await asyncio.to_thread(drawing.drawn, objects.new, again, namespace=namespace)
    if any("now" in functions for functions in templates.draws.values()) or given.left_out:
        clocked = await asyncio.to_thread(drawing.clocked, objects.new, datetime.now(UTC), namespace=namespace)
        drawn = drawing.together(drawn, clocked)
    return Unsteady(drawn)


def _as_it_was(objects: Objects, rendered: Rendered, templates: Templates, namespace: str) -> bool:
    """Whether nothing that could have been drawn differs from the release: a password that the chart looks up, mostly."""
    if templates.drawing is None:
        return False
    candidates = objects_from(rendered, templates.drawing)
    return drawing.same_as_before(objects.before, candidates, namespace=namespace)


async def _again(context: PlanContext, reader: Reader) -> tuple[Json, ...]:
    target = context.target
    rendered = await context.clients.helm.dry_run(
        release=target.release,
        namespace=target.namespace,
        chart=(await reader.chart()).path,
        values=(await reader.values()).file,
        server_side=target.server_side_apply,
    )
    return (*rendered.objects, *await asyncio.to_thread(_hooks, rendered.hooks))


async def _parsed(context: PlanContext, reader: Reader) -> Objects:
    await reader.release()  # says so when there is none
    base, refused = base_of(await reader.releases()), None
    try:
        rendered = await reader.rendered()
    except ManifestRefused as error:
        rendered, refused = await _without_a_cluster(context, reader), error
    before, hooks = await asyncio.gather(  # a manifest may have megabytes
        reader.objects(base), asyncio.to_thread(_hooks, rendered.hooks)
    )
    return Objects(before, rendered.objects, hooks, refused)


async def _without_a_cluster(context: PlanContext, reader: Reader) -> Rendered:
    """The manifest as far as it goes without asking the API server, at whose first no Helm's own dry run stops."""
    target = context.target
    return await context.clients.helm.template(
        (await reader.chart()).path,
        release=target.release,
        namespace=target.namespace,
        values=(await reader.values()).file,
        kube_version=await context.clients.cluster.server_version(),
    )


def _hooks(hooks: Iterable[Hook]) -> tuple[Json, ...]:
    return tuple(obj for hook in hooks for obj in parse_objects(hook.manifest))


def without_objects(what: str, error: BotError) -> CheckResult:
    """The answer of a check that needs a manifest, where there is none. A chart that does not render can lose nothing."""
    if isinstance(error, RenderFailed | ValuesRefused):
        return CheckResult((info(f"{what} could not be looked at, because the chart does not render."),))
    return not_done(Level.BLOCKER, f"Looking at {what[:1].lower()}{what[1:]}", error)


def told(found: Iterable[KubeFinding]) -> tuple[Finding, ...]:
    """What a look at the cluster found, as a plan's findings. What could not be looked at stays a warning."""
    return tuple(Finding(Level(one.level), one.text, one.way_out, one.code, one.subject) for one in found)
