"""What several checks and steps read: the release, the chart, the final values, what they render to, the workloads.

Everything is read-only. ``Reader`` belongs to one plan, whose checks share the work.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bot.diff import values as diff_values
from bot.diff.changelog import as_version, is_prerelease
from bot.engine.clients import TargetClients
from bot.engine.contract import PlanContext
from bot.errors import Permanent
from bot.fingerprints import Fingerprints
from bot.helm.charts import ChartVersion, PulledChart
from bot.helm.failures import ReleaseNotFound, RenderFailed
from bot.helm.models import Rendered, StoredRelease
from bot.helm.rendering import parse_objects
from bot.helm.yamldocs import load_mapping
from bot.kube.objects import ObjectRef, workload_refs
from bot.redaction import learn
from bot.settings import Target
from runbooks import demands

Json = dict[str, Any]


@dataclass(frozen=True)
class FinalValues:
    """The whole set of user-supplied values that an upgrade gets, in a file that only we can read, and its digest."""

    values: Json = field(repr=False)
    file: Path
    digest: str


def place_of(clients: TargetClients, target: Target) -> str:
    """The API server's address and the release there. An approval is bound to it: a configuration may name another later."""
    return f"{clients.cluster.server} {target.namespace}/{target.release}"


async def stored_releases(clients: TargetClients) -> list[StoredRelease]:
    """Every revision that is kept, oldest first; empty when there is no such release."""
    try:
        return await clients.releases.all()
    except ReleaseNotFound:
        return []


async def final_values(
    *,
    release: StoredRelease,
    target: Target,
    workdir: Path,
    fingerprints: Fingerprints,
    supplied: Mapping[str, Any] | None = None,
) -> FinalValues:
    """What the release has now, the target's files laid over it, then what a person supplied for this run, by dotted path.

    Raises ``Permanent`` when a file cannot be read.
    """
    laid = await asyncio.to_thread(_laid_over, release.config, target.values)
    try:
        laid = diff_values.place(laid, supplied or {})
    except ValueError as error:
        raise Permanent(f"A supplied value cannot be placed: {error}.") from error
    await asyncio.to_thread(learn, laid)
    file = workdir / "values.json"
    await asyncio.to_thread(_write_private, file, json.dumps(laid))
    return FinalValues(laid, file, fingerprints.digest(laid))


async def workloads(release: StoredRelease, namespace: str) -> list[ObjectRef]:
    """The workloads of a revision, hooks left out."""
    return workload_refs(await asyncio.to_thread(parse_objects, release.manifest), namespace)


def chart_version(release: StoredRelease) -> str:
    """The chart's version of a revision; empty when the Secret does not tell."""
    return release.chart.version if release.chart else ""


def app_version(release: StoredRelease) -> str:
    """The application's version of a revision; empty when the chart names none."""
    return release.chart.app_version if release.chart else ""


def same_version(one: str, other: str) -> bool:
    """Whether two versions are the same, ``v`` or not."""
    first, second = as_version(one), as_version(other)
    return first == second if first and second else one.removeprefix("v") == other.removeprefix("v")


def offer_of(offered: Iterable[ChartVersion], version: str) -> ChartVersion | None:
    """What a source says of one version."""
    return next((one for one in offered if same_version(one.version, version)), None)


def above(offered: Iterable[ChartVersion], current: str) -> list[ChartVersion]:
    """The versions that are newer than ``current``, in the order given; all of them without a current one."""
    now = as_version(current)
    return [one for one in offered if (found := as_version(one.version)) and (now is None or found > now)]


def newest_upgrade(offered: Iterable[ChartVersion], current: str) -> ChartVersion | None:
    """The newest of them that is no pre-release."""
    return next((one for one in above(offered, current) if not is_prerelease(one.version, one.annotations)), None)


