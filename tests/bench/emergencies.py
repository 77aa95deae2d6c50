"""Emergencies: from the tap that confirms a scale-down in an incident channel until the API server has taken the last scale.

Next to a bare aiohttp client that sends the same patches of the same kind of workloads, 32 at once, in turns; and next to
`kubectl scale --all`, measured on fifty. The end of ours is the journal's end of the step, which comes after the last answer.
In favour of ours: its connections are still open from planning, and it asks for less of each answer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import yaml

from bot.kube.holding import Held
from dev import configuration
from dev.controlplane import Running
from dev.slack import Limits, SlackChannel, SlackWorkspace
from dev.toolchain import Toolchain
from tests.bench.figures import Figure, compared
from tests.bench.journal import JournalFile, Run
from tests.bench.place import OURS, Place, Side, say

SIZES = (10, 500)
TURNS = {10: 7, 500: 3}
BY_HAND = 50
LIMIT, FASTER = 1.5, 40.0
AT_ONCE = 32
CAROL, CHANNEL = "carol", "inc-bench"
NOTE = "/metadata/annotations/bench.example~1held"
_JSON, _MERGE = "application/json-patch+json", "application/merge-patch+json"


async def measure(place: Place) -> AsyncIterator[Figure]:
    """The figures of emergencies; neither bot of the place has to be connected."""
    async for figure in measured(place.cluster, place.toolchain, place.directory / "emergencies"):
        yield figure


async def measured(cluster: Running, toolchain: Toolchain, directory: Path) -> AsyncIterator[Figure]:
    """On any control plane; ``directory`` is made."""
    await asyncio.to_thread(directory.mkdir)
    crowds = {size: Crowd(cluster, f"crowd-{size}", size) for size in (*SIZES, BY_HAND)}
    for crowd in crowds.values():
        say(f"making {crowd.size} Deployments")
        await crowd.make()
    async with _our_bot(cluster, toolchain, directory, [crowds[size] for size in SIZES]) as side:
        journal = JournalFile(side.directory / "state" / "aeterna-bot.sqlite")
        ours: dict[int, list[float]] = {size: [] for size in SIZES}
        for size in SIZES:
            bare: list[float] = []
            for turn in range(TURNS[size] + 1):  # the first is not counted: everything is opened in it
                for mine in (True, False)[:: -1 if turn % 2 else 1]:
                    await crowds[size].raise_again()
                    took = await (_ours(side, journal, crowds[size]) if mine else crowds[size].scaled_by_bare_client())
                    if turn:
                        (ours[size] if mine else bare).append(took)
                say(f"{size}, turn {turn}: ours {_last(ours[size])}, bare {_last(bare)}")
            yield compared(f"emergency_scale_down_{size}", ours[size], bare, limit=LIMIT, unit="ms", scale=1000)
    by_hand = await asyncio.to_thread(crowds[BY_HAND].scaled_by_kubectl, toolchain.path("kubectl"))
    say(f"kubectl scale --all of {BY_HAND}: {by_hand:.2f} s")
    largest = max(SIZES)
    times = by_hand * largest / BY_HAND / median(ours[largest])
    yield Figure(f"emergency_{largest}_faster_than_kubectl", times, None, FASTER, "least", "×")


@dataclass(frozen=True)
class Crowd:
    """Deployments of one pod each that nobody schedules, in a namespace of their own."""

    cluster: Running
    namespace: str
    size: int

    @property
    def names(self) -> list[str]:
        return [f"crowd-{number:03}" for number in range(self.size)]

    async def make(self) -> None:
        async with self._client() as ask:
            await ask("POST", "/api/v1/namespaces", _named(self.namespace, kind="Namespace"), "application/json")
            await _all(self.names, lambda name: ask("POST", self._path(), self._deployment(name), "application/json"))

    async def raise_again(self) -> None:
        """One pod each, no notes, and the controllers at rest."""
        annotations = {"aeterna-bot.io/held": None, "bench.example/held": None}
        again = {"metadata": {"annotations": annotations}, "spec": {"replicas": 1}}
        async with self._client() as ask:
            await _all(self.names, lambda name: ask("PATCH", f"{self._path()}/{name}", again, _MERGE))
            while any(one["status"].get("replicas") != 1 for one in await self._all_of(ask)):  # noqa: ASYNC110
                await asyncio.sleep(0.3)  # the controllers are other processes
        await asyncio.sleep(0.5)

    async def scaled_by_bare_client(self) -> float:
        """The same two patches of each, without a bot. Seconds."""
        async with self._client() as ask:
            seen = {one["metadata"]["name"]: one["metadata"]["uid"] for one in await self._all_of(ask)}
        note = Held(1, 0, "k3x9k3x9", CAROL, "2026-03-09T18:02:00", component="crowd").text()
        async with self._client() as ask:  # a client that was not there before, as in an emergency

            async def one(name: str) -> None:
                patch = [
                    {"op": "test", "path": "/metadata/uid", "value": seen[name]},
                    {"op": "test", "path": "/spec/replicas", "value": 1},
                    {"op": "add", "path": NOTE, "value": note},
                ]
                await ask("PATCH", f"{self._path()}/{name}", patch, _JSON)
                await ask("PATCH", f"{self._path()}/{name}/scale", {"spec": {"replicas": 0}}, _MERGE)

            began = time.monotonic()
            await _all(self.names, one)
            return time.monotonic() - began

    def scaled_by_kubectl(self, kubectl: Path) -> float:
        """As somebody types it. Seconds."""
        environment = {"KUBECONFIG": str(self.cluster.kubeconfig), "HOME": str(self.cluster.kubeconfig.parent)}
        command = [str(kubectl), "--namespace", self.namespace, "scale", "deployment", "--all", "--replicas=0"]
        began = time.monotonic()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return time.monotonic() - began

    def target(self, repository: str) -> dict[str, Any]:
        """As the configuration names it: one component of all of them."""
        workloads = [f"Deployment/{name}" for name in self.names]
        component = {"workloads": workloads, "stops": "Nothing that anybody would miss."}
        return configuration.target(
            name=self.namespace,
            namespace=self.namespace,
            repository=repository,
            channels=[],
            components={"crowd": component},
            **configuration.LIGHT,
        )

    def _path(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments"

    def _deployment(self, name: str) -> dict[str, Any]:
        pod = {"schedulerName": "nobody", "containers": [{"name": "main", "image": "main"}]}
        template = {"metadata": {"labels": {"app": name}}, "spec": pod}
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
        return {**_named(name, kind="Deployment", api_version="apps/v1"), "spec": spec}

    async def _all_of(self, ask: Callable[..., Awaitable[Any]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await ask("GET", self._path()))["items"]
        return found

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
        """A client with connections of its own."""
        connector = aiohttp.TCPConnector(ssl=_tls(self.cluster.kubeconfig))
        async with aiohttp.ClientSession(connector=connector) as http:

            async def ask(method: str, path: str, body: Any = None, content_type: str = _MERGE) -> Any:
                data = None if body is None else json.dumps(body)
                headers = {"Content-Type": content_type}
                async with http.request(method, self.cluster.server + path, data=data, headers=headers) as answer:
                    answer.raise_for_status()
                    return await answer.json() if method == "GET" else await answer.read()

            yield ask


async def _ours(side: Side, journal: JournalFile, crowd: Crowd) -> float:
    """Asked for in an incident channel; the time runs from the tap in the dialog."""
    slack, before = side.slack, journal.count()
    await slack.command(CAROL, CHANNEL, f"emergency scale-down --target {crowd.namespace}")
    await slack.wait_until(lambda seen: (seen.modal or {}).get("callback_id") == "confirm", timeout=60)
    tapped = time.time()
    await slack.submit_view(CAROL, {})
    await journal.quiet(within=120, runs=before + 1)
    run: Run = journal.newest(crowd.namespace, "emergency-scale-down")
    step = run.steps[0]
    if run.state != "succeeded" or step.ended is None:
        raise RuntimeError(f"run {run.id} ended as {run.state}: {run.note}\n{slack.transcript(CHANNEL)}")
    began = (step.started or 0) - tapped
    say(f"ours of {crowd.size}: {began:.3f} s until the step, {step.ended - tapped:.3f} s until its end")
    return step.ended - tapped


@contextlib.asynccontextmanager
async def _our_bot(
    cluster: Running, toolchain: Toolchain, directory: Path, crowds: Iterable[Crowd]
) -> AsyncIterator[Side]:
    channels = [SlackChannel("C0INCBENCH", CHANNEL)]
    program = toolchain.path("local-slack")
    async with SlackWorkspace.running(program=program, channels=channels, limits=Limits.unhurried()) as slack:
        # a copy of each: what two targets share would be written as an alias
        targets = [json.loads(json.dumps(crowd.target("http://127.0.0.1:9"))) for crowd in crowds]
        file = configuration.write(directory, targets=targets, helm=toolchain.path("helm"))
        environment = configuration.environment(slack=slack, kubeconfig=cluster.kubeconfig, file=file)
        side = Side(slack, environment, directory, OURS)
        async with side.connected():
            yield side


async def _all(names: list[str], work: Callable[[str], Awaitable[Any]]) -> None:
    waiting = iter(names)

    async def worker() -> None:
        for name in waiting:
            await work(name)

    await asyncio.gather(*(worker() for _ in range(min(AT_ONCE, len(names)))))


def _named(name: str, *, kind: str, api_version: str = "v1") -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}


def _tls(kubeconfig: Path) -> ssl.SSLContext:
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(base64.b64decode(user["client-certificate-data"]))
        file.write(base64.b64decode(user["client-key-data"]))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _last(seconds: list[float]) -> str:
    return f"{seconds[-1]:.3f} s" if seconds else "–"
