"""Free ports on the loopback, and leading pods' ports to processes that listen there."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack

from dev.controlplane.api import Api


def free_ports(count: int) -> list[int]:
    """COUNT different ports of 127.0.0.1 that nobody listens on now; all are held until all are chosen."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def free_port() -> int:
    """One free port of 127.0.0.1."""
    return free_ports(1)[0]


def forward(api: Api, ports: Mapping[int, int]) -> None:
    """Lead port-forwards of all pods to 127.0.0.1: PORTS maps the pods' ports to the local ones.

    A second call replaces the first. A kwok that runs learns it by its watch.
    """
    forwards = [{"ports": [there], "target": {"address": "127.0.0.1", "port": here}} for there, here in ports.items()]
    api.apply(
        {
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "ClusterPortForward",
            "metadata": {"name": "everywhere"},
            "spec": {"forwards": forwards},
        }
    )
