"""A release on the run's control plane, and the contexts that checks and step kinds are given, without the engine."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from bot.engine.clients import TargetClients
from bot.engine.contract import (
    CheckResult,
    Facts,
    Level,
    Outcome,
    Past,
    PlanContext,
    Reconciled,
    RunInfo,
    Shared,
    StepContext,
    StepKind,
    nothing_before,
)
from bot.fingerprints import Fingerprints
from bot.helm.charts import ChartSource
from bot.helm.client import Helm
from bot.helm.environment import HelmSettings
from bot.helm.flags import Wait
from bot.helm.models import Release, Revision
from bot.helm.releases import ReleaseStore
from bot.helm.repository import chart_repository
from bot.kube import Cluster, ServiceAccess, watch_rollout
from bot.kube.objects import ObjectRef
from bot.kube.probejob import Probes
from bot.settings import Target
from dev.charts import CHART, ChartRepository, light_values
from dev.controlplane import Running
from runbooks.reading import workloads
from runbooks.registry import Registry, shipped_registry

MINUTE = timedelta(minutes=1)
RELEASE = "aeterna"


@dataclass
class World:
    """One namespace with its clients; ``target`` may be replaced by a test."""

    target: Target
    clients: TargetClients
    repository: ChartRepository
    directory: Path
    registry: Registry = field(default_factory=shipped_registry)
    run: RunInfo = field(default_factory=lambda: RunInfo(f"r-{secrets.token_hex(4)}", "prod", "upgrade", {}, "U1"))
    said: list[str] = field(default_factory=list)
    past: Past = nothing_before
    _spoke: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def namespace(self) -> str:
        return self.target.namespace

    def configure(self, **changes: Any) -> None:
        """Another configuration of the target."""
        self.target = Target.model_validate({**self.target.model_dump(exclude={"components"}), **changes})

    def asking(self, runbook: str = "upgrade", **inputs: Any) -> None:
        """What the person asked for."""
        self.run = replace(self.run, runbook=runbook, inputs=inputs)

    def hear(self, text: str) -> None:
        """A step's progress."""
        self.said.append(text)
        self._spoke.set()

    async def until_said(self, part: str) -> None:
        """Wait until a step has said ``part`` as its progress."""
        while not any(part in text for text in self.said):
            self._spoke.clear()
            await self._spoke.wait()

    async def install(
        self, version: str, values: Mapping[str, Any] | None = None, *, settled: bool = True, description: str = ""
    ) -> Release:
        """Install or upgrade by Helm itself, as somebody else would."""
        chart = await self.clients.repository.pull(version, self.clients.charts)
        file = self.directory / f"by-hand-{secrets.token_hex(4)}.json"
        file.write_text(json.dumps(light_values() if values is None else values), encoding="utf-8")
        release = await self.clients.helm.upgrade(
            release=RELEASE,
            namespace=self.namespace,
            chart=chart.path,
            values=file,
            timeout=MINUTE,
            wait=Wait.HOOKS_ONLY,
            install=True,
            description=description,
        )
        if settled:
            await self.settled()
        return release

    @staticmethod
    async def next_second() -> None:
        """The API server tells in whole seconds when something was made: what comes now is seen to be later."""
        await asyncio.sleep(1.01 - time.time() % 1)

    async def settled(self) -> None:
        """Wait until everything of the newest revision runs."""
        refs = await workloads(await self.clients.releases.current(), self.namespace)
        result = await watch_rollout(self.clients.cluster, refs, deadline=90)
        assert result.ready, result.stuck

    async def plan(self, *names: str) -> dict[str, CheckResult]:
        """Several checks of one plan."""
        shared = Shared()
        workdir = self.directory / f"plan-{secrets.token_hex(4)}"
        workdir.mkdir()
        context = PlanContext(self.run, self.target, self.clients, workdir, shared, self.past)
        try:
            return {name: await self.registry.checks[name].check(context) for name in names}
        finally:
            await shared.close()

    async def check(self, name: str) -> CheckResult:
        """One check of a plan."""
        return (await self.plan(name))[name]

    async def facts(self, *names: str) -> dict[str, Any]:
        """The facts of a plan of these checks."""
        return {key: value for result in (await self.plan(*names)).values() for key, value in result.facts.items()}

    def context(self, plan: Facts | None = None, outcomes: Mapping[str, Facts] | None = None) -> StepContext:
        """What a step is given."""
        workdir = self.directory / f"run-{self.run.id}"
        workdir.mkdir(exist_ok=True)
        return StepContext(
            self.run,
            self.target,
            self.clients,
            workdir,
            plan or {},
            outcomes or {},
            progress=self.hear,
            past=self.past,
        )

    def kind(self, name: str) -> StepKind[Any]:
        return self.registry.steps[name]

    async def do(self, name: str, context: StepContext | None = None, **given: Any) -> Outcome:
        """One step, from its intent to its outcome."""
        kind, context = self.kind(name), context or self.context()
        params = kind.params.model_validate(given)
        return await kind.run(context, params, _stored(await kind.intend(context, params)))

    async def intent(self, name: str, context: StepContext, **given: Any) -> Facts:
        kind = self.kind(name)
        return _stored(await kind.intend(context, kind.params.model_validate(given)))

    async def reconcile(self, name: str, context: StepContext, intent: Facts, **given: Any) -> Reconciled:
        kind = self.kind(name)
        return await kind.reconcile(context, kind.params.model_validate(given), intent)

    async def history(self) -> list[Revision]:
        return await self.clients.releases.history()

    async def statuses(self) -> list[str]:
        """The revisions' states, oldest first."""
        return [one.status.value for one in await self.history()]

    async def leave_pending(
        self,
        status: str,
        *,
        description: str = "",
        labels: Mapping[str, str] | None = None,
        copy_of: int | None = None,
        begun: timedelta = timedelta(0),
    ) -> int:
        """The newest revision as a killed Helm leaves it, ``begun`` ago. Its number.

        It has the content of the newest one, or of ``copy_of``, as a rollback to that has.
        """
        current = await self.clients.releases.current()
        stored = await self._content(copy_of or current.revision)
        number = current.revision + 1
        stored["version"] = number
        stored["info"] |= {"status": status, "description": description}
        stored["info"]["last_deployed"] = (datetime.now(UTC) - begun).isoformat()
        own = {"owner": "helm", "name": RELEASE, "status": status, "version": str(number)}
        await self.clients.cluster.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "helm.sh/release.v1",
                "metadata": {
                    "name": _secret(number),
                    "namespace": self.namespace,
                    "labels": {**own, **(labels or {})},
                },
                "data": {"release": _packed(stored)},
            }
        )
        return number

    async def rewrite(self, number: int, added: str = "", *, old: str = "", new: str = "") -> None:
        """Another manifest in a revision's record: with ``added`` at its end, and ``new`` in the place of ``old``."""
        stored = await self._content(number)
        assert old in stored["manifest"], stored["manifest"]
        stored["manifest"] = stored["manifest"].replace(old, new) + added
        await self._put(number, {"data": {"release": _packed(stored)}})

    async def finish(self, number: int) -> None:
        """A pending revision comes to its good end."""
        stored = await self._content(number)
        stored["info"] |= {"status": "deployed", "description": "Upgrade complete"}
        labels = {"metadata": {"labels": {"status": "deployed"}}}
        await self._put(number, {"data": {"release": _packed(stored)}, **labels})

    async def forget(self, number: int) -> None:
        """A revision falls out of Helm's history."""
        await self.clients.cluster.delete(ObjectRef("v1", "Secret", _secret(number), self.namespace))

    async def _content(self, number: int) -> dict[str, Any]:
        (secret,) = await self.clients.cluster.secrets(self.namespace, f"owner=helm,name={RELEASE},version={number}")
        content: dict[str, Any] = json.loads(
            gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"])))
        )
        return content

    async def _put(self, number: int, patch: dict[str, Any]) -> None:
        await self.clients.cluster.patch(ObjectRef("v1", "Secret", _secret(number), self.namespace), patch)


