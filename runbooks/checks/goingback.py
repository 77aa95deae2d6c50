"""What a rollback changes back: objects, values, images; and whether the API server would take the old manifest at all.

The same comparison, rehearsal and look for losses as an upgrade's plan has, from the newest revision's manifest to the old one's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from bot.diff import values as diff_values
from bot.diff.unified import values_text
from bot.engine.contract import CheckResult, Finding, Level, PlanContext, Shared
from bot.errors import BotError, Evidence
from bot.helm.models import StoredRelease
from bot.helm.rendering import parse_objects
from bot.kube.cluster import Cluster
from bot.kube.failures import UnknownKind
from bot.kube.objects import name_of, ref_of
from runbooks.checks.comparison import Comparison, compared
from runbooks.checks.definitions import immutable_of
from runbooks.checks.findings import not_done
from runbooks.checks.live import LiveObjects, live_before
from runbooks.checks.loss import DataLoss
from runbooks.checks.objects import Objects
from runbooks.checks.rehearsal import Rehearsal
from runbooks.reading import Reader
from runbooks.text import listed
from runbooks.wayback import WayBack, chosen

Json = dict[str, Any]
IMAGES, VALUES, UNREADABLE = "rollback.images", "rollback.values", "rollback.unreadable"
UNSERVED = "api.unserved"
HOOKS = ("pre-rollback", "post-rollback")
_UPGRADE = re.compile(r"\b([Tt])he upgrade\b")


class RollbackChanges:
    """Objects, values and images that change back, and what of the old manifest the API server would refuse."""

    name: ClassVar[str] = "rollback.changes"

    async def check(self, context: PlanContext) -> CheckResult:
        """Binds the approval to the apply mode and to what would be lost. Says nothing where there is nowhere to go."""
        way = (await chosen(context)).way
        if way is None or way.target.revision == way.current.revision:
            return CheckResult()
        try:
            return await _changes(context, way)
        except BotError as error:
            return not_done(Level.BLOCKER, "Comparing the revisions", error)


async def _changes(context: PlanContext, way: WayBack) -> CheckResult:
    objects = await _between(Reader(context), way)
    shared = Shared()
    try:
        await shared.once("objects", partial(_as_they_are, objects))
        return await _told(replace(context, shared=shared), way, objects, live_before(context))
    finally:
        await shared.close()


async def _as_they_are(objects: Objects) -> Objects:
    """What the checks of an upgrade's plan would get by rendering a chart."""
    return objects


async def _told(context: PlanContext, way: WayBack, objects: Objects, reading: Awaitable[LiveObjects]) -> CheckResult:
    reader = Reader(context)
    served, found, lost, values = await asyncio.gather(
        _refusals(context, way, objects),
        _compared(context, objects, reading),
        DataLoss().check(context),
        asyncio.to_thread(_values, reader, way),
    )
    numbers, images = found.numbers, changed_images(objects)
    return CheckResult(
        findings=(
            *served,
            *(_reworded(one) for one in lost.findings),
            *(_reworded(one) for one in found.findings),
            *_images(images),
            *values.findings,
        ),
        facts={
            "objects_created": numbers["created"],
            "objects_changed": numbers["changed"] + numbers["replaced"],
            "objects_removed": numbers["removed"],
            "objects_drifted": numbers["drifted"],
            "images": images,
            **lost.facts,
        },
        bindings={"apply mode": "server-side" if _server_side(context, way) else "client-side", **lost.bindings},
        files=(*_file("manifests.diff", _in_words(found.text)), *values.files),
    )


async def _between(reader: Reader, way: WayBack) -> Objects:
    """What Helm compares: the newest revision's manifest, whatever its state, and the target's, with its rollback hooks."""
    before, after, hooks = await asyncio.gather(
        reader.objects(way.current), reader.objects(way.target), asyncio.to_thread(_hooks, way.target)
    )
    return Objects(before, after, hooks)


def _hooks(target: StoredRelease) -> tuple[Json, ...]:
    hooks = [hook for hook in target.hooks if set(hook.events) & set(HOOKS)]
    return tuple(obj for hook in hooks for obj in parse_objects(hook.manifest))


# -- whether it would be taken ---------------------------------------------------------------------------------


async def _refusals(context: PlanContext, way: WayBack, objects: Objects) -> list[Finding]:
    """What the rehearsal refuses, and what stops Helm before it comes so far."""
    server_side = _server_side(context, way)
    rehearsal = Rehearsal(  # Helm takes the fields of client-side applies over in every rollback
        context.clients.cluster,
        context.target.namespace,
        server_side=server_side,
        taking_over=server_side,
        before=objects.before,
    )
    tried, unreadable = await asyncio.gather(
        rehearsal.all(objects.after, objects.hooks), _unreadable(context.clients.cluster, objects, way)
    )
    return [*(_about_the_past(one, way) for one in tried), *unreadable]


def _about_the_past(one: Finding, way: WayBack) -> Finding:
    """An old manifest cannot be corrected any more: the ways out are others than a new chart's."""
    if one.code != UNSERVED:
        return one
    way_out = (
        f"The way to {way.named} is closed; choose a newer revision, or upgrade to a version that this cluster takes."
    )
    return replace(one, way_out=way_out)


