"""Starts etcd, the API server, the controller manager, the scheduler and kwok, and takes them away again.

Everything listens on 127.0.0.1 and everything written is in one directory. Nothing is kept: the end is a kill.
"""

from __future__ import annotations

import atexit
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from dev.controlplane import kwok
from dev.controlplane.api import Api, ApiError
from dev.controlplane.certificates import Authority
from dev.controlplane.children import Children
from dev.controlplane.ports import forward, free_ports

START_SECONDS = 60.0


class ControlPlaneError(Exception):
    """The control plane did not come up or a part of it died; the text ends with that part's last lines."""


class ProgramFinder(Protocol):
    """What we need of a Toolchain."""

    def path(self, name: str) -> Path:
        """The program NAME."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A control plane that answers."""

    kubeconfig: Path
    server: str
    directory: Path
    process_ids: dict[str, int]
    standins: dict[str, int] | None
    """The stand-ins' local ports by the pods' ports, and `control`; None if they were not asked for."""

    def to_json(self) -> str:
        """One line that `from_json` reads."""
        return json.dumps(asdict(self) | {"kubeconfig": str(self.kubeconfig), "directory": str(self.directory)})

    @classmethod
    def from_json(cls, text: str) -> Running:
        """What another process's `to_json` says."""
        content = json.loads(text)
        paths = {name: Path(content[name]) for name in ("kubeconfig", "directory")}
        return cls(**(content | paths))


class ControlPlane:
    """One control plane, as a context manager.

    `directory` is made and removed by us; left out, it is a temporary one. `forwards` leads pod ports in every
    namespace to ports of 127.0.0.1 (`{8080: 41234}`); the function `forward` does it later.
    With `standins`, dev.standins is started too and the pods' ports lead to it. Enter it on the main thread, for its
    processes end with the thread that started them.
    """

    def __init__(
        self,
        toolchain: ProgramFinder,
        directory: Path | None = None,
        *,
        forwards: Mapping[int, int] | None = None,
        standins: bool = False,
    ) -> None:
        self._toolchain = toolchain
        self._directory = directory
        self._forwards = dict(forwards or {})
        self._standins = standins
        self._children: Children | None = None

    def __enter__(self) -> Running:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Running:
        """Come up, or raise ControlPlaneError and leave nothing."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="throwaway-cluster-"))
        self._directory.mkdir(parents=True, exist_ok=True)
        self._children = Children(self._directory)
        atexit.register(self.stop)
        try:
            return _Start(self._toolchain, self._directory, self._children).run(self._forwards, standins=self._standins)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill everything and remove the directory; may be called again."""
        if self._children is not None:
            self._children.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        atexit.unregister(self.stop)

    def ended(self) -> str | None:
        """A sentence about a part that died by itself; None while all is well."""
        return self._children.ended() if self._children is not None else None


