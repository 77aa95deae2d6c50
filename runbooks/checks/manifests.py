"""The new manifest before it is applied: rehearsed by the API server, and compared with what is there.

Helm's own dry run does not ask the API server whether it would take the objects; this does (``runbooks.checks.rehearsal``).
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from bot.diff import manifests
from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.engine.parts import parts
from bot.errors import BotError, Evidence
from bot.helm.failures import ReleasePending, RenderFailed, ValuesRefused
from bot.helm.flags import dialect
from bot.helm.models import StoredRelease
from runbooks.checks.comparison import REPLACED, Comparison, compared
from runbooks.checks.definitions import immutable_of
from runbooks.checks.findings import blocker, not_done, refused_value, warning
from runbooks.checks.live import LiveObjects, live_before
from runbooks.checks.objects import Objects, Unsteady, base_of, objects_of, told, unsteady_of
from runbooks.checks.refusals import MOST
from runbooks.checks.rehearsal import Rehearsal
from runbooks.demands import Given
from runbooks.reading import Reader
from runbooks.text import listed


class ManifestsDryRun:
    """Renders the new chart and lets the API server judge each object."""

    name: ClassVar[str] = "manifests.dry_run"

    async def check(self, context: PlanContext) -> CheckResult:
        """Binds the approval to the digest of what would be applied."""
        reader = Reader(context)
        release = await reader.release()
        try:
            objects, live = await asyncio.gather(objects_of(context), live_before(context))
        except RenderFailed as error:
            return CheckResult((blocker(error.message, error.way_out),), files=error.evidence)
        except ValuesRefused as error:
            way_out = "Correct these values in the target's files."
            fields = [blocker(refused_value(one.path, one.problem), way_out) for one in error.fields]
            return CheckResult(tuple(fields[:MOST] or [blocker(error.message, error.way_out)]), files=error.evidence)
        except ReleasePending:
            return CheckResult((blocker("The rehearsal was not possible while another operation is pending."),))
        except BotError as error:
            return not_done(Level.BLOCKER, "Rendering the chart", error)
        server_side = await _server_side(context, release)
        tried, (unsteady, found) = await asyncio.gather(
            _rehearsed(context, objects, server_side=server_side), _compared(context, objects, live)
        )
        numbers = found.numbers
        bound = await asyncio.to_thread(_bound, context, objects, unsteady)
        marks = [(_named(one), one) for one in bound]
        named = await asyncio.to_thread(parts, "manifest", marks, context.clients.fingerprints.mark)
        refused = {one.subject for one in tried if one.code == "dry_run.immutable"}
        differ = (one for one in found.findings if not (one.code == REPLACED and one.subject in refused))
        return CheckResult(
            findings=(*tried, *told(unsteady.trouble), *differ, *_left_out(await reader.given())),
            facts={
                "objects_created": numbers["created"],
                "objects_changed": numbers["changed"] + numbers["replaced"],
                "objects_removed": numbers["removed"],
                "objects_drifted": numbers["drifted"],
                "server_side": context.target.server_side_apply,
                **named,
            },
            bindings={
                "manifest": await asyncio.to_thread(context.clients.fingerprints.digest, bound),
                "apply mode": "server-side" if server_side else "client-side",
            },
            files=(Evidence("manifests.diff", found.text),) if found.text else (),
        )


async def _rehearsed(context: PlanContext, objects: Objects, *, server_side: bool) -> tuple[Finding, ...]:
    """What the API server says; and what stopped Helm's own dry run, unless that is among it."""
    before = base_of(await Reader(context).releases())
    rehearsal = Rehearsal(
        context.clients.cluster,
        context.target.namespace,
        server_side=server_side,
        taking_over=server_side and before.apply_method != "ssa",
        before=objects.before,
    )
    try:
        tried = await rehearsal.all(objects.after, objects.hooks)
    except BotError as error:
        return not_done(Level.BLOCKER, "Rehearsing the manifest", error).findings
    if objects.refused and not any(one.level is Level.BLOCKER for one in tried):
        return (*not_done(Level.BLOCKER, "Helm's own dry run", objects.refused).findings, *tried)
    return tuple(tried)


async def _compared(context: PlanContext, objects: Objects, live: LiveObjects) -> tuple[Unsteady, Comparison]:
    """The comparison with what is there, and what of the new manifest is drawn anew each time and so compares with nothing."""
    unsteady, immutable = await asyncio.gather(unsteady_of(context), immutable_of(context))
    found = await compared(
        context.clients.cluster,
        objects,
        namespace=context.target.namespace,
        fingerprint=Reader(context).fingerprint,
        drawn=unsteady.drawn or {},
        immutable=immutable,
        known=live,
    )
    return unsteady, found


def _bound(context: PlanContext, objects: Objects, unsteady: Unsteady) -> list[Any]:
    """What the approval is bound to, object by object."""
    return manifests.steady(objects.new, unsteady.drawn, namespace=context.target.namespace)


def _named(obj: Any) -> str:
    return f"{obj.get('kind')}/{(obj.get('metadata') or {}).get('name')}"


def _left_out(given: Given) -> tuple[Finding, ...]:
    if not given.left_out:
        return ()
    text = (
        f"The chart's templates are too much to be read whole: {listed(given.left_out)} were left out of the forecasts."
    )
    return (warning(text, "Rendering and rehearsal are not concerned."),)


async def _server_side(context: PlanContext, release: StoredRelease) -> bool:
    """How Helm would apply: as the target says, else as the release was applied last. Helm 3 only applies client-side."""
    mode = context.target.server_side_apply
    if not dialect((await context.clients.helm.version()).version).server_side:
        return False
    return release.apply_method == "ssa" if mode == "auto" else mode == "true"
