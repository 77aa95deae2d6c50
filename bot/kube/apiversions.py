"""API versions of a manifest that the cluster does not serve or will stop serving, and what chart and Helm demand.

The cluster is asked by discovery and by the ``Warning`` headers of its answers; what Kubernetes will remove stands in
``removals.yaml``. Custom resources say by their definitions which of their versions are deprecated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

from bot.errors import BotError, Temporary, UserMistake
from bot.kube.cluster import METADATA, Cluster
from bot.kube.constraints import allows, normalised
from bot.kube.failures import UnknownKind
from bot.kube.findings import FindingLevel, KubeFinding, ordered, unseen
from bot.kube.objects import Json, ref_of

SOON = 2
"""A removal within so many minor versions is a warning; a later one is only told."""
AT_ONCE = 16


@dataclass(frozen=True)
class Removal:
    """``kind`` of ``version`` is not served from Kubernetes 1.``minor`` on; ``use`` is empty where nothing replaces it."""

    version: str
    kind: str
    minor: int
    use: str


@dataclass(frozen=True)
class Removals:
    """The table, and where it is from."""

    source: str
    entries: tuple[Removal, ...]


@cache
def known_removals() -> Removals:
    """``removals.yaml``, read once."""
    said = yaml.safe_load(resources.files("bot.kube").joinpath("removals.yaml").read_text("utf-8"))
    return Removals(
        said["source"],
        tuple(
            Removal(row["version"], kind, int(row["gone"].partition(".")[2]), row.get("use", ""))
            for row in said["removals"]
            for kind in row["kinds"]
        ),
    )


async def api_findings(
    cluster: Cluster,
    objects: Sequence[Json],
    namespace: str,
    *,
    kube_version: str = "",
    chart_api_version: str = "v2",
    helm_version: str = "",
) -> list[KubeFinding]:
    """Everything about versions: what is not served, what goes away, the chart's and Helm's demands.

    ``objects`` are the new manifest's with its hooks; ``kube_version`` is Chart.yaml's constraint, ``helm_version``
    the program's. Definitions in the chart's ``crds/`` do not count as there: Helm does not install them on upgrades.
    Raises Temporary when the API server is away.
    """
    server, (unserved, warned) = await asyncio.gather(cluster.server_version(), _asked(cluster, objects, namespace))
    return ordered(
        [
            *unserved_findings(unserved, objects, server),
            *removal_findings(objects, server, namespace),
            *warned,
            *kube_version_findings(kube_version, server, helm_version=helm_version),
            *helm_findings(helm_version, chart_api_version),
        ]
    )


def unserved_findings(
    unserved: Iterable[tuple[str, str]], objects: Iterable[Json], server_version: str
) -> list[KubeFinding]:
    """Blockers for the objects whose API version and kind are among ``unserved``.

    Those too that the manifest itself defines: `helm upgrade` stops at them (4.3.1: "ensure CRDs are installed first").
    """
    missing, many = set(unserved), list(objects)
    own = {key for obj in many if obj.get("kind") == "CustomResourceDefinition" for key in _defined(obj)}
    entries = {(one.version, one.kind): one for one in known_removals().entries}
    found = []
    for obj in many:
        key = (str(obj.get("apiVersion")), str(obj.get("kind")))
        if key not in missing:
            continue
        ref = ref_of(obj)
        if key in own:
            text = f"{ref}: the chart brings the definition of {key[1]}, but Helm looks all kinds up before it creates any."
            way_out = "Apply that CustomResourceDefinition first, then plan again."
            found.append(KubeFinding("blocker", "api.own", str(ref), text, way_out))
            continue
        removal = entries.get(key)
        text = f"{ref}: this cluster ({server_version}) does not serve {key[1]} of {key[0]}."
        way_out = "Install its CustomResourceDefinition first (Helm leaves `crds/` alone on upgrades), or switch the part off."
        if removal is not None:
            text = f"{ref}: Kubernetes removed {key[1]} of {key[0]} in 1.{removal.minor}; this cluster is {server_version}."
            way_out = f"The chart must use {removal.use}." if removal.use else "The chart must do without it."
        found.append(KubeFinding("blocker", "api.unserved", str(ref), text, way_out))
    return found


def removal_findings(objects: Iterable[Json], server_version: str, namespace: str = "") -> list[KubeFinding]:
    """What this cluster still serves and a later version of Kubernetes does not."""
    try:
        minor = int(normalised(server_version).split(".")[1])
    except UserMistake as error:
        return [KubeFinding("warning", "api.server", "the API server", error.message)]
    entries = {(one.version, one.kind): one for one in known_removals().entries if one.minor > minor}
    found = []
    for obj in objects:
        removal = entries.get((str(obj.get("apiVersion")), str(obj.get("kind"))))
        if removal is None:
            continue
        ref = ref_of(obj, namespace)
        level: FindingLevel = "warning" if removal.minor - minor <= SOON else "info"
        text = f"{ref}: {removal.kind} of {removal.version} goes away in Kubernetes 1.{removal.minor}; this cluster is 1.{minor}."
        use = f"The chart should use {removal.use}" if removal.use else "Nothing replaces it"
        found.append(
            KubeFinding(
                level,
                "api.removal",
                str(ref),
                text,
                f"{use} before the cluster is upgraded ({known_removals().source}).",
            )
        )
    return found


def kube_version_findings(constraint: str, server_version: str, *, helm_version: str = "") -> list[KubeFinding]:
    """The chart's ``kubeVersion`` against the server. Helm itself refuses what does not match."""
    if not constraint.strip():
        return []
    try:
        plain = normalised(server_version)
        fits = allows(constraint, plain)
        whole = fits if helm_version.lstrip("v").startswith("4") else allows(constraint, server_version)
    except UserMistake as error:
        text = f"The chart's kubeVersion `{constraint}` could not be compared: {error.message}"
        return [KubeFinding("warning", "api.kube-version", "Chart.yaml", text, error.way_out)]
    if not fits:
        text = f"The chart asks for Kubernetes `{constraint}`; this cluster is {server_version}."
        way_out = "Upgrade the cluster, or choose a chart version that supports it."
        return [KubeFinding("blocker", "api.kube-version", "Chart.yaml", text, way_out)]
    if not whole:
        text = f"The chart's kubeVersion `{constraint}` names no pre-release, so Helm 3 refuses a server called {server_version}."
        return [
            KubeFinding("warning", "api.kube-version", "Chart.yaml", text, "Use Helm 4, or `-0` in the constraint.")
        ]
    return []


