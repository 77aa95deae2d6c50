"""One cluster as one identity: objects in and out as JSON, watches, logs, and what this identity may do.

Reads raise Temporary when the server is away and are safe to ask again; a mutation whose answer was lost is
OutcomeUnknown. Nothing is cached but which path serves a kind.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Literal, TypeAlias

import aiohttp

from bot.kube.discovery import Discovery
from bot.kube.failures import Call, NotFound
from bot.kube.objects import Json, ObjectRef, ref_of, unmanaged
from bot.kube.session import Session
from bot.kube.watching import Watcher, WatchEvent, list_all

FIELD_MANAGER = "aeterna-bot"
METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


Objects: TypeAlias = list[Json]


class Cluster:
    """A connected cluster. Close it; open watches end with it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.discovery = Discovery(session)

    @classmethod
    async def connect(
        cls,
        *,
        kubeconfig: Path | None,
        context: str | None,
        as_user: str | None = None,
        as_groups: Sequence[str] = (),
    ) -> Cluster:
        """Read the credentials (see ``Session.open``); the server is first asked by the first call."""
        return cls(await Session.open(kubeconfig=kubeconfig, context=context, as_user=as_user, as_groups=as_groups))

    async def close(self) -> None:
        await self.session.close()

    async def __aenter__(self) -> Cluster:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def in_cluster(self) -> bool:
        """Whether we run as a pod of this very cluster, so that pods and Services are reached directly."""
        return self.session.in_cluster

    @property
    def server(self) -> str:
        """The API server's address."""
        return self.session.server

    async def server_version(self) -> str:
        """The API server's ``gitVersion``, such as ``v1.37.2``."""
        answer = await self.session.json(Call("get", "/version"), "GET", "/version")
        return str(answer.get("gitVersion", ""))

    async def get(
        self, api_version: str, kind: str, name: str, namespace: str | None = None, *, metadata_only: bool = False
    ) -> Json | None:
        """The object, or None when it is not there. Raises UnknownKind when the cluster has no such kind.

        With ``metadata_only`` it has its metadata and nothing else: a definition's schema alone can be half a megabyte.
        """
        resource = await self.discovery.resource(api_version, kind)
        accept = METADATA.format("") if metadata_only else "application/json"
        call, path = resource.call("get", namespace, name), resource.path(namespace, name)
        try:
            return await self.session.json(call, "GET", path, accept=accept)
        except NotFound:
            return None

    async def get_ref(self, ref: ObjectRef) -> Json | None:
        """As ``get``, by reference."""
        return await self.get(ref.api_version, ref.kind, ref.name, ref.namespace or None)

    async def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        *,
        metadata_only: bool = False,
        managers: bool = False,
    ) -> Objects:
        """Every matching object, page by page; all namespaces without ``namespace``.

        Without ``managers`` their managed fields are left out. With ``metadata_only`` they have no spec, status or data
        either: much less to send and to hold.
        """
        resource = await self.discovery.resource(api_version, kind)
        items, _ = await list_all(
            self.session,
            resource.call("list", namespace),
            resource.path(namespace),
            _selectors(label_selector, field_selector),
            accept=METADATA.format("List") if metadata_only else "application/json",
        )
        kept = items if managers else map(unmanaged, items)
        return [item | {"apiVersion": api_version, "kind": kind} for item in kept]

    async def create(
        self,
        obj: Json,
        *,
        dry_run: bool = False,
        field_manager: str = FIELD_MANAGER,
        on_warning: Callable[[str], None] | None = None,
    ) -> Json:
        """Create ``obj``. Raises Conflict (``already_exists``) when there is one of that name.

        What the server drops or warns of goes to ``on_warning``.
        """
        ref = ref_of(obj)
        resource = await self.discovery.resource(ref.api_version, ref.kind)
        namespace = ref.namespace or None
        return await self.session.json(
            resource.call("create", namespace, ref.name),
            "POST",
            resource.path(namespace),
            params=_writing(field_manager, dry_run=dry_run),
            body=obj,
            dry_run=dry_run,
            on_warning=on_warning,
        )

    async def delete(
        self,
        ref: ObjectRef,
        *,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
        uid: str | None = None,
        grace_seconds: int | None = None,
    ) -> bool:
        """Delete it; False when it was not there. With ``uid`` only that very object, else Conflict."""
        resource = await self.discovery.resource(ref.api_version, ref.kind)
        namespace = ref.namespace or None
        body: Json = {"propagationPolicy": propagation}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        try:
            await self.session.json(
                resource.call("delete", namespace, ref.name),
                "DELETE",
                resource.path(namespace, ref.name),
                body=body,
            )
        except NotFound:
            return False
        return True

    async def patch(
        self,
        ref: ObjectRef,
        body: object,
        content_type: str = MERGE_PATCH,
        *,
        subresource: str | None = None,
        dry_run: bool = False,
        field_manager: str = FIELD_MANAGER,
        on_warning: Callable[[str], None] | None = None,
    ) -> Json:
        """Patch it in the given manner (``MERGE_PATCH``, ``JSON_PATCH``, ``STRATEGIC_PATCH``).

        What the server drops or warns of goes to ``on_warning``.
        """
        resource = await self.discovery.resource(ref.api_version, ref.kind)
        namespace = ref.namespace or None
        return await self.session.json(
            resource.call("patch", namespace, ref.name, subresource or ""),
            "PATCH",
            resource.path(namespace, ref.name, subresource),
            params=_writing(field_manager, dry_run=dry_run),
            body=body,
            content_type=content_type,
            dry_run=dry_run,
            on_warning=on_warning,
        )

    async def scale(self, ref: ObjectRef, replicas: int) -> None:
        """Set the number of replicas by the ``scale`` subresource. Repeating it changes nothing."""
        await self.patch(ref, {"spec": {"replicas": replicas}}, subresource="scale")

    async def apply(
        self,
        obj: Json,
        *,
        dry_run: bool,
        field_manager: str = FIELD_MANAGER,
        force: bool = False,
        strict: bool = False,
        on_warning: Callable[[str], None] | None = None,
    ) -> Json:
        """Server-side apply; gives the object as the server has it, or would have it with ``dry_run``.

        Raises Invalid with the fields that the server does not accept (with ``strict`` also those that it does not
        know), and Conflict with the fields that another manager owns when ``force`` is not set. Deprecations and
        the like go to ``on_warning``.
        """
        ref = ref_of(obj)
        resource = await self.discovery.resource(ref.api_version, ref.kind)
        namespace = ref.namespace or None
        params = {"fieldManager": field_manager, "force": "true" if force else "false"}
        params |= {"fieldValidation": "Strict"} if strict else {}
        return await self.session.json(
            resource.call("patch", namespace, ref.name),
            "PATCH",
            resource.path(namespace, ref.name),
            params=params | ({"dryRun": "All"} if dry_run else {}),
            body=obj,
            content_type=APPLY_PATCH,
            dry_run=dry_run,
            on_warning=on_warning,
        )

    async def watch(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[WatchEvent, None]:
        """Every change from now on, beginning with what is there (``ADDED`` each, then ``SYNCED``), without
        a gap.

        Never ends by itself and outlives an API server that is away; bound it with ``asyncio.timeout``
        around the loop, and close it (``contextlib.aclosing``) when leaving early.
        """
        watcher = Watcher(
            self.session,
            self.discovery,
            api_version,
            kind,
            namespace=namespace,
            params=_selectors(label_selector, field_selector),
        )
        async with aclosing(watcher.events()) as events:
            async for event in events:
                yield event

    async def pod_logs(
        self,
        namespace: str,
        pod: str,
        container: str | None = None,
        *,
        tail_lines: int | None = 50,
        previous: bool = False,
    ) -> str:
        """The last lines of a container's log; ``previous`` is the one before its last restart.

        Raises NotFound when the pod is gone and Invalid when the container has no log yet.
        """
        params = {
            "container": container or "",
            "tailLines": str(tail_lines) if tail_lines is not None else "",
        }
        params["previous"] = "true" if previous else ""
        return await self.session.text(
            Call("get", "pods/log", "", namespace, pod),
            "GET",
            f"/api/v1/namespaces/{namespace}/pods/{pod}/log",
            params={key: value for key, value in params.items() if value},
        )

    async def can_i(
        self,
        verb: str,
        resource: str,
        group: str = "",
        namespace: str | None = None,
        *,
        subresource: str = "",
        name: str = "",
    ) -> bool:
        """Whether this identity may do it (SelfSubjectAccessReview)."""
        asked = {
            "verb": verb,
            "resource": resource,
            "group": group,
            "namespace": namespace or "",
            "subresource": subresource,
            "name": name,
        }
        answer = await self.session.json(
            Call("get", "selfsubjectaccessreviews", "authorization.k8s.io"),
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            body={
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
            },
        )
        return bool((answer.get("status") or {}).get("allowed"))

    async def secrets(self, namespace: str, label_selector: str, *, metadata_only: bool = False) -> Objects:
        """The namespace's matching Secrets (``data`` in base64, as the API gives it)."""
        return await self.list("v1", "Secret", namespace, label_selector, metadata_only=metadata_only)

    async def port_forward(self, namespace: str, pod: str, port: int) -> aiohttp.ClientWebSocketResponse:
        """An open WebSocket to the pod's port in Kubernetes' channel framing; ``bot.kube.access`` reads
        it.
        """
        return await self.session.websocket(
            # A WebSocket begins as a GET, and since 1.35 the right to create is asked for as well.
            Call("create", "pods/portforward", "", namespace, pod, also=("get",)),
            f"/api/v1/namespaces/{namespace}/pods/{pod}/portforward?ports={port}",
            protocol="v4.channel.k8s.io",
        )


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    params = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in params.items() if value}


def _writing(field_manager: str, *, dry_run: bool) -> dict[str, str]:
    return {"fieldManager": field_manager} | ({"dryRun": "All"} if dry_run else {})
