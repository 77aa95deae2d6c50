"""The new manifest before it is applied: rehearsed by the API server, and compared with what is there.

Helm's own dry run does not ask the API server whether it would take the objects; this does (``runbooks.checks.rehearsal``).
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from bot.diff import manifests
from bot.engine.contract import CheckResult, Level, PlanContext
from bot.errors import BotError, Evidence
from bot.helm.failures import ReleasePending, RenderFailed, ValuesRefused
from bot.helm.models import StoredRelease
from runbooks.checks.comparison import compared
from runbooks.checks.findings import blocker, not_done
from runbooks.checks.objects import Objects, objects_of
from runbooks.checks.rehearsal import MOST, Rehearsal
from runbooks.reading import Reader


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
        tried, found = await asyncio.gather(
            Rehearsal(cluster, namespace, server_side=server_side).all(objects.after, objects.hooks),
            compared(cluster, objects, namespace=namespace, fingerprint=reader.fingerprint),
        )
        numbers = found.numbers
        return CheckResult(
            findings=(*tried, *found.findings),
            facts={
                "objects_created": numbers["created"],
                "objects_changed": numbers["changed"] + numbers["replaced"],
                "objects_removed": numbers["removed"],
                "objects_drifted": numbers["drifted"],
                "server_side": context.target.server_side_apply,
            },
            bindings={
                "manifest": await asyncio.to_thread(_digest, context, objects),
                "apply mode": "server-side" if server_side else "client-side",
            },
            files=(Evidence("manifests.diff", found.text),) if found.text else (),
        )


def _digest(context: PlanContext, objects: Objects) -> str:
    return context.clients.fingerprints.digest(manifests.steady(objects.new))


def _server_side(context: PlanContext, release: StoredRelease) -> bool:
    """How Helm would apply: as the target says, else as the release was applied last."""
    mode = context.target.server_side_apply
    return release.apply_method == "ssa" if mode == "auto" else mode == "true"
