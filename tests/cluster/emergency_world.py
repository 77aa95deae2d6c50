"""A release without Helm: workloads that carry its mark, and the plan and the steps of an emergency on them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from bot.engine.clients import TargetClients
from bot.engine.contract import CheckResult, Facts, Outcome, PlanContext, Reconciled, RunInfo, Shared, StepContext
from bot.helm.releases import ReleaseStore
from bot.kube import Cluster, Json, ObjectRef
from bot.kube.cluster import MERGE_PATCH
from bot.kube.failures import UnknownKind
from bot.kube.holding import ANNOTATION, KINDS
from bot.kube.objects import annotations_of
from bot.settings import Target
from bot.store.records import PastStep, StepRecord, StepState
from dev.controlplane import Api
from runbooks.checks.components import HoldPlan
from runbooks.checks.held import HeldDown, RestorePlan
from runbooks.steps.common import Params
from runbooks.steps.components import ComponentsHold, ComponentsSettle, SettleParams
from runbooks.steps.restore import ComponentsRestore, RestoreParams
from tests.cluster.kube_objects import deployment, stateful_set

RELEASE = "aeterna"
CRDS = Path(__file__).parents[2] / "dev" / "crds"
COMPONENTS: dict[str, Any] = {
    "server": {"cron_jobs": ["{release}-sync"], "minimum": 1},
    "opal-server": {"minimum": 0},
}


class EmergencyWorld:
    """One namespace; ``past`` is what a journal would remember, newest first."""

    def __init__(self, *, cluster: Cluster, api: Api, namespace: str, directory: Path) -> None:
        self.cluster = cluster
        self.api = api
        self.namespace = namespace
        self.directory = directory
        self.past: list[PastStep] = []
        self.said: list[str] = []
        self._heard = asyncio.Event()
        self.run = RunInfo(f"r-{secrets.token_hex(4)}", "prod", "emergency", {}, "U1")
        self.components: dict[str, Any] = COMPONENTS

    @property
    def target(self) -> Target:
        return Target.model_validate(
            {
                "name": "prod",
                "namespace": self.namespace,
                "release": RELEASE,
                "chart": {"path": "chart"},
                "components": self.components,
            }
        )

    @property
    def clients(self) -> TargetClients:
        """Emergencies need the cluster alone; who looks at Helm finds no release."""
        nothing: Any = None
        return TargetClients(
            helm=nothing,
            releases=ReleaseStore(self.cluster, namespace=self.namespace, release=RELEASE),
            repository=nothing,
            cluster=self.cluster,
            access=nothing,
            charts=self.directory,
            fingerprints=nothing,
            probes=nothing,
        )

    # -- what is there ----------------------------------------------------------------------------------------

    def install(self, *objects: Json) -> None:
        """Applies objects as Helm leaves them."""
        for obj in objects:
            meta = obj["metadata"]
            mark = {"meta.helm.sh/release-name": RELEASE, "meta.helm.sh/release-namespace": self.namespace}
            marked = {**obj, "metadata": {**meta, "annotations": {**mark, **(meta.get("annotations") or {})}}}
            self.api.apply(marked)

    def usual(self) -> None:
        """A server with three pods, an agent, and what brings it policies."""
        self.install(
            deployment(self.namespace, name="aeterna", replicas=3),
            deployment(self.namespace, name="aeterna-cedar-agent", replicas=2),
            stateful_set(self.namespace, name="aeterna-opal-server", replicas=2),
        )

    async def get(self, subject: str) -> Json:
        obj = await self.cluster.get_ref(self.ref(subject))
        assert obj is not None, subject
        return obj

    def ref(self, subject: str) -> ObjectRef:
        kind, _, name = subject.partition("/")
        return KINDS[kind].ref(name, self.namespace)

    async def replicas(self, *subjects: str) -> list[int]:
        return [int((await self.get(subject))["spec"].get("replicas", 1)) for subject in subjects]

    async def note(self, subject: str) -> str:
        return annotations_of(await self.get(subject)).get(ANNOTATION, "")

    async def until(self, subject: str, true: Callable[[Json], bool]) -> Json:
        """The object as soon as it is so; somebody else's controller writes it."""
        ref = self.ref(subject)
        watched = self.cluster.watch(
            ref.api_version, ref.kind, self.namespace, field_selector=f"metadata.name={ref.name}"
        )
        async with asyncio.timeout(30), aclosing(watched) as events:
            async for event in events:
                if event.type != "SYNCED" and true(event.object):
                    return event.object
        raise AssertionError("a watch does not end")

    async def hears(self, part: str) -> None:
        """Until a step has said something with this in it."""
        async with asyncio.timeout(30):
            while not any(part in text for text in self.said):
                self._heard.clear()
                await self._heard.wait()

    def _say(self, text: str) -> None:
        self.said.append(text)
        self._heard.set()

    async def told(self, subject: str, status: Json) -> None:
        """What the controller of a custom resource would write into its status."""
        await self.cluster.patch(self.ref(subject), {"status": status}, MERGE_PATCH, subresource="status")

    async def scale_by_hand(self, subject: str, replicas: int) -> None:
        await self.cluster.scale(self.ref(subject), replicas)

    # -- what is done -----------------------------------------------------------------------------------------

    def plan_context(self, **inputs: Any) -> PlanContext:
        run = replace(self.run, inputs=inputs)
        return PlanContext(run, self.target, self.clients, self.directory, Shared(), past=self.remember)

    def context(self, plan: Facts, *, excepted: Sequence[str] = ()) -> StepContext:
        run = replace(self.run, excepted=tuple(excepted))
        return StepContext(run, self.target, self.clients, self.directory, plan, {}, self._say, past=self.remember)

    async def remember(self, *uses: str) -> list[PastStep]:
        return [entry for entry in self.past if entry.step.uses in uses]

    async def plan_hold(self, component: str | None = None, **inputs: Any) -> CheckResult:
        given = {"component": component} if component else {}
        return await HoldPlan().check(self.plan_context(**given, **inputs))

    async def plan_restore(self, component: str | None = None, **inputs: Any) -> CheckResult:
        given = {"component": component} if component else {}
        return await RestorePlan().check(self.plan_context(**given, **inputs))

    async def hold(self, component: str | None = None, *, excepted: Sequence[str] = (), **inputs: Any) -> Outcome:
        """Plans it and does it, as an emergency of a run of its own."""
        plan = await self.plan_hold(component, **inputs)
        return await self.take_down(plan.facts, excepted=excepted)

    async def take_down(self, plan: Facts, *, excepted: Sequence[str] = ()) -> Outcome:
        self.run = replace(self.run, id=f"r-{secrets.token_hex(4)}")
        kind, context = ComponentsHold(), self.context(plan, excepted=excepted)
        intent = await kind.intend(context, Params())
        self._record(kind.name, intent, None)
        outcome = await kind.run(context, Params(), intent)
        self._record(kind.name, intent, outcome)
        return outcome

    async def settle(self, outcome: Outcome, **given: Any) -> Outcome:
        """What follows a scale-down."""
        kind, params = ComponentsSettle(), SettleParams(**given)
        context = replace(self.context({}), outcomes={"hold": outcome.facts})
        return await kind.run(context, params, await kind.intend(context, params))

    async def restore(self, component: str | None = None, **inputs: Any) -> Outcome:
        plan = await self.plan_restore(component, **inputs)
        return await self.bring_back(plan.facts)

    async def bring_back(self, plan: Facts, **given: Any) -> Outcome:
        self.run = replace(self.run, id=f"r-{secrets.token_hex(4)}")
        kind, context, params = ComponentsRestore(), self.context(plan), RestoreParams(**given)
        intent = await kind.intend(context, params)
        self._record(kind.name, intent, None)
        outcome = await kind.run(context, params, intent)
        self._record(kind.name, intent, outcome)
        return outcome

    async def reconcile_hold(self, plan: Facts) -> Reconciled:
        context = self.context(plan)
        return await ComponentsHold().reconcile(context, Params(), await ComponentsHold().intend(context, Params()))

    async def reconcile_restore(self, plan: Facts) -> Reconciled:
        context, params = self.context(plan), RestoreParams()
        intent = await ComponentsRestore().intend(context, params)
        return await ComponentsRestore().reconcile(context, params, intent)

    async def held_down(self, **inputs: Any) -> CheckResult:
        return await HeldDown().check(self.plan_context(**inputs))

    def _record(self, uses: str, intent: Facts, outcome: Outcome | None) -> None:
        """As the journal has it: an intent first, then the same step with its outcome."""
        if self.past and self.past[0].run == self.run.id:
            self.past.pop(0)
        state = StepState.RUNNING if outcome is None else StepState.DONE
        told = None if outcome is None else {"summary": outcome.summary, "facts": dict(outcome.facts)}
        record = StepRecord(1, "hold", uses, uses, state, intent=intent, outcome=told, started_at=datetime.now(UTC))
        self.past.insert(0, PastStep(self.run.id, "emergency", self.run.requested_by, record))