def _secret(number: int) -> str:
    return f"sh.helm.release.v1.{RELEASE}.v{number}"


def _packed(stored: Mapping[str, Any]) -> str:
    return base64.b64encode(base64.b64encode(gzip.compress(json.dumps(stored).encode()))).decode()


def _stored(facts: Facts) -> Facts:
    """As the journal gives it back."""
    back: dict[str, Any] = json.loads(json.dumps(dict(facts)))
    return back


def texts(result: CheckResult, level: Level) -> list[str]:
    """The findings of one level."""
    return [one.text for one in result.findings if one.level is level]


def blockers(result: CheckResult) -> list[str]:
    return texts(result, Level.BLOCKER)


def warnings(result: CheckResult) -> list[str]:
    return texts(result, Level.WARNING)


@asynccontextmanager
async def world_of(
    *, cluster: Cluster, control_plane: Running, helm_program: Path, namespace: str, directory: Path
) -> AsyncIterator[World]:
    """Clients of a namespace, and a chart repository of its own. The target has no backends until a test gives it some."""
    helm = Helm(HelmSettings(program=helm_program, home=directory / "helm", kubeconfig=control_plane.kubeconfig))
    async with ChartRepository.running() as repository, aiohttp.ClientSession() as http:
        source = ChartSource(name=CHART, repo=repository.url)
        clients = TargetClients(
            helm=helm,
            releases=ReleaseStore(cluster, namespace=namespace, release=RELEASE),
            repository=chart_repository(source, http=http, helm=helm),
            cluster=cluster,
            access=ServiceAccess(cluster),
            charts=directory / "charts",
            fingerprints=Fingerprints("a token", scope="prod"),
            probes=Probes(cluster, namespace, image="registry.example/aeterna-bot:1.0.0"),
        )
        target = Target.model_validate(
            {
                "name": "prod",
                "namespace": namespace,
                "release": RELEASE,
                "chart": {"name": CHART, "repo": repository.url},
                "database": {"kind": "none"},
                "vector_store": {"kind": "none"},
            }
        )
        yield World(target, clients, repository, directory)
