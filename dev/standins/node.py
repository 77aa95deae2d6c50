"""A stand-in for the kubelet, for the probe's pods alone: it really runs their program, as a process of this machine.

Environment from Secrets, the status of pod and container, and the log are as a kubelet makes them. Not played: the image (its
Python is ours), security contexts, limits, probes, more than one container. A ConfigMap ``standin-hosts`` of the namespace
(key ``hosts``, lines of ``NAME:PORT IP:PORT``) says where names lead; ``NAME.NAMESPACE.svc`` leads to the other stand-ins.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from dev.controlplane.kwok import TAGS, in_cri_format
from dev.standins.watch import RETRY_SECONDS, WATCH_SECONDS, read_kubeconfig

Json = dict[str, Any]
LABEL: Final = "aeterna-bot.io/probe"
HOSTS: Final = "standin-hosts"
_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_PROGRAM: Final = ["python", "-P", "-m"]
_UNPULLED: Final = re.compile(TAGS["@PULL_TAGS@"])
_AGAIN_SECONDS: Final = 1.0
"""Between two tries to make a container whose configuration was not there."""
_STRATEGIC: Final = "application/strategic-merge-patch+json"

_log = logging.getLogger(__name__)


class _NotMadeError(Exception):
    """The container cannot be made; the text is the kubelet's."""


