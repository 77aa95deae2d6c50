"""The other way to upgrade: the guide's commands, typed by a script that does not think in between.

The same steps on the same chart by the same Helm and kubectl, each started as soon as the one before has ended. HTTP is
spoken by Python itself where a person would start curl, which is in the script's favour.
"""

from __future__ import annotations

import contextlib
import difflib
import http.client
import json
import os
import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RELEASE = "aeterna"
WORKLOADS = (
    "deployment/aeterna",
    "deployment/aeterna-dragonfly",
    "deployment/aeterna-cedar-agent",
    "deployment/aeterna-opal-fetcher",
    "statefulset/aeterna-opal-server",
    "statefulset/aeterna-qdrant",
)
_LISTENS = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)")
_BACKUP = """\
apiVersion: postgresql.cnpg.io/v1
kind: Backup
metadata: {{name: {name}}}
spec: {{cluster: {{name: aeterna-cnpg}}, method: barmanObjectStore}}
"""


@dataclass
class Guide:
    """One person at one keyboard. ``home`` is Helm's, kept from one upgrade to the next. Blocking."""

    helm: Path
    kubectl: Path
    kubeconfig: Path
    home: Path
    repository: str
    took: dict[str, float] = field(default_factory=dict)
    """Seconds of each part of the last upgrade."""

    def prepare(self) -> None:
        """What was done long ago: the repository is known to Helm."""
        self.home.mkdir(exist_ok=True)
        self._run(self.helm, "repo", "add", "aeterna", self.repository, "--force-update")

    def upgrade(self, namespace: str, *, version: str, app_version: str) -> float:
        """From the first command to the proof that it is healthy, in seconds. Raises on the first thing that is wrong."""
        self.took = {}
        began = time.monotonic()
        values = self.home / f"{namespace}.yaml"
        with self._part("look"):
            self._run(self.helm, "list", "--namespace", namespace)
            values.write_text(self._run(self.helm, "get", "values", RELEASE, "--namespace", namespace, "-o", "yaml"))
        with self._part("repo update"):
            self._run(self.helm, "repo", "update")
        change = ("upgrade", RELEASE, "aeterna/aeterna", "--namespace", namespace, "--version", version)
        with self._part("dry run"):
            self._run(self.helm, *change, "--values", str(values), "--dry-run=server")
        with self._part("backup"):
            self._back_up(namespace)
        with self._part("snapshot"):
            self._snapshot(namespace)
        with self._part("upgrade"):
            self._run(self.helm, *change, "--values", str(values))
        with self._part("rollout"):
            for workload in WORKLOADS:
                self._run(self.kubectl, "--namespace", namespace, "rollout", "status", workload)
        with self._part("test"):
            self._run(self.helm, "test", RELEASE, "--namespace", namespace, "--logs")
        with self._part("verify"):
            self._verify(namespace, app_version)
        return time.monotonic() - began

    def look(self, namespace: str, *, version: str) -> float:
        """What there is to look at before an upgrade: Helm's rehearsal, then what would change in the manifest, in seconds.

        The second as helm-diff does it: the manifest as it is, the chart rendered, and the difference.
        """
        began = time.monotonic()
        values = self.home / f"{namespace}.yaml"
        values.write_text(self._run(self.helm, "get", "values", RELEASE, "--namespace", namespace, "-o", "yaml"))
        chart = (RELEASE, "aeterna/aeterna", "--namespace", namespace, "--version", version, "--values", str(values))
        self._run(self.helm, "upgrade", *chart, "--dry-run=server")
        now = self._run(self.helm, "get", "manifest", RELEASE, "--namespace", namespace)
        then = self._run(self.helm, "template", *chart, "--is-upgrade")
        _demand(bool(list(difflib.unified_diff(now.splitlines(), then.splitlines()))), "the versions do not differ")
        return time.monotonic() - began

    def rollback(self, namespace: str, *, revision: int) -> float:
        """The three commands of going back: Helm until everything is ready, each workload's rollout, the chart's tests."""
        self.took = {}
        began = time.monotonic()
        with self._part("rollback"):
            self._run(self.helm, "rollback", RELEASE, str(revision), "--namespace", namespace, "--wait")
        with self._part("rollout"):
            for workload in WORKLOADS:
                self._run(self.kubectl, "--namespace", namespace, "rollout", "status", workload)
        with self._part("test"):
            self._run(self.helm, "test", RELEASE, "--namespace", namespace, "--logs")
        return time.monotonic() - began

    def _back_up(self, namespace: str) -> None:
        name = f"by-hand-{uuid.uuid4().hex[:8]}"
        self._run(self.kubectl, "--namespace", namespace, "apply", "-f", "-", typed=_BACKUP.format(name=name))
        done = "--for=jsonpath={.status.phase}=completed"
        self._run(self.kubectl, "--namespace", namespace, "wait", done, f"backup/{name}", "--timeout=60s")

    def _snapshot(self, namespace: str) -> None:
        with self._forward(namespace, "service/aeterna-qdrant", 6333) as ports:
            for collection in _ask(ports[6333], "GET", "/collections")["result"]["collections"]:
                path = f"/collections/{collection['name']}/snapshots"
                made = _ask(ports[6333], "POST", path)["result"]["name"]
                listed = [one["name"] for one in _ask(ports[6333], "GET", path)["result"]]
                _demand(made in listed, f"snapshot {made} is not listed")

    def _verify(self, namespace: str, app_version: str) -> None:
        with self._forward(namespace, "service/aeterna", 8080, 9090) as ports:
            api = ports[8080]
            _demand(_ask(api, "GET", "/ready")["status"] == "ready", "not ready")
            _demand(_ask(api, "GET", "/health")["version"] == app_version, "not the version")
            _demand("http_requests_total" in _text(ports[9090], "GET", "/metrics"), "no metrics")
            content = f"smoke-{uuid.uuid4().hex}"
            added = _ask(api, "POST", "/api/v1/memory/add", {"content": content, "layer": "project"})["memoryId"]
            found = _ask(api, "POST", "/api/v1/memory/search", {"query": content, "limit": 10})["items"]
            _demand(any(item["id"] == added for item in found), "the memory is not found")
            _ask(api, "DELETE", f"/api/v1/memory/{added}", {"layer": "project"})

    @contextlib.contextmanager
    def _part(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.took[name] = time.monotonic() - began

    def _run(self, program: Path, *arguments: str, typed: str | None = None) -> str:
        done = subprocess.run(
            [str(program), *arguments],
            env=self._environment(),
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )
        _demand(done.returncode == 0, f"{program.name} {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    @contextlib.contextmanager
    def _forward(self, namespace: str, what: str, *ports: int) -> Iterator[dict[int, int]]:
        """Local ports by the pod's ports, for as long as the block runs."""
        command = [str(self.kubectl), "--namespace", namespace, "port-forward", "--address", "127.0.0.1", what]
        process = subprocess.Popen(
            [*command, *(f":{port}" for port in ports)],
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            found: dict[int, int] = {}
            assert process.stdout is not None
            for line in process.stdout:
                if match := _LISTENS.match(line):
                    found[int(match[2])] = int(match[1])
                if len(found) == len(ports):
                    break
            _demand(len(found) == len(ports), f"port-forward to {what} ended")
            yield found
        finally:
            process.terminate()
            process.communicate()

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig)}


def _ask(port: int, method: str, path: str, body: object = None) -> Any:
    return json.loads(_text(port, method, path, body))


def _text(port: int, method: str, path: str, body: object = None) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {"Content-Type": "application/json"} if sent else {})
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    _demand(answer.status < 300, f"{method} {path}: {answer.status} {text[:300]}")
    return text


def _demand(true: bool, otherwise: str) -> None:
    if not true:
        raise RuntimeError(otherwise)
