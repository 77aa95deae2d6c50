"""Kubernetes: the session, watches, rollouts and their reasons, capacity, and the way to a pod's port.

Objects go in and out as JSON dicts; nothing of the ``kubernetes`` package is seen outside this folder. The
package itself is imported only when a cluster is connected (about 10 MiB and 0.3 s), and only for
reading kubeconfigs and credentials: the calls are plain aiohttp.
"""

from __future__ import annotations

from bot.kube.access import ServiceAccess
from bot.kube.cluster import Cluster
from bot.kube.failures import Conflict, Invalid, NotFound, UnknownKind
from bot.kube.objects import Json, ObjectRef
from bot.kube.rollout import RolloutProgress, RolloutResult, watch_rollout
from bot.kube.watching import WatchEvent

__all__ = [
    "Cluster",
    "Conflict",
    "Invalid",
    "Json",
    "NotFound",
    "ObjectRef",
    "RolloutProgress",
    "RolloutResult",
    "ServiceAccess",
    "UnknownKind",
    "WatchEvent",
    "watch_rollout",
]
