"""A real Kubernetes control plane on this machine's loopback, with kwok in the place of kubelets.

`ControlPlane` starts it in this process's care; `python -m dev.controlplane` is the same as a process of its own.
`forward` leads the pods' ports to local processes; `user_kubeconfig` makes a kubeconfig for anybody.
"""

from dev.controlplane.api import Api, ApiError
from dev.controlplane.certificates import user_kubeconfig
from dev.controlplane.plane import ControlPlane, ControlPlaneError, Running
from dev.controlplane.ports import forward, free_port, free_ports

__all__ = [
    "Api",
    "ApiError",
    "ControlPlane",
    "ControlPlaneError",
    "Running",
    "forward",
    "free_port",
    "free_ports",
    "user_kubeconfig",
]
