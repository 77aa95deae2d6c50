"""A rehearsal of the new manifest: rendered with the cluster at hand, and every object applied as a dry run.

Helm's own dry run does not ask the API server whether it would take the objects; this does, with admission webhooks,
quota and immutable fields. Hooks are created as dry runs under another name, since Helm deletes the old ones first.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bot.diff import manifests
from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.errors import BotError, Evidence, Refused, Temporary
from bot.helm.failures import ReleasePending, RenderFailed, ValuesRefused
from bot.helm.models import StoredRelease
from bot.helm.rendering import parse_objects
from bot.kube.cluster import Cluster
from bot.kube.failures import Conflict, Invalid, UnknownKind
from bot.kube.objects import annotations_of, ref_of
from bot.redaction import redact
from runbooks.checks.findings import blocker, info, not_done, warning
from runbooks.reading import Reader
from runbooks.text import counted, listed

Json = dict[str, Any]
AT_ONCE = 16
KEEP = "helm.sh/resource-policy"
MANAGER = "helm"
"""Helm's own field manager: the name of its program."""
MOST = 12
LONGEST_VALUE = 40
_UNDECLARED = re.compile(r"(?P<field>\.[\w.\[\]\"=-]+): field not declared in schema")


class ManifestsDryRun:
    """Renders the new chart and lets the API server judge each object."""

    name: ClassVar[str] = "manifests.dry_run"

    async def check(self, context: PlanContext) -> CheckResult:
        """Binds the approval to the digest of what would be applied."""
        reader, namespace = Reader(context), context.target.namespace
        release = await reader.release()
        try:
            rendered = await reader.rendered()
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
        hooks = [obj for hook in rendered.hooks for obj in parse_objects(hook.manifest)]
        server_side = _server_side(context, release)
        tried = await _Rehearsal(context.clients.cluster, namespace, server_side=server_side).all(
            rendered.objects, hooks
        )
        before = parse_objects(release.manifest)
        diff = manifests.compare(before, rendered.objects, namespace=namespace)
        return CheckResult(
            findings=(*tried, *_removed(before, diff.removed), info(_summary(diff))),
            facts={
                "objects_created": len(diff.created),
                "objects_changed": len(diff.changed),
                "objects_removed": len(diff.removed),
                "server_side": context.target.server_side_apply,
            },
            bindings={
                "manifest": manifests.digest([*rendered.objects, *hooks]),
                "apply mode": "server-side" if server_side else "client-side",
            },
            files=(Evidence("manifests.diff", redact(diff.text)),) if diff.text else (),
        )


def _server_side(context: PlanContext, release: StoredRelease) -> bool:
    """How Helm would apply: as the target says, else as the release was applied last."""
    mode = context.target.server_side_apply
    return release.apply_method == "ssa" if mode == "auto" else mode == "true"


@dataclass(frozen=True)
class _Rehearsal:
    cluster: Cluster
    namespace: str
    server_side: bool

    async def all(self, objects: Sequence[Json], hooks: Sequence[Json]) -> list[Finding]:
        """Every refusal and every warning of the API server, objects side by side."""
        gate = asyncio.Semaphore(AT_ONCE)
        own_kinds = {_defined(obj) for obj in objects if obj.get("kind") == "CustomResourceDefinition"}

        async def one(obj: Json, *, hook: bool) -> list[Finding]:
            async with gate:
                return await self._one(obj, own_kinds, hook=hook)

        found = await asyncio.gather(
            *(one(obj, hook=False) for obj in objects), *(one(obj, hook=True) for obj in hooks)
        )
        return [finding for findings in found for finding in findings]

    async def _one(self, obj: Json, own_kinds: set[str], *, hook: bool) -> list[Finding]:
        label = f"{ref_of(obj)}{' (hook)' if hook else ''}"
        said: list[str] = []
        try:
            placed = await self._placed(obj)
            if hook:
                await self.cluster.create(_renamed(placed), dry_run=True)
            else:
                await self.cluster.apply(
                    placed, dry_run=True, field_manager=MANAGER, force=not self.server_side, on_warning=said.append
                )
        except UnknownKind as error:
            if str(obj.get("kind")) in own_kinds:
                return [info(f"{label} could not be rehearsed: the chart brings its kind itself.")]
            return [blocker(f"{label}: {error.message}", error.way_out)]
        except Invalid as error:
            return _invalid(label, error)
        except Conflict as error:
            way_out = "Take the field out of the chart's values, or let its other owner give it up."
            return [blocker(f"{label}: {error.message}", way_out)]
        except Refused as error:
            return [blocker(f"{label}: {error.message}", error.way_out)]
        except Temporary as error:
            if match := _UNDECLARED.search(error.message):  # the API server answers 500 to it
                return [blocker(f"{label}: {match['field']}: field not declared in schema.", _way_out(match[0]))]
            return [
                blocker(f"{label} could not be rehearsed: {error.message}", "Plan again when the API server answers.")
            ]
        except BotError as error:
            return [blocker(f"{label}: {error.message}", error.way_out)]
        return [warning(f"{label}: {text}.".replace("..", ".")) for text in dict.fromkeys(said)]

    async def _placed(self, obj: Json) -> Json:
        """The object with the release's namespace, where its kind lives in one."""
        resource = await self.cluster.discovery.resource(str(obj.get("apiVersion")), str(obj.get("kind")))
        meta = dict(obj.get("metadata") or {})
        if resource.namespaced:
            meta.setdefault("namespace", self.namespace)
        return {**obj, "metadata": meta}


