"""A release with a store that has a volume: its snapshots, and the shipped runbook `recover-volumes` played step by step."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from bot.engine.clients import TargetClients
from bot.engine.contract import CheckResult, Facts, Outcome, Reconciled, Step, StepContext
from bot.kube import Json, ObjectRef, ServiceAccess, watch_rollout
from bot.kube.rebinding import until
from bot.kube.snapshots import API
from runbooks.checks.volumes import VolumesRecovery
from runbooks.library import RunbookLibrary
from runbooks.registry import shipped_registry
from tests.cluster.emergency_world import EmergencyWorld
from tests.cluster.kube_objects import stateful_set

STORE, CLAIM = "StatefulSet/aeterna-qdrant", "data-aeterna-qdrant-0"
SPEC: Json = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
IMAGE = "docker.io/qdrant/qdrant:v1.15.1"


class VolumeWorld(EmergencyWorld):
    """What becomes of a snapshot is said by its name and annotations: dev/kwok/snapshots.yaml."""

    @property
    def clients(self) -> TargetClients:
        return replace(super().clients, access=ServiceAccess(self.cluster))

    async def stored(self, *, replicas: int = 1, **spec: Any) -> str:
        """Qdrant's StatefulSet with a volume each, and its Service. The first one's volume."""
        store = stateful_set(self.namespace, name="aeterna-qdrant", image=IMAGE, replicas=replicas, claim=SPEC)
        store["spec"] |= spec
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "aeterna-qdrant", "namespace": self.namespace},
            "spec": {"selector": {"app": "aeterna-qdrant"}, "ports": [{"port": 6333}]},
        }
        self.install(store, service)
        await self.running()
        return str((await self.claim(CLAIM))["spec"]["volumeName"])

    async def running(self) -> None:
        result = await watch_rollout(self.cluster, [self.ref(STORE)], deadline=60)
        assert result.ready, result

    async def gone(self) -> None:
        """The store is taken to zero by hand, and its pods are gone."""
        await self.scale_by_hand(STORE, 0)
        assert await until(self.cluster, self.pod(), lambda obj: obj is None, seconds=30)

    def pod(self, number: int = 0) -> ObjectRef:
        return ObjectRef("v1", "Pod", f"aeterna-qdrant-{number}", self.namespace)

    async def snapshot(self, name: str, *, claim: str = CLAIM, ready: bool = True, **annotations: str) -> None:
        """A VolumeSnapshot; ``throwaway-world/size`` is its ``size``."""
        meta: Json = {"name": name, "namespace": self.namespace}
        meta["annotations"] = {f"throwaway-world/{key}": value for key, value in annotations.items()}
        spec = {"source": {"persistentVolumeClaimName": claim}}
        await self.cluster.create({"apiVersion": API, "kind": "VolumeSnapshot", "metadata": meta, "spec": spec})
        if ready:
            assert await until(self.cluster, self.snapshot_ref(name), _is_ready, seconds=30)

    def snapshot_ref(self, name: str) -> ObjectRef:
        return ObjectRef(API, "VolumeSnapshot", name, self.namespace)

    def claim_ref(self, name: str = CLAIM) -> ObjectRef:
        return ObjectRef("v1", "PersistentVolumeClaim", name, self.namespace)

    async def claim(self, name: str = CLAIM) -> Json:
        found = await self.cluster.get_ref(self.claim_ref(name))
        assert found is not None, name
        return found

    async def volume(self, name: str) -> Json:
        found = await self.cluster.get("v1", "PersistentVolume", name)
        assert found is not None, name
        return found

    async def let_go(self) -> str:
        """The store stands still, and its claim is deleted by hand; the volume, which is retained, is Released."""
        name = str((await self.claim())["spec"]["volumeName"])
        ref = ObjectRef("v1", "PersistentVolume", name)
        await self.cluster.patch(ref, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}})
        await self.gone()
        await self.cluster.delete(self.claim_ref())
        assert await until(self.cluster, ref, lambda obj: (obj or {})["status"]["phase"] == "Released", seconds=30)
        assert await until(self.cluster, self.claim_ref(), lambda obj: obj is None, seconds=30)
        return name

    def another_run(self) -> None:
        self.run = replace(self.run, id=f"r-{secrets.token_hex(4)}")

    # -- what is done -----------------------------------------------------------------------------------------

    async def plan(self, claim: str = "", source: str = "") -> CheckResult:
        given = {name: value for name, value in (("claim", claim), ("from", source)) if value}
        return await VolumesRecovery().check(self.plan_context(**given))

    def steps(self) -> tuple[Step, ...]:
        """Those of the shipped runbook, but for the verification, which asks Helm."""
        library = RunbookLibrary(shipped_registry())
        return tuple(step for step in library.parse(library.text("recover-volumes")).steps if step.id != "verify")

    def step_context(self, plan: Facts, outcomes: dict[str, Facts]) -> StepContext:
        return replace(self.context(plan), outcomes=outcomes)

    async def play(self, plan: Facts, *, until_step: str = "", **given: dict[str, Any]) -> dict[str, Outcome]:
        """The steps in order, up to one; ``given`` has the parameters of some. A step that fails raises."""
        done: dict[str, Outcome] = {}
        for step in self.steps():
            if step.id == until_step:
                break
            outcomes = {name: outcome.facts for name, outcome in done.items()}
            scope = {"inputs": {}, "plan": plan, "outcomes": outcomes}
            if step.skipped(scope):
                continue
            context, params = self.step_context(plan, outcomes), step.kind.params.model_validate(given.get(step.id, {}))
            intent = json.loads(json.dumps(dict(await step.kind.intend(context, params))))
            done[step.id] = await step.kind.run(context, params, intent)
        return done

    async def reconcile(self, plan: Facts, step_id: str) -> Reconciled:
        step = next(step for step in self.steps() if step.id == step_id)
        context, params = self.step_context(plan, {}), step.kind.params.model_validate({})
        intent = json.loads(json.dumps(dict(await step.kind.intend(context, params))))
        return await step.kind.reconcile(context, params, intent)

    @asynccontextmanager
    async def stuck_pod(self) -> AsyncIterator[None]:
        """The store's pod cannot end: a finalizer holds it."""
        await self.cluster.patch(self.pod(), {"metadata": {"finalizers": ["example.org/stuck"]}})
        try:
            yield
        finally:
            await self.cluster.patch(self.pod(), {"metadata": {"finalizers": None}})


def _is_ready(snapshot: Json | None) -> bool:
    return bool(((snapshot or {}).get("status") or {}).get("readyToUse"))