class _Start:
    """The one way up, in order; each part is started as soon as what it waits for is there."""

    def __init__(self, toolchain: ProgramFinder, directory: Path, children: Children) -> None:
        self._programs = toolchain
        self._directory = directory
        self._children = children
        (directory / "certificates").mkdir(exist_ok=True)
        self._authority = Authority.create(directory / "certificates")
        self._etcd, self._peer, self._secure, self._kubelet = free_ports(4)
        self._server = f"https://127.0.0.1:{self._secure}"

    def run(self, forwards: Mapping[int, int], *, standins: bool) -> Running:
        """Everything up and answering."""
        self._start_etcd()
        self._start_api_server()
        kubeconfig = self._authority.kubeconfig(
            self._directory / "admin.kubeconfig", self._server, "admin", "system:masters"
        )
        configuration = kwok.write_configuration(self._directory)
        definitions = kwok.definitions()
        ports = _standins_ports() if standins else {}
        api = Api(kubeconfig)
        self._wait("the API server", lambda: api.raw("GET", "/readyz") == "ok")
        self._start_controllers(kubeconfig)
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(api.apply, definitions))
            list(pool.map(lambda one: api.apply(one, status=one["kind"] == "Node"), kwok.first_objects()))
        self._wait("the definitions", lambda: _published(api, definitions))
        if standins:
            self._start_standins(kubeconfig, ports)
        # Before kwok looks for the first time: it may answer a while from the rules that it saw then.
        if rule := {int(port): here for port, here in ports.items() if port.isdigit()} | dict(forwards):
            forward(api, rule)
        self._start_kwok(kubeconfig, configuration)
        self._wait("the nodes", lambda: _nodes_ready(api))
        self._wait(
            "the default service account", lambda: _exists(api, "/api/v1/namespaces/default/serviceaccounts/default")
        )
        if standins:
            self._wait("the stand-ins", lambda: "}\n" in self._children.output("standins"))
        return Running(
            kubeconfig=kubeconfig,
            server=self._server,
            directory=self._directory,
            process_ids=self._children.identifiers(),
            standins=ports if standins else None,
        )

    def _start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self._etcd}", f"http://127.0.0.1:{self._peer}"
        self._children.start(
            "etcd",
            [
                self._programs.path("etcd"),
                f"--data-dir={self._directory / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--unsafe-no-fsync",
                "--log-level=warn",
            ],
        )

    def _start_api_server(self) -> None:
        certificate, key = self._authority.server("kube-apiserver")
        kubelet_certificate, kubelet_key = self._authority.client_files(
            "kubelet-client", "kube-apiserver", "system:masters"
        )
        _, account_key = self._authority.client_files("service-accounts", "service-accounts", None)
        self._children.start(
            "kube-apiserver",
            [
                self._programs.path("kube-apiserver"),
                f"--etcd-servers=http://127.0.0.1:{self._etcd}",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                f"--secure-port={self._secure}",
                f"--cert-dir={self._directory / 'certificates'}",
                f"--tls-cert-file={certificate}",
                f"--tls-private-key-file={key}",
                f"--client-ca-file={self._authority.certificate}",
                f"--kubelet-certificate-authority={self._authority.certificate}",
                f"--kubelet-client-certificate={kubelet_certificate}",
                f"--kubelet-client-key={kubelet_key}",
                "--kubelet-preferred-address-types=InternalIP",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={account_key}",
                f"--service-account-signing-key-file={account_key}",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=RBAC",
                "--endpoint-reconciler-type=none",
                "--allow-privileged=true",
                "--profiling=false",
                # Nobody may wait for a throwaway server's open watches.
                "--shutdown-delay-duration=0s",
            ],
        )

    def _start_controllers(self, kubeconfig: Path) -> None:
        common = [
            f"--kubeconfig={kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            # The defaults (20 and 30 a second) are made for clusters that live longer.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]
        self._children.start(
            "kube-controller-manager",
            [
                self._programs.path("kube-controller-manager"),
                *common,
                "--controllers=*,-node-ipam-controller",
                f"--root-ca-file={self._authority.certificate}",
                f"--service-account-private-key-file={self._directory / 'certificates' / 'service-accounts.key'}",
            ],
        )
        self._children.start("kube-scheduler", [self._programs.path("kube-scheduler"), *common])

    def _start_kwok(self, kubeconfig: Path, configuration: Path) -> None:
        certificate, key = self._authority.server("kwok")
        self._children.start(
            "kwok",
            [
                self._programs.path("kwok"),
                f"--kubeconfig={kubeconfig}",
                f"--config={configuration}",
                "--enable-crds=Logs,ClusterPortForward",
                "--manage-all-nodes",
                # Without leases the nodes turn NotReady after 45 s and every pod loses Ready.
                "--node-lease-duration-seconds=40",
                "--node-ip=127.0.0.1",
                f"--node-port={self._kubelet}",
                f"--server-address=127.0.0.1:{self._kubelet}",
                f"--tls-cert-file={certificate}",
                f"--tls-private-key-file={key}",
            ],
        )

    def _start_standins(self, kubeconfig: Path, ports: Mapping[str, int]) -> None:
        """It imports much, so it is started early and waited for at the end."""
        checkout = Path(__file__).resolve().parents[2]
        start = f"import sys, runpy; sys.path.insert(0, {str(checkout)!r}); "
        start += "runpy.run_module('dev.standins', None, '__main__')"
        options = [f"--port-{name}={port}" for name, port in ports.items()]
        command = [sys.executable, "-c", start, f"--kubeconfig={kubeconfig}", *options]
        self._children.start("standins", command)

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        """Ask READY every 30 ms until it is true; raises ControlPlaneError when a part dies or time is up."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            why = "no answer yet"
            try:
                if ready():
                    return
            except (ApiError, OSError) as error:
                why = str(error)
            if ended := self._children.ended():
                raise ControlPlaneError(ended)
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"{what} did not become ready in {START_SECONDS:.0f} s: {why}")
            time.sleep(0.03)


def _standins_ports() -> dict[str, int]:
    """A free port for each that the stand-ins play, by the name that they give it."""
    from dev.standins.running import CONTROL, POD_PORTS  # a second of imports, spent while the API server starts

    names = [*map(str, POD_PORTS), CONTROL]
    return dict(zip(names, free_ports(len(names)), strict=True))


def _published(api: Api, definitions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every definition is in the published schema: later than Established, and what kwok starts from."""
    groups: dict[str, set[str]] = {}
    for spec in (definition["spec"] for definition in definitions):
        for version in spec["versions"]:
            groups.setdefault(f"{spec['group']}/{version['name']}", set()).add(spec["names"]["plural"])
    published = api.get("/openapi/v3")["paths"]
    if not all(f"apis/{group}" in published for group in groups):
        return False
    for group, plurals in groups.items():
        paths = api.get(f"/openapi/v3/apis/{group}")["paths"]
        if not plurals <= {path.rpartition("/")[2] for path in paths}:
            return False
    return True


def _nodes_ready(api: Api) -> bool:
    nodes = api.get("/api/v1/nodes")["items"]
    return all(
        any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"].get("conditions") or [])
        # The node controller takes this taint away when it has seen the node ready.
        and not any(one["key"].startswith("node.kubernetes.io/") for one in node["spec"].get("taints") or [])
        for node in nodes
    )


def _exists(api: Api, path: str) -> bool:
    api.get(path)
    return True
