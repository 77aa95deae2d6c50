"""What lies outside the release's manifest and stays as it is: Secrets and ConfigMaps, other services, definitions of kinds.

The old revision gets them as they are now. Of Secrets and ConfigMaps only metadata is read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bot.diff import values as diff_values
from bot.engine.contract import Finding, Level
from bot.errors import Evidence, Refused
from bot.kube.cluster import Cluster
from bot.kube.failures import UnknownKind
from bot.kube.findings import look
from bot.kube.objects import Json, name_of
from bot.redaction import redact
from runbooks.checks.goingback import pod_specs
from runbooks.checks.objects import told
from runbooks.staying.found import CRDS, OUTSIDE, SERVICES, Stays, is_later, names, said, written
from runbooks.text import listed, when
from runbooks.wayback import WayBack

_ADDRESS = re.compile(r"(host|hosts|hostname|url|uri|endpoint|address|dsn)$", re.IGNORECASE)
_A_PLACE = re.compile(r"://|^[\w-]+(\.[\w-]+)+(:\d+)?(/|$)")
_BUILT_IN = ".k8s.io"


async def configuration(cluster: Cluster, way: WayBack, before: Sequence[Json], after: Sequence[Json]) -> Stays:
    """The Secrets and ConfigMaps that the old revision's pods use and its manifest does not bring."""
    own = names(after, "Secret", "ConfigMap")
    wanted = {key: who for key, who in _used(after).items() if key not in own}
    if not wanted:
        return Stays()
    now, namespace = _used(before), way.current.namespace
    secrets, maps = await asyncio.gather(
        *(look(cluster, "v1", kind, namespace, metadata_only=True, managers=True) for kind in ("Secret", "ConfigMap"))
    )
    live = {(str(one.get("kind")), name_of(one)): one for one in (*secrets.items, *maps.items)}
    findings, rows, same = list(told((*secrets.unseen, *maps.unseen))), [], []
    for (kind, name), (users, optional) in sorted(wanted.items()):
        subject, used = f"{kind}/{name}", listed(sorted(users))
        found = live.get((kind, name))
        if found is None:
            known = secrets.known if kind == "Secret" else maps.known
            rows.append(f"{subject}  {'not there' if known else 'not read'}  used by {used}")
            if known and not optional:
                findings.append(_missing(subject, used, already=(kind, name) in now))
            continue
        at, who = written(found)
        by = f" by {who}" if who else ""
        rows.append(f"{subject}  last written {when(at)}{by}  used by {used}")
        if is_later(at, way.since):
            text = f"{subject} is not part of the release and was written since ({when(at)}{by}): {used} gets what is in it now."
            findings.append(said(Level.WARNING, OUTSIDE, text, subject=subject))
        else:
            same.append(subject)
    if same:
        text = f"Outside the release and not written since: {listed(same)}."
        findings.append(said(Level.INFO, OUTSIDE, text))
    return Stays(tuple(findings), (Evidence("Secrets and ConfigMaps outside the release", "\n".join(rows)),))


def _missing(subject: str, used: str, *, already: bool) -> Finding:
    if already:
        text = f"{subject}, which {used} needs, is not there now either."
        return said(Level.INFO, OUTSIDE, text, subject=subject)
    text = f"{subject} is not there any more, and {used} of that revision needs it: its pods would not start."
    return said(Level.WARNING, OUTSIDE, text, subject=subject, way_out="Create it again before you go back.")


def _used(objects: Iterable[Json]) -> dict[tuple[str, str], tuple[set[str], bool]]:
    """Kind and name of each Secret and ConfigMap that the pods use: by whom, and whether they do without it."""
    found: dict[tuple[str, str], tuple[set[str], bool]] = {}
    for workload, spec in pod_specs(objects):
        for kind, name, optional in _references(spec):
            if name:
                users, all_optional = found.get((kind, name), (set(), True))
                found[(kind, name)] = (users | {workload}, all_optional and optional)
    return found


