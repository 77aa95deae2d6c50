"""Every object of the new manifest, applied as a dry run: what the API server, its webhooks and quotas would say.

In the very way in which Helm will apply it (read in Helm 4.3.1, pkg/kube/client.go): the field manager is ``helm`` whatever
the program is called; server-side apply is strict and takes no field from others; client-side apply creates what is not
there and sends a patch for what is, and unknown fields are dropped with a warning. Objects are tried side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.engine.contract import Finding, Level
from bot.errors import BotError
from bot.kube.apiversions import unserved_findings
from bot.kube.cluster import MERGE_PATCH, Cluster
from bot.kube.failures import Conflict, NotFound, ServerAway, UnknownKind
from bot.kube.lanes import in_lanes
from bot.kube.merging import client_side_patch
from bot.kube.objects import ObjectRef, ref_of
from runbooks.checks.objects import told
from runbooks.checks.refusals import Subject, owners, refusal, remarks, undeclared

Json = dict[str, Any]
Heard = Callable[[str], None]
MANAGER = "helm"


@dataclass(frozen=True)
class _Try:
    """One object, and what became of it."""

    obj: Json = field(repr=False)
    hook: bool
    findings: list[Finding] = field(default_factory=list)
    unserved: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True)
class Rehearsal:
    """``server_side`` is how Helm would apply; ``taking_over``: the release was applied client-side before, so that Helm
    makes its own fields its own anew. ``before`` is the manifest that Helm compares with.
    """

    cluster: Cluster
    namespace: str
    server_side: bool
    taking_over: bool = False
    before: Sequence[Json] = field(default=(), repr=False)

    async def all(self, objects: Sequence[Json], hooks: Sequence[Json]) -> list[Finding]:
        """Every refusal and every warning, in Helm's order. Raises ``ServerAway``: that is one cause for everything."""
        tries = [*(_Try(obj, hook=False) for obj in objects), *(_Try(obj, hook=True) for obj in hooks)]
        old = {ref_of(obj, self.namespace): obj for obj in self.before}
        brought = {ref_of(obj).name for obj in objects if obj.get("kind") == "Namespace"}
        await in_lanes(lambda one: self._one(one, old, brought), tries)
        said = [finding for one in tries for finding in one.findings]
        if unserved := {key for one in tries for key in one.unserved}:
            version = await self.cluster.server_version()
            said = [*told(unserved_findings(unserved, [*objects, *hooks], version)), *said]
        return list(dict.fromkeys(said))

    async def _one(self, one: _Try, old: dict[ObjectRef, Json], brought: set[str]) -> None:
        obj, heard = one.obj, list[str]()
        subject = Subject(ref_of(obj), one.hook)
        try:
            placed = _renamed(await self._placed(obj)) if one.hook else await self._placed(obj)
        except UnknownKind:
            one.unserved.add((str(obj.get("apiVersion")), str(obj.get("kind"))))
            return
        except ServerAway:
            raise
        except BotError as error:
            one.findings.extend(refusal(subject, error))
            return
        before = old.get(ref_of(placed), {})
        try:
            if self.server_side:
                await self._server_side(placed, heard.append)
            else:
                await self._client_side(placed, before, heard.append)
        except ServerAway:
            raise
        except BotError as error:
            home = str(placed["metadata"].get("namespace", ""))
            if isinstance(error, NotFound) and home in brought:
                text = f"could not be rehearsed, because the chart itself brings the namespace {home}"
                one.findings.append(subject.finding(Level.INFO, "later", text))
                return
            dropped = bool(undeclared(error)) and await self._would_be_dropped(placed, before)
            one.findings.extend(refusal(subject, error, dropped=dropped))
            return
        one.findings.extend(remarks(subject, str(obj.get("apiVersion")), heard))

    async def _server_side(self, obj: Json, heard: Heard, *, force: bool = False) -> None:
        try:
            await self.cluster.apply(
                obj, dry_run=True, field_manager=MANAGER, force=force, strict=True, on_warning=heard
            )
        except Conflict as error:
            if force or not self.taking_over or owners(error) != {MANAGER}:
                raise
            await self._server_side(obj, heard, force=True)

    async def _client_side(self, obj: Json, before: Json, heard: Heard) -> None:
        ref = ref_of(obj)
        live = await self.cluster.get_ref(ref)
        if live is None:
            await self.cluster.create(obj, dry_run=True, field_manager=MANAGER, on_warning=heard)
        elif patch := client_side_patch({**before, "metadata": _meta(before, obj)}, live, obj):
            await self.cluster.patch(ref, patch, MERGE_PATCH, dry_run=True, field_manager=MANAGER, on_warning=heard)

    async def _would_be_dropped(self, obj: Json, before: Json) -> bool:
        """Whether client-side apply would take the object without the fields that the schema does not have."""
        heard: list[str] = []
        try:
            await self._client_side(obj, before, heard.append)
        except BotError:
            return False
        return any("unknown field" in text for text in heard)

    async def _placed(self, obj: Json) -> Json:
        """The object with the release's namespace, where its kind lives in one."""
        resource = await self.cluster.discovery.resource(str(obj.get("apiVersion")), str(obj.get("kind")))
        meta = dict(obj.get("metadata") or {})
        if resource.namespaced:
            meta["namespace"] = meta.get("namespace") or self.namespace
        return {**obj, "metadata": meta}


def _meta(before: Json, obj: Json) -> Json:
    """The old object's metadata; who and where it is does not change."""
    same = {key: obj["metadata"][key] for key in ("name", "namespace") if key in obj["metadata"]}
    return {**(before.get("metadata") or {}), **same}


def _renamed(obj: Json) -> Json:
    """A hook under another name: Helm deletes the one that is there before it creates it."""
    meta = obj["metadata"]
    return {**obj, "metadata": {**meta, "name": f"{str(meta.get('name', 'hook'))[:52]}-rehearsal"}}