async def _unreadable(cluster: Cluster, objects: Objects, way: WayBack) -> list[Finding]:
    """Helm reads the newest revision's manifest first, and fails when the cluster does not serve one of its kinds."""
    kept = {(obj.get("apiVersion"), obj.get("kind")) for obj in objects.after}
    wanted = {(str(obj.get("apiVersion")), str(obj.get("kind"))): obj for obj in objects.before}
    said = []
    for key, obj in sorted(wanted.items()):
        if key in kept:
            continue
        try:
            await cluster.discovery.resource(*key)
        except UnknownKind as error:
            number = way.current.revision
            text = f"{ref_of(obj)} of revision {number} stops Helm, which reads that manifest first: {error.message}"
            way_out = (
                "Upgrade to a chart version without it (the plan of an upgrade says which of its objects are served)."
            )
            said.append(Finding(Level.BLOCKER, text, way_out, UNREADABLE, str(ref_of(obj))))
    return said


def _server_side(context: PlanContext, way: WayBack) -> bool:
    """How Helm would apply: as the target says, else as the revision that it goes back to was applied."""
    mode = context.target.server_side_apply
    return way.target.apply_method == "ssa" if mode == "auto" else mode == "true"


async def _compared(context: PlanContext, objects: Objects, reading: Awaitable[LiveObjects]) -> Comparison:
    immutable, known = await asyncio.gather(immutable_of(context), reading)
    return await compared(
        context.clients.cluster,
        objects,
        namespace=context.target.namespace,
        fingerprint=Reader(context).fingerprint,
        drawn={},  # nothing is rendered anew
        immutable=immutable,
        known=known,
    )


# -- what changes back -----------------------------------------------------------------------------------------


def changed_images(objects: Objects) -> dict[str, str]:
    """``Deployment/x container`` → ``old → new`` for each container whose image goes back."""
    before, after = _all_images(objects.before), _all_images(objects.after)
    return {
        name: f"{before[name]} → {image}" for name, image in sorted(after.items()) if before.get(name, image) != image
    }


def _change(old: str, new: str) -> str:
    """``server:0.2.1 → 0.2.0``: the repository once, where it stays the same."""
    repository, colon, tag = new.rpartition(":")
    same = colon and "/" not in tag and old.rpartition(":")[0] == repository
    return f"{old} → {tag if same else new}"


def pod_specs(objects: Iterable[Json]) -> list[tuple[str, Json]]:
    """The pod specs of a manifest's workloads, each with ``Kind/name``."""
    found = []
    for obj in objects:
        spec = dict(obj.get("spec") or {})
        if obj.get("kind") == "CronJob":
            spec = (spec.get("jobTemplate") or {}).get("spec") or {}
        pod = spec if obj.get("kind") == "Pod" else (spec.get("template") or {}).get("spec")
        if isinstance(pod, dict) and ("containers" in pod):
            found.append((f"{obj.get('kind')}/{name_of(obj)}", pod))
    return found


def _all_images(objects: Iterable[Json]) -> dict[str, str]:
    return {
        f"{name} {one.get('name')}": str(one.get("image"))
        for name, spec in pod_specs(objects)
        for one in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    }


def _images(images: Mapping[str, str]) -> list[Finding]:
    if not images:
        return [Finding(Level.INFO, "No image changes.", code=IMAGES)]
    said = listed([f"{name}: {change}" for name, change in images.items()], most=4)
    return [Finding(Level.INFO, f"Images that go back: {said}.", code=IMAGES)]


def _values(reader: Reader, way: WayBack) -> CheckResult:
    """The values that were set, then what the templates see with each chart's own defaults beneath them; secrets masked."""
    now, then = way.current, way.target
    changed = [one.dotted for one in diff_values.compare(now.config, then.config)]
    before = diff_values.computed(now.chart_values, now.config)
    after = diff_values.computed(then.chart_values, then.config)
    parts = [
        values_text(now.config, then.config, reader.fingerprint, label="set by the user"),
        values_text(before, after, reader.fingerprint, label="with the chart's defaults"),
    ]
    text = "\n\n".join(part for part in parts if part)
    said = (
        f"Values that change back ({len(changed)}): {listed(changed, most=5)}." if changed else "No set value changes."
    )
    return CheckResult((Finding(Level.INFO, said, code=VALUES),), files=_file("values.diff", text and text + "\n"))


def _file(name: str, text: str) -> tuple[Evidence, ...]:
    return (Evidence(name, text),) if text else ()


def _reworded(one: Finding) -> Finding:
    return replace(one, text=_in_words(one.text), way_out=_in_words(one.way_out))


def _in_words(text: str) -> str:
    """The comparison speaks of an upgrade; lines of a diff stay as they are."""
    lines = [line if line[:1] in "+- @" else _UPGRADE.sub(r"\1he rollback", line) for line in text.split("\n")]
    return "\n".join(lines)
