"""What a release consists of, as people speak of it in an emergency: a server, an agent, a database.

``SHIPPED`` describes Aeterna's charts; another release needs another description in the configuration, not other code. Which
way a workload is stopped and started again is the business of ``bot.kube``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Component(BaseModel):
    """One component of the release. Workloads and CronJobs are names in which ``{release}`` is filled in.

    ``needs`` says in which order components go down (who needs another one first) and come back (the other one first).
    ``minimum`` is what `emergency scale-down` leaves of each workload; what is `data` it leaves alone altogether.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = ""
    workloads: tuple[Annotated[str, Field(pattern=r"^[A-Z]\w*/.+$")], ...] = ()
    cron_jobs: tuple[str, ...] = ()
    server: bool = False  # its pods answer the verify probes
    stops: str = ""
    needs: tuple[str, ...] = ()
    minimum: Annotated[int, Field(ge=0)] = 0
    data: bool = False
    permanent: dict[str, Any] = Field(default_factory=dict)

    def members(self, release: str) -> tuple[str, ...]:
        """``Kind/name`` of everything that it consists of."""
        named = (*self.workloads, *(f"CronJob/{name}" for name in self.cron_jobs))
        return tuple(name.format(release=release) for name in named)


SHIPPED: dict[str, dict[str, Any]] = {
    # facts of the charts 0.1.0 to 0.8.0-rc.12, whose selectors and names never change
    "server": {
        "title": "Aeterna's server",
        "workloads": ["Deployment/{release}"],
        "cron_jobs": ["{release}-github-sync"],
        "server": True,
        "stops": "The API, MCP and every memory function stop answering.",
        "needs": ["postgres", "qdrant", "dragonfly", "cedar-agent"],
        "minimum": 1,
        "permanent": {"aeterna.enabled": False},
    },
    "okta-proxy": {
        "title": "the login by Okta",
        "workloads": ["Deployment/{release}-okta-proxy"],
        "stops": "Nobody gets in through the Ingress that asks for a login by Okta.",
        "needs": ["server"],
        "minimum": 1,
        "permanent": {"okta.enabled": False},
    },
    "cedar-agent": {
        "title": "the policy decisions",
        "workloads": ["Deployment/{release}-cedar-agent"],
        "stops": "Authorisation denies every request.",
        "needs": ["opal-server"],
        "minimum": 1,
        "permanent": {"opal.cedarAgent.enabled": False},
    },
    "opal-fetcher": {
        "title": "what brings the data of policies from the database to the agent",
        "workloads": ["Deployment/{release}-opal-fetcher"],
        "stops": "Changes of users, roles and tenants no longer reach authorisation.",
        "needs": ["cedar-agent", "postgres"],
        "permanent": {"opal.fetcher.enabled": False},
    },
    "opal-server": {
        "title": "what brings policies to the agent",
        "workloads": ["StatefulSet/{release}-opal-server"],
        "stops": "Policies are no longer updated, and an agent that starts anew gets none and denies every request.",
        "needs": ["dragonfly"],
        # okta stands behind opal: the chart does not render with okta on and opal off
        "permanent": {"opal.enabled": False},
    },
    "postgres": {
        "title": "the database",
        "workloads": ["Cluster/{release}-cnpg"],
        "cron_jobs": ["{release}-backup", "{release}-backup-verify"],
        "stops": "Nothing can be read or stored; the server and the migrations fail.",
        "needs": ["postgres-operator"],
        "data": True,
    },
    "postgres-operator": {
        "title": "the operator of the database",
        "workloads": ["Deployment/{release}-cnpg"],
        "stops": "The database gets no failover, no backup and no change; what runs goes on.",
        "minimum": 1,
        "data": True,
    },
    "qdrant": {
        "title": "the vector store",
        "workloads": ["StatefulSet/{release}-qdrant"],
        "stops": "No memory can be searched or added.",
        "data": True,
    },
    "dragonfly": {
        "title": "the cache and the broker between the parts",
        "workloads": ["Deployment/{release}-dragonfly", "Dragonfly/{release}-dragonfly"],
        "stops": "Caching, queues and the exchange between replicas stop.",
        "data": True,
    },
}


def with_shipped(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The shipped description with what a configuration says, key by key."""
    merged: dict[str, Any] = dict(SHIPPED)
    for name, entry in (given or {}).items():
        merged[name] = {**SHIPPED.get(name, {}), **entry} if isinstance(entry, Mapping) else entry
    return merged


def check_needs(components: Mapping[str, Component]) -> None:
    """Raises ``ValueError`` for a need that is no component, and for a circle of needs."""
    for name, component in components.items():
        for needed in component.needs:
            if needed not in components:
                raise ValueError(f"the component {name} needs {needed!r}, which is no component")
    try:
        stages(components, components)
    except CycleError as error:
        raise ValueError(f"components need each other in a circle: {' → '.join(error.args[1])}") from error


def stages(components: Mapping[str, Component], names: Iterable[str]) -> list[list[str]]:
    """``names`` in the order in which they come back, those of one stage at once: what is needed comes first.

    What no description knows needs everything that one knows.
    """
    sorter = TopologicalSorter({name: set(component.needs) for name, component in components.items()})
    sorter.prepare()
    wanted, found = list(dict.fromkeys(names)), []
    while sorter.is_active():
        ready = sorter.get_ready()
        sorter.done(*ready)
        found.append([name for name in wanted if name in ready])
    found.append([name for name in wanted if name not in components])
    return [stage for stage in found if stage]


def needed_by(components: Mapping[str, Component], name: str) -> list[str]:
    """Who needs the component itself."""
    return [other for other, component in components.items() if name in component.needs]