class Reader:
    """The shared work of one plan. Each of these is done once, whoever asks first."""

    def __init__(self, context: PlanContext) -> None:
        self._context = context
        self._clients = context.clients

    async def releases(self) -> Sequence[StoredRelease]:
        """Every revision, oldest first; empty when there is none."""
        found: Sequence[StoredRelease] = await self._context.shared.once(
            "releases", partial(stored_releases, self._clients)
        )
        return found

    async def release(self) -> StoredRelease:
        """The newest revision. Raises ``ReleaseNotFound``."""
        found = await self.releases()
        if not found:
            target = self._context.target
            raise ReleaseNotFound(
                f"There is no release `{target.release}` in `{target.namespace}`.",
                way_out="Install it first, or correct release and namespace of the target.",
            )
        return found[-1]

    async def objects(self, release: StoredRelease) -> tuple[Json, ...]:
        """What stands in a revision's manifest, parsed in a thread, for it may have megabytes."""
        parsed = partial(asyncio.to_thread, parse_objects, release.manifest)
        found: tuple[Json, ...] = await self._context.shared.once(f"objects of revision {release.revision}", parsed)
        return found

    async def offered(self) -> Sequence[ChartVersion]:
        """The versions of the chart, newest first. Raises ``Permanent`` where a source cannot list them (OCI)."""
        found: Sequence[ChartVersion] = await self._context.shared.once("offered", self._clients.repository.versions)
        return found

    async def chart(self) -> PulledChart:
        """The chart of the version that was asked for, on disk. Raises ``ChartVersionNotFound`` with the nearest."""
        found: PulledChart = await self._context.shared.once("chart", self._pull)
        return found

    async def values(self) -> FinalValues:
        """The values that the upgrade would get."""
        found: FinalValues = await self._context.shared.once("values", self._values)
        return found

    async def given(self) -> demands.Given:
        """The new chart's defaults, schema and templates, and the values that it would get."""
        found: demands.Given = await self._context.shared.once("given", self._given)
        return found

    def fingerprint(self, text: str) -> str:
        """A short mark of a secret that differs when the secret does; it tells nothing to somebody without the bot's key."""
        return self._clients.fingerprints.mark(text)

    async def rendered(self) -> Rendered:
        """What the new chart gives with these values, rendered with the cluster at hand.

        Raises ``ValuesRefused`` when its schema refuses them, before Helm is asked, and ``RenderFailed`` that names the value.
        """
        found: Rendered = await self._context.shared.once("rendered", self._render)
        return found

    async def _pull(self) -> PulledChart:
        version = str(self._context.run.inputs.get("version") or "")
        if not version:
            raise Permanent("This check needs an input called version.")
        offer = offer_of(await self._listed(), version)
        return await self._clients.repository.pull(offer or version, self._clients.charts)

    async def _listed(self) -> Sequence[ChartVersion]:
        """The versions, or none where the source has no list; that the repository is away is raised."""
        if self._clients.repository.source.oci is not None:
            return ()
        return await self.offered()

    async def _values(self) -> FinalValues:
        return await final_values(
            release=await self.release(),
            target=self._context.target,
            workdir=Path(self._context.workdir),
            fingerprints=self._clients.fingerprints,
            supplied=self._context.run.supplied,
        )

    async def _render(self) -> Rendered:
        chart, values, target = await self.chart(), await self.values(), self._context.target
        given = await self.given()
        if refused := demands.refused(given, chart.name):
            raise refused
        try:
            rendered = await self._clients.helm.dry_run(
                release=target.release,
                namespace=target.namespace,
                chart=chart.path,
                values=values.file,
                server_side=target.server_side_apply,
            )
        except RenderFailed as error:
            raise demands.explained(error, given) from error
        await asyncio.to_thread(_learn, rendered)
        return rendered

    async def _given(self) -> demands.Given:
        chart, values = await self.chart(), await self.values()
        return await asyncio.to_thread(demands.given_of, chart, values.values)


def _learn(rendered: Rendered) -> None:
    """Secrets that the chart makes stand nowhere in the values."""
    learn([*rendered.objects, *(obj for hook in rendered.hooks for obj in parse_objects(hook.manifest))])


def _laid_over(config: Mapping[str, Any], files: Iterable[Path]) -> Json:
    laid = dict(config)
    for file in files:
        try:
            text = file.read_bytes()
        except OSError as error:
            raise Permanent(f"The values file {file} cannot be read: {error.strerror}.") from error
        laid = diff_values.overlay(laid, load_mapping(text, what=f"The values file {file.name}", unique_keys=True))
    return laid


def _write_private(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