def autoscaler(namespace: str, subject: str, *, least: int, most: int, owner: Json | None = None) -> Json:
    """``owner`` is the object that made it and sets it back."""
    kind, _, name = subject.partition("/")
    target = {"apiVersion": "apps/v1", "kind": kind, "name": name}
    meta: Json = {"name": name, "namespace": namespace}
    if owner is not None:
        of = {key: owner["metadata"][key] for key in ("name", "uid")}
        meta["ownerReferences"] = [of | {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True}]
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta,
        "spec": {"scaleTargetRef": target, "minReplicas": least, "maxReplicas": most},
    }


def cron_job(namespace: str, name: str) -> Json:
    container = {"name": "main", "image": "main"}
    pod = {"restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"schedule": "0 2 * * *", "jobTemplate": {"spec": {"template": {"spec": pod}}}},
    }


async def define(api: Api, cluster: Cluster, name: str) -> None:
    """Installs one of the definitions of ``dev/crds`` and waits until it is served."""
    document = yaml.safe_load((CRDS / f"{name}.yaml").read_text())
    api.apply(document)
    named = f"metadata.name={document['metadata']['name']}"
    watched = cluster.watch("apiextensions.k8s.io/v1", "CustomResourceDefinition", field_selector=named)
    async with aclosing(watched) as events:
        async for event in events:
            conditions = (event.object.get("status") or {}).get("conditions") or []
            if any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
                break
    version = f"{document['spec']['group']}/{document['spec']['versions'][0]['name']}"
    async with asyncio.timeout(30):
        while not await _served(cluster, version, document["spec"]["names"]["kind"]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # discovery follows a little later and has no event


async def _served(cluster: Cluster, api_version: str, kind: str) -> bool:
    try:
        await cluster.discovery.resource(api_version, kind)
    except UnknownKind:
        return False
    return True
