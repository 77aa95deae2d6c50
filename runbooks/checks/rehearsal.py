"""Every object of the new manifest, applied as a dry run: what the API server, its webhooks and quotas would say.

Objects are tried side by side. Hooks are created under another name, since Helm deletes the old ones first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bot.engine.contract import Finding
from bot.errors import BotError, Refused, Temporary
from bot.kube.cluster import Cluster
from bot.kube.failures import Conflict, Invalid, UnknownKind
from bot.kube.lanes import in_lanes
from bot.kube.objects import ref_of
from bot.redaction import redact
from runbooks.checks.findings import blocker, info, warning

Json = dict[str, Any]
MANAGER = "helm"
"""Helm's own field manager: the name of its program."""
MOST = 12
LONGEST_VALUE = 40
_UNDECLARED = re.compile(r"(?P<field>\.[\w.\[\]\"=-]+): field not declared in schema")


@dataclass(frozen=True)
class Rehearsal:
    """``server_side`` is how Helm would apply; client-side apply takes fields from their other owners."""

    cluster: Cluster
    namespace: str
    server_side: bool

    async def all(self, objects: Sequence[Json], hooks: Sequence[Json]) -> list[Finding]:
        """Every refusal and every warning of the API server, objects side by side."""
        own_kinds = {_defined(obj) for obj in objects if obj.get("kind") == "CustomResourceDefinition"}

        async def one(tried: tuple[Json, bool]) -> list[Finding]:
            obj, hook = tried
            return await self._one(obj, own_kinds, hook=hook)

        found = await in_lanes(one, [*((obj, False) for obj in objects), *((obj, True) for obj in hooks)])
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