def _renamed(obj: Json) -> Json:
    meta = obj["metadata"]
    return {**obj, "metadata": {**meta, "name": f"{str(meta.get('name', 'hook'))[:52]}-rehearsal"}}


def _invalid(label: str, error: Invalid) -> list[Finding]:
    if not error.causes:
        return [blocker(f"{label}: {error.message}", "The chart or its values must change.")]
    return [
        blocker(f"{label}: {cause.field}: {_reason(cause.message)}.".replace("..", "."), _way_out(cause.message))
        for cause in error.causes[:MOST]
    ]


def _reason(message: str) -> str:
    """The API server's reason; a long value in front of it is left out, being noise at best and a secret at worst."""
    head, value, rest = message.partition(" value: ")
    shown, _, why = rest.rpartition(": ")
    if value and why and len(shown) > LONGEST_VALUE:
        return f"{head} value: {why}"
    return redact(message)


def _way_out(message: str) -> str:
    text = message.lower()
    if "immutable" in text or "forbidden: updates to" in text or "may not change" in text:
        return "The field cannot be changed in place: keep its old value, or plan to delete and recreate the object."
    if "not declared in schema" in text or "unknown field" in text:
        return "The cluster's definition of this kind is older than the chart: update it, or use another version."
    return "The chart or its values must change."


def _defined(definition: Json) -> str:
    return str(((definition.get("spec") or {}).get("names") or {}).get("kind", ""))


def _removed(before: Iterable[Json], removed: Sequence[str]) -> list[Finding]:
    """What the upgrade would delete; whatever holds data stops it."""
    gone = {str(ref_of(obj)): obj for obj in before}
    leaving = [label for label in removed if annotations_of(gone[label]).get(KEEP) != "keep"]
    data = [label for label in leaving if _holds_data(gone[label])]
    said = [
        blocker(
            f"{label} would be deleted, and with it what it keeps.",
            f"Move the data first; then annotate it with `{KEEP}: keep` and plan again.",
        )
        for label in data
    ]
    rest = [label for label in leaving if label not in data]
    if rest:
        said.append(warning(f"{counted(len(rest), 'object')} would be deleted: {listed(rest)}."))
    return said


def _holds_data(obj: Json) -> bool:
    """Custom resources of databases, claims, and sets with claims of their own."""
    kind, api = str(obj.get("kind")), str(obj.get("apiVersion"))
    if kind == "StatefulSet":
        return bool((obj.get("spec") or {}).get("volumeClaimTemplates"))
    return kind in ("PersistentVolumeClaim", "PersistentVolume") or (kind, api.partition("/")[0]) in _DATABASES


_DATABASES = {("Cluster", "postgresql.cnpg.io"), ("Dragonfly", "dragonflydb.io")}


def _summary(diff: manifests.ManifestDiff) -> str:
    parts = [(len(diff.created), "created"), (len(diff.changed), "changed"), (len(diff.removed), "removed")]
    told = ", ".join(f"{number} {word}" for number, word in parts if number)
    labels = (
        f" ({counted(len(diff.relabelled), 'more object')} only in the version of their labels)"
        if diff.relabelled
        else ""
    )
    return f"Objects: {told or 'none changed'}{labels}."