def helm_findings(helm_version: str, chart_api_version: str) -> list[KubeFinding]:
    """Whether this Helm can read the chart: v1 and v2 by every Helm from 3 on, v3 by none yet without a feature gate
    (Helm 4.3.1, internal/gates).
    """
    if chart_api_version in ("v1", "v2"):
        return []
    text = f"The chart's apiVersion is {chart_api_version or 'missing'}; Helm {helm_version or 'here'} reads v1 and v2."
    if chart_api_version == "v3" and helm_version.lstrip("v").startswith("4"):
        text = "The chart's apiVersion is v3, which Helm 4 reads only with HELM_EXPERIMENTAL_CHART_V3."
    return [KubeFinding("blocker", "api.helm", "Chart.yaml", text, "Use a chart with apiVersion v2.")]


async def namespace_findings(cluster: Cluster, namespace: str) -> list[KubeFinding]:
    """Blocker: the namespace is being deleted, or does not exist. Raises Temporary when the API server is away."""
    try:
        found = await cluster.get("v1", "Namespace", namespace)
    except Temporary:
        raise
    except BotError as error:
        return [unseen(f"namespace {namespace}", error)]
    return judge_namespace(namespace, found)


def judge_namespace(namespace: str, obj: Json | None) -> list[KubeFinding]:
    """As ``namespace_findings``, over the object."""
    subject = f"Namespace/{namespace}"
    if obj is None:
        text = f"The namespace {namespace} does not exist."
        return [KubeFinding("blocker", "namespace.missing", subject, text, "Check the target's namespace and cluster.")]
    status, meta = obj.get("status") or {}, obj.get("metadata") or {}
    if status.get("phase") != "Terminating" and not meta.get("deletionTimestamp"):
        return []
    since = f" since {meta['deletionTimestamp']}" if meta.get("deletionTimestamp") else ""
    waiting = [str(one.get("message")) for one in status.get("conditions") or [] if one.get("status") == "True"]
    why = f": {' '.join(waiting)}".rstrip(".") if waiting else ""
    text = f"The namespace {namespace} is being deleted{since}{why}; nothing new can be created in it."
    way_out = "Find out who deletes it and why; a deletion cannot be taken back."
    return [KubeFinding("blocker", "namespace.terminating", subject, text, way_out)]


async def _asked(
    cluster: Cluster, objects: Sequence[Json], namespace: str
) -> tuple[list[tuple[str, str]], list[KubeFinding]]:
    """Which API versions and kinds are not served, and what the server says of those that are."""
    gate = asyncio.Semaphore(AT_ONCE)
    wanted = sorted({(str(obj.get("apiVersion")), str(obj.get("kind"))) for obj in objects})

    async def one(api_version: str, kind: str) -> tuple[bool, list[KubeFinding]]:
        async with gate:
            try:
                return True, await _warnings(cluster, api_version, kind, namespace)
            except UnknownKind:
                return False, []
            except Temporary:
                raise
            except BotError as error:
                return True, [unseen(f"deprecations of {kind} ({api_version})", error)]

    answers = await asyncio.gather(*(one(*key) for key in wanted))
    unserved = [key for key, (served, _) in zip(wanted, answers, strict=True) if not served]
    return unserved, [finding for _, found in answers for finding in found]


async def _warnings(cluster: Cluster, api_version: str, kind: str, namespace: str) -> list[KubeFinding]:
    """The server's own warnings about a kind: it gives them with any answer, so the smallest list will do."""
    resource = await cluster.discovery.resource(api_version, kind)
    said: list[str] = []
    await cluster.session.json(
        resource.call("list", namespace),
        "GET",
        resource.path(namespace),
        params={"limit": "1"},
        accept=METADATA.format("List"),
        on_warning=said.append,
    )
    subject = f"{kind} ({api_version})"
    return [
        KubeFinding("warning", "api.deprecated", subject, f"{text}.".replace("..", ".")) for text in dict.fromkeys(said)
    ]


def _defined(definition: Json) -> list[tuple[str, str]]:
    spec = definition.get("spec") or {}
    kind = str((spec.get("names") or {}).get("kind", ""))
    return [(f"{spec.get('group')}/{one.get('name')}", kind) for one in spec.get("versions") or []]
