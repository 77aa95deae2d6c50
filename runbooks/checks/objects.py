"""The objects that several checks of a plan look at: the release's manifest, the new one, its hooks. Parsed once a plan.

A chart that does not render has no objects; ``manifests.dry_run`` says why, and the other checks only that they could not look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.errors import BotError
from bot.helm.failures import RenderFailed, ValuesRefused
from bot.helm.models import Hook, Status, StoredRelease
from bot.helm.rendering import parse_objects
from bot.kube.findings import KubeFinding
from runbooks.checks.findings import info, not_done
from runbooks.reading import Reader

Json = dict[str, Any]


@dataclass(frozen=True)
class Objects:
    """``before`` is what Helm compares with (see ``base_of``), ``after`` what the new chart gives, without its ``hooks``."""

    before: tuple[Json, ...] = field(repr=False)
    after: tuple[Json, ...] = field(repr=False)
    hooks: tuple[Json, ...] = field(repr=False)

    @property
    def new(self) -> tuple[Json, ...]:
        """Everything that the API server would be given."""
        return (*self.after, *self.hooks)


async def objects_of(context: PlanContext) -> Objects:
    """The objects of this plan. Raises what reading the release and rendering the chart raise."""
    found: Objects = await context.shared.once("objects", lambda: _parsed(Reader(context)))
    return found


def base_of(releases: Sequence[StoredRelease]) -> StoredRelease:
    """The revision whose objects Helm deletes when the new manifest lacks them: the newest that is deployed, else the newest.

    After a failed upgrade that is not the newest (Helm 4.3.1, pkg/action/upgrade.go). ``releases`` are oldest first.
    """
    return next((one for one in reversed(releases) if one.status is Status.DEPLOYED), releases[-1])


async def _parsed(reader: Reader) -> Objects:
    await reader.release()  # says so when there is none
    base, rendered = base_of(await reader.releases()), await reader.rendered()
    before, hooks = await asyncio.gather(  # a manifest may have megabytes
        asyncio.to_thread(parse_objects, base.manifest), asyncio.to_thread(_hooks, rendered.hooks)
    )
    return Objects(before, rendered.objects, hooks)


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
