"""The new manifest before it is applied: rehearsed by the API server, and compared with what is there.

Helm's own dry run does not ask the API server whether it would take the objects; this does (``runbooks.checks.rehearsal``).
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from bot.diff import manifests
from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.errors import BotError, Evidence
from bot.helm.failures import ReleasePending, RenderFailed, ValuesRefused
from bot.helm.models import StoredRelease
from runbooks.checks.comparison import Comparison, compared
from runbooks.checks.definitions import immutable_of
from runbooks.checks.findings import blocker, not_done, warning
from runbooks.checks.objects import Objects, Unsteady, objects_of, told, unsteady_of
from runbooks.checks.rehearsal import MOST, Rehearsal
from runbooks.demands import Given
from runbooks.reading import Reader
from runbooks.text import listed


class ManifestsDryRun:
    """Renders the new chart and lets the API server judge each object."""

    name: ClassVar[str] = "manifests.dry_run"

    async def check(self, context: PlanContext) -> CheckResult:
        """Binds the approval to the digest of what would be applied."""
        reader, namespace = Reader(context), context.target.namespace
        release = await reader.release()
        try:
            objects = await objects_of(context)
        except RenderFailed as error:
            return CheckResult((blocker(error.message, error.way_out),), files=error.evidence)
        except ValuesRefused as error:
            way_out = "Correct these values in the target's files."
            fields = [blocker(f"Values: {one.path or 'as a whole'}: {one.problem}.", way_out) for one in error.fields]
            return CheckResult(tuple(fields[:MOST] or [blocker(error.message, error.way_out)]), files=error.evidence)
        except ReleasePending:
            return CheckResult((blocker("The rehearsal was not possible while another operation is pending."),))
        except BotError as error:
            return not_done(Level.BLOCKER, "Rendering the chart", error)
        cluster, server_side = context.clients.cluster, _server_side(context, release)
        tried, (unsteady, found) = await asyncio.gather(
            Rehearsal(cluster, namespace, server_side=server_side).all(objects.after, objects.hooks),
            _compared(context, objects),
        )
        numbers = found.numbers
        return CheckResult(
            findings=(*tried, *told(unsteady.trouble), *found.findings, *_left_out(await reader.given())),
            facts={
                "objects_created": numbers["created"],
                "objects_changed": numbers["changed"] + numbers["replaced"],
                "objects_removed": numbers["removed"],
                "objects_drifted": numbers["drifted"],
                "server_side": context.target.server_side_apply,
            },
            bindings={
                "manifest": await asyncio.to_thread(_digest, context, objects, unsteady),
                "apply mode": "server-side" if server_side else "client-side",
            },
            files=(Evidence("manifests.diff", found.text),) if found.text else (),
        )


async def _compared(context: PlanContext, objects: Objects) -> tuple[Unsteady, Comparison]:
    """The comparison with what is there, and what of the new manifest is drawn anew each time and so compares with nothing."""
    unsteady, immutable = await asyncio.gather(unsteady_of(context), immutable_of(context))
    found = await compared(
        context.clients.cluster,
        objects,
        namespace=context.target.namespace,
        fingerprint=Reader(context).fingerprint,
        drawn=unsteady.drawn or {},
        immutable=immutable,
    )
    return unsteady, found


def _digest(context: PlanContext, objects: Objects, unsteady: Unsteady) -> str:
    namespace = context.target.namespace
    return context.clients.fingerprints.digest(manifests.steady(objects.new, unsteady.drawn, namespace=namespace))


def _left_out(given: Given) -> tuple[Finding, ...]:
    if not given.left_out:
        return ()
    text = (
        f"The chart's templates are too much to be read whole: {listed(given.left_out)} were left out of the forecasts."
    )
    return (warning(text, "Rendering and rehearsal are not concerned."),)


def _server_side(context: PlanContext, release: StoredRelease) -> bool:
    """How Helm would apply: as the target says, else as the release was applied last."""
    mode = context.target.server_side_apply
    return release.apply_method == "ssa" if mode == "auto" else mode == "true"
