"""The nodes of a target's Qdrant: which pods are ready behind its Service, and a client for one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.engine.clients import TargetClients
from bot.errors import Permanent
from bot.services.qdrant import QdrantClient
from bot.settings import Target


def service_of(target: Target) -> str:
    """The Service in front of Qdrant."""
    return target.vector_store.service or f"{target.release}-qdrant"


async def ready_nodes(clients: TargetClients, target: Target) -> list[str]:
    """The ready pods behind the Service: a snapshot is one node's. Raises ``Permanent`` when there is none."""
    service = service_of(target)
    slices = await clients.cluster.list(
        "discovery.k8s.io/v1", "EndpointSlice", target.namespace, f"kubernetes.io/service-name={service}"
    )
    pods = {
        str((endpoint.get("targetRef") or {}).get("name"))
        for piece in slices
        for endpoint in piece.get("endpoints") or []
        if (endpoint.get("targetRef") or {}).get("kind") == "Pod"
        and (endpoint.get("conditions") or {}).get("ready", True)
    }
    if pods:
        return sorted(pods)
    if await clients.cluster.get("v1", "Service", service, target.namespace) is None:
        raise Permanent(
            f"There is no Service {service} in namespace {target.namespace}, so there is no Qdrant to snapshot.",
            way_out="Correct the target's vector_store, or say `vector_store: {kind: none}` if it has none.",
        )
    raise Permanent(
        f"No pod of Qdrant is ready behind Service {service}.",
        way_out="Nothing was changed; look at its pods, then retry.",
    )


@asynccontextmanager
async def node_at(
    clients: TargetClients, target: Target, pod: str, *, seconds: float = 600.0
) -> AsyncIterator[QdrantClient]:
    """A client of one node; ``seconds`` is how long one call may take."""
    async with clients.access.session(
        namespace=target.namespace, pod=pod, port=target.vector_store.port, seconds=seconds
    ) as http:
        yield QdrantClient(http, seconds=seconds)
