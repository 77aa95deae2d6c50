"""Which path serves a kind: the API server's discovery, one group version at a time, remembered.

A kind that is not known yet is looked up again once, since a chart may just have installed its definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from bot.kube.failures import Call, NotFound, UnknownKind
from bot.kube.session import Session


@dataclass(frozen=True)
class Resource:
    """How a kind is served: ``plural`` under ``base``, in namespaces or not."""

    base: str
    group: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of the collection, of one object, or of its subresource."""
        parts = [self.base]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)

    def call(self, verb: str, namespace: str | None, name: str = "", subresource: str = "") -> Call:
        """What a request is, in RBAC's words."""
        resource = f"{self.plural}/{subresource}" if subresource else self.plural
        return Call(verb, resource, self.group, (namespace or "") if self.namespaced else "", name)


class Discovery:
    """Kind → resource, for one cluster."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[str, dict[str, Resource]] = {}

    async def resource(self, api_version: str, kind: str) -> Resource:
        """How ``kind`` is served. Raises UnknownKind when the cluster does not serve it."""
        found = self._known.get(api_version, {}).get(kind)
        if found is None:
            self._known[api_version] = await self._read(api_version)
            found = self._known[api_version].get(kind)
        if found is None:
            raise UnknownKind(
                f"The cluster serves no kind {kind} of {api_version}.",
                way_out="Install its CustomResourceDefinition, or check the version.",
            )
        return found

    async def _read(self, api_version: str) -> dict[str, Resource]:
        group = api_version.rpartition("/")[0]
        base = f"/apis/{api_version}" if group else f"/api/{api_version}"
        try:
            answer = await self._session.json(Call("get", base), "GET", base)
        except NotFound:
            return {}
        return {
            entry["kind"]: Resource(base, group, entry["name"], bool(entry["namespaced"]))
            for entry in answer.get("resources") or []
            if "/" not in entry["name"]
        }