class ProbeNode:
    """Plays the probe's pods of all namespaces; see ``playing``. ``ports`` are the other stand-ins' by the pods' ports."""

    def __init__(self, http: aiohttp.ClientSession, logs: Path, ports: Mapping[str, int]) -> None:
        self._http = http
        self._logs = logs
        self._ports = ports
        self._pods: dict[str, asyncio.Task[None]] = {}

    @classmethod
    @asynccontextmanager
    async def playing(cls, kubeconfig: Path, ports: Mapping[str, int]) -> AsyncIterator[Self]:
        """Until the block ends. Programs that still run are killed then."""
        with tempfile.TemporaryDirectory(prefix="standin-node-") as logs:
            async with read_kubeconfig(kubeconfig).session() as http:
                node = cls(http, Path(logs), ports)
                following = asyncio.create_task(node._follow(), name="standins: watch the probe's pods")
                try:
                    yield node
                finally:
                    for task in (following, *node._pods.values()):
                        task.cancel()
                    await asyncio.gather(following, *node._pods.values(), return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            try:
                listed = await self._call("GET", "/api/v1/pods", params={"labelSelector": LABEL})
                for pod in listed["items"]:
                    self._take(pod)
                await self._watch(str(listed["metadata"]["resourceVersion"]))
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                _log.info("watch of the probe's pods lost, listing again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _watch(self, version: str) -> None:
        query = {"labelSelector": LABEL, "watch": "1", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS)}
        async with self._http.get("/api/v1/pods", params=query) as response:
            response.raise_for_status()
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ValueError(event["object"].get("message", "watch error"))
                self._take(event["object"], gone=event["type"] == "DELETED")

    def _take(self, pod: Json, *, gone: bool = False) -> None:
        """Begin with a pod that was given to a node, or kill what it runs when it is to go."""
        meta = pod["metadata"]
        uid = str(meta["uid"])
        if gone or "deletionTimestamp" in meta:
            if (task := self._pods.pop(uid, None)) is not None:
                task.cancel()
            return
        waits = pod["status"].get("phase") == "Pending" and "containerStatuses" not in pod["status"]
        unpulled = any(_UNPULLED.search(container["image"]) for container in pod["spec"]["containers"])
        if uid not in self._pods and waits and not unpulled and pod["spec"].get("nodeName"):
            self._pods[uid] = asyncio.create_task(self._play(pod), name=f"standins: {meta['name']}")

    async def _play(self, pod: Json) -> None:
        try:
            environment = await self._configured(pod)
            log = await self._keep_log(pod)
            await self._say(pod, "Running", {"running": {"startedAt": _now()}})
            code, output = await self._run(pod, environment)
            log.write_text(in_cri_format(output))
            ended = {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": _now()}
            await self._say(pod, "Failed" if code else "Succeeded", {"terminated": ended})
        except (aiohttp.ClientError, OSError) as error:
            _log.info("the pod %s is not played to its end: %s", pod["metadata"]["name"], error)

    async def _configured(self, pod: Json) -> dict[str, str]:
        """The container's variables, as soon as all of them can be had; meanwhile the status says what is missing."""
        said = ""
        while True:
            try:
                return await self._environment(pod)
            except _NotMadeError as error:
                if str(error) != said:
                    said = str(error)
                    await self._say(
                        pod, "Pending", {"waiting": {"reason": "CreateContainerConfigError", "message": said}}
                    )
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _environment(self, pod: Json) -> dict[str, str]:
        """Raises ``_NotMadeError`` in the kubelet's words (pkg/kubelet/kubelet_pods.go)."""
        namespace, found = pod["metadata"]["namespace"], {}
        for variable in pod["spec"]["containers"][0].get("env", ()):
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
            if reference is None:
                found[variable["name"]] = str(variable.get("value", ""))
                continue
            secret = await self._object(f"/api/v1/namespaces/{namespace}/secrets/{reference['name']}")
            if secret is None:
                raise _NotMadeError(f'secret "{reference["name"]}" not found')
            if (value := (secret.get("data") or {}).get(reference["key"])) is None:
                raise _NotMadeError(f"couldn't find key {reference['key']} in Secret {namespace}/{reference['name']}")
            found[variable["name"]] = base64.b64decode(value).decode()
        return found

    async def _run(self, pod: Json, environment: Mapping[str, str]) -> tuple[int, str]:
        """Exit code and output of the program; it is killed when the pod goes."""
        command = list(pod["spec"]["containers"][0].get("command", ()))
        if command[: len(_PROGRAM)] != _PROGRAM:
            return 128, "this stand-in runs only `python -P -m …`\n"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", str(Path(__file__).with_name("container.py")), *command[len(_PROGRAM) :]),
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "PYTHONPATH": str(_CHECKOUT),
                "STANDIN_HOSTS": json.dumps(await self._hosts(pod["metadata"]["namespace"], command)),
                **environment,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        return process.returncode or 0, output.decode(errors="replace")

    async def _hosts(self, namespace: str, command: list[str]) -> dict[str, str]:
        """Where names lead: the ConfigMap's, and a Service's ports that the other stand-ins play."""
        options = dict(
            part.removeprefix("--").split("=", 1) for part in command if part.startswith("--") and "=" in part
        )
        host, port = options.get("host", ""), options.get("port", "")
        table = {}
        if re.search(r"\.svc(\.cluster\.local)?$", host) and port in self._ports:
            table[f"{host}:{port}"] = f"127.0.0.1:{self._ports[port]}"
        told = await self._object(f"/api/v1/namespaces/{namespace}/configmaps/{HOSTS}") or {}
        lines = str((told.get("data") or {}).get("hosts", "")).splitlines()
        return table | dict(line.split() for line in lines if line.strip())

    async def _keep_log(self, pod: Json) -> Path:
        """An empty log, known to kwok before the program starts: it learns of it by a watch."""
        meta = pod["metadata"]
        log = self._logs / f"{meta['uid']}.log"
        log.touch()
        owner = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        names = {"name": meta["name"], "namespace": meta["namespace"], "ownerReferences": [owner]}
        body = {
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "Logs",
            "metadata": names,
            "spec": {"logs": [{"logsFile": str(log)}]},
        }
        await self._call("POST", f"/apis/kwok.x-k8s.io/v1alpha1/namespaces/{meta['namespace']}/logs", body=body)
        return log

    async def _say(self, pod: Json, phase: str, state: Json) -> None:
        """The pod's status with the state of its one container."""
        meta, container = pod["metadata"], pod["spec"]["containers"][0]
        ready = "True" if phase == "Running" else "False"
        told = {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": phase == "Running",
            "restartCount": 0,
            "state": state,
        }
        conditions = [
            {"type": kind, "status": ready, "lastTransitionTime": _now()} for kind in ("Ready", "ContainersReady")
        ]
        status = {"phase": phase, "startTime": _now(), "containerStatuses": [told], "conditions": conditions}
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status"
        await self._call("PATCH", path, body={"metadata": {"uid": meta["uid"]}, "status": status}, kind=_STRATEGIC)

    async def _object(self, path: str) -> Json | None:
        try:
            return await self._call("GET", path)
        except aiohttp.ClientResponseError as error:
            if error.status == 404:
                return None
            raise

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
        kind: str = "application/json",
    ) -> Json:
        data = None if body is None else json.dumps(body)
        async with self._http.request(method, path, params=params, data=data, headers={"Content-Type": kind}) as answer:
            answer.raise_for_status()
            return dict(await answer.json())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