def _references(spec: Json) -> Iterator[tuple[str, str, bool]]:
    for one in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for source in one.get("envFrom") or ():
            yield from _ref(source, {"secretRef": "Secret", "configMapRef": "ConfigMap"})
        for variable in one.get("env") or ():
            yield from _ref(variable.get("valueFrom") or {}, {"secretKeyRef": "Secret", "configMapKeyRef": "ConfigMap"})
    for volume in spec.get("volumes") or ():
        for part in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            yield from _ref(part, {"secret": "Secret", "configMap": "ConfigMap"})
    for secret in spec.get("imagePullSecrets") or ():
        yield "Secret", str(secret.get("name") or ""), True  # a missing one is no failure of its own


def _ref(holder: Mapping[str, Any], kinds: Mapping[str, str]) -> Iterator[tuple[str, str, bool]]:
    for key, kind in kinds.items():
        if isinstance(ref := holder.get(key), Mapping):
            yield kind, str(ref.get("name") or ref.get("secretName") or ""), bool(ref.get("optional"))


# -- other services ---------------------------------------------------------------------------------------------


def services(way: WayBack, after: Sequence[Json]) -> Stays:
    """Where the values point to beyond the release, and what of that goes back."""
    now, then = (
        _places(diff_values.computed(one.chart_values, one.config), names(after, "Service"))
        for one in (way.current, way.target)
    )
    findings = []
    for path, place in sorted(then.items()):
        if path in now and now[path] != place:
            text = f"{path} points to {place} again (now {now[path]}): what was written there stays there."
            findings.append(said(Level.WARNING, SERVICES, text, subject=path))
    same = [f"{place} ({path})" for path, place in sorted(then.items()) if now.get(path) == place]
    if same:
        text = f"Services outside the release stay as they are: {listed(same, most=4)}."
        findings.append(said(Level.INFO, SERVICES, text))
    return Stays(tuple(findings))


def _places(values: Mapping[str, Any], own: set[tuple[str, str]]) -> dict[str, str]:
    """Values that name a place elsewhere, by their dotted path; the release's own Services are no place elsewhere."""
    services = {name for _, name in own}
    found = {}
    for path, value in _leaves((), values):
        if not isinstance(value, str) or not _ADDRESS.search(path[-1]) or not _A_PLACE.search(value):
            continue
        if value.partition("://")[2].partition(".")[0].partition(":")[0] not in services:
            found[diff_values.dotted(path)] = redact(value)
    return found


def _leaves(path: tuple[str, ...], values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves((*path, str(key)), value)
        else:
            yield (*path, str(key)), value


# -- definitions ------------------------------------------------------------------------------------------------


async def definitions(cluster: Cluster, way: WayBack, before: Sequence[Json], after: Sequence[Json]) -> Stays:
    """The CustomResourceDefinitions of the kinds that the release uses. Helm never takes those of a chart's ``crds/`` back."""
    kinds = {(str(obj.get("apiVersion")), str(obj.get("kind"))) for obj in (*before, *after) if _custom_group(obj)}
    try:
        read = await asyncio.gather(*(_definition(cluster, *key) for key in sorted(kinds)))
    except Refused:
        named = listed(sorted({kind for _, kind in kinds}))
        return Stays(
            (said(Level.INFO, CRDS, f"I may not read definitions; a rollback leaves those of {named} alone."),)
        )
    findings = []
    for one in (found for found in read if found):
        at, who = written(one)
        if is_later(at, way.since):
            by, subject = f" by {who}" if who else "", f"CustomResourceDefinition/{name_of(one)}"
            text = f"The definition {name_of(one)} was written since ({when(at)}{by}) and stays as it is."
            findings.append(said(Level.WARNING, CRDS, text, subject=subject))
    return Stays(tuple(findings))


async def _definition(cluster: Cluster, api_version: str, kind: str) -> Json | None:
    """The metadata of a kind's definition; None where the cluster does not serve it."""
    try:
        resource = await cluster.discovery.resource(api_version, kind)
    except UnknownKind:
        return None
    name = f"{resource.plural}.{resource.group}"
    return await cluster.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", name, metadata_only=True)


def _custom_group(obj: Json) -> str:
    group = str(obj.get("apiVersion", "")).rpartition("/")[0]
    return group if "." in group and not group.endswith(_BUILT_IN) else ""
