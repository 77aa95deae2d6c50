"""The `helm` program, asynchronously, with typed results and errors by meaning.

An argument list, never a shell; its own HOME; a deadline on every run. Cancelling a read kills it; cancelling
an upgrade asks it to end and waits (Helm marks the revision as failed); a rollback is never signalled,
because a SIGTERM leaves it ``pending-rollback``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

from semver import Version

from bot.errors import Permanent
from bot.helm import flags, wire
from bot.helm.environment import HelmSettings, helm_environment, make_home
from bot.helm.explain import explain
from bot.helm.failures import HelmTooOld
from bot.helm.flags import Dialect, ServerSide, Wait
from bot.helm.models import HelmVersion, Json, ListedRelease, Release, Rendered, Revision, TestReport
from bot.helm.process import Finished, LineSink, Patience, Stop, run_program
from bot.helm.progress import ProgressFilter, ProgressSink
from bot.helm.rendering import from_release, from_template
from bot.helm.stderr import Failure
from bot.helm.testing import read_test_report

READ_DEADLINE = timedelta(seconds=60)
RENDER_DEADLINE = timedelta(seconds=120)

# `list` means the method inside the class.
Args: TypeAlias = list[str]
Revisions: TypeAlias = list[Revision]


class Helm:
    """One cluster's Helm. Safe to use from many tasks at once; each call is one process of about 100 MiB.

    Beyond the errors that each method names, any may raise `ProgramMissing`, `HelmTooOld`,
    `ClusterUnreachable`, `ClusterForbids`, and `UserMistake` for a name that cannot be one.
    """

    def __init__(
        self,
        settings: HelmSettings,
        *,
        environ: Mapping[str, str] | None = None,
        read_deadline: timedelta = READ_DEADLINE,
        patience: Patience | None = None,
    ) -> None:
        self._settings = settings
        self._env = helm_environment(settings, os.environ if environ is None else environ)
        self._read_deadline = read_deadline
        self._patience = patience
        self._known: HelmVersion | None = None
        make_home(settings)

    # --- reads ---

    async def version(self) -> HelmVersion:
        """The program's version, asked once. Raises `ProgramMissing` or `HelmTooOld`."""
        if self._known is None:
            done = await self._run(["version", "--template={{.Version}}"], cluster=False)
            text = done.stdout.decode(errors="replace").strip().removeprefix("v")
            if done.exit_code != 0 or not Version.is_valid(text):
                raise Permanent(
                    f"`{self._settings.program}` does not answer as Helm does.",
                    way_out="Name Helm's place in the configuration.",
                )
            version = Version.parse(text)
            try:
                flags.dialect(version)
            except Permanent as error:
                raise HelmTooOld(error.message, way_out=error.way_out) from None
            self._known = HelmVersion(version)
        return self._known

    async def list(self, namespace: str) -> tuple[ListedRelease, ...]:
        """The releases of a namespace, in every state."""
        args = ["list", flags.namespace(namespace), *(await self._dialect()).list_all, "--max=0", "--output=json"]
        out = await self._read(args, namespace)
        return tuple(wire.read_list(out))

    async def status(self, release: str, namespace: str, *, revision: int | None = None) -> Release:
        """One revision, the newest by default; without the chart. Raises `ReleaseNotFound`."""
        return wire.read_release(await self._about("status", release, namespace, revision, "--output=json"))

    async def history(self, release: str, namespace: str, *, most: int = 256) -> Revisions:
        """The revisions that are kept, oldest first. Raises `ReleaseNotFound`."""
        out = await self._about("history", release, namespace, None, f"--max={most}", "--output=json")
        return wire.read_history(out)

    async def get_values(
        self, release: str, namespace: str, *, revision: int | None = None, all_: bool = False
    ) -> Json:
        """The values that users gave, or with ``all_`` those together with the chart's own. Raises
        `ReleaseNotFound`.
        """
        extra = ["--all"] if all_ else []
        return wire.read_values(await self._about("get values", release, namespace, revision, "--output=json", *extra))

    async def get_manifest(self, release: str, namespace: str, *, revision: int | None = None) -> str:
        """The manifest as applied, without hooks. Raises `ReleaseNotFound`."""
        return (await self._about("get manifest", release, namespace, revision)).decode(errors="replace")

    # --- rendering ---

    async def template(
        self,
        chart: Path,
        *,
        release: str,
        namespace: str,
        values: Path,
        kube_version: str | None = None,
        api_versions: Sequence[str] = (),
        is_upgrade: bool = True,
    ) -> Rendered:
        """Render without a cluster: ``lookup`` finds nothing. Raises `RenderFailed`, `ValuesRefused`."""
        args = [
            "template",
            flags.release_name(release),
            _chart(chart),
            flags.namespace(namespace),
            _values(values),
        ]
        args += ["--is-upgrade"] if is_upgrade else []
        args += [f"--kube-version={kube_version}"] if kube_version else []
        args += [f"--api-versions={version}" for version in api_versions]
        out = await self._read(args, _subject(release, namespace), deadline=RENDER_DEADLINE, cluster=False)
        return await asyncio.to_thread(from_template, out.decode(errors="replace"))

    async def dry_run(
        self,
        *,
        release: str,
        namespace: str,
        chart: Path,
        values: Path,
        server_side: ServerSide = "auto",
        install: bool = False,
    ) -> Rendered:
        """Render with the cluster at hand (``upgrade --dry-run=server``), notes included; changes nothing.

        It does **not** validate the objects against the API: neither ``replicas: -1`` nor an unknown field is found, for the
        API server itself is asked about each object elsewhere. Raises `RenderFailed`,
        `ValuesRefused`, `ReleasePending`, `ReleaseNotFound`.
        """
        args = await self._upgrade_args(release, namespace, chart, values, server_side, install=install)
        # Fetching the OpenAPI documents and reading them is a third of the whole.
        args += ["--dry-run=server", "--output=json", "--disable-openapi-validation"]
        out = await self._read(args, _subject(release, namespace), deadline=RENDER_DEADLINE)
        return await asyncio.to_thread(lambda: from_release(wire.read_release(out)))

    # --- changes ---

    async def upgrade(
        self,
        *,
        release: str,
        namespace: str,
        chart: Path,
        values: Path,
        timeout: timedelta,  # noqa: ASYNC109 — Helm's own
        server_side: ServerSide = "auto",
        description: str = "",
        labels: Mapping[str, str] | None = None,
        wait: Wait = Wait.WATCHER,
        install: bool = False,
        force_conflicts: bool = False,
        on_progress: ProgressSink | None = None,
        deadline: timedelta | None = None,
    ) -> Release:
        """Upgrade to ``chart`` with exactly ``values`` (``--reset-values``), and return the new revision.

        ``timeout`` is Helm's, for each hook and each wait; ``deadline`` is ours for the whole (default: four
        times that and a minute). ``labels`` stay on the release: Helm merges them into every later revision
        until they are overwritten, and a rollback takes those of its target. ``description`` is replaced by
        Helm when the upgrade fails.

        A cancellation asks Helm to end and waits for it: the revision is then ``failed``. Raises
        `ReleasePending`, `ReleaseNotFound`, `RenderFailed`, `ValuesRefused`, `NotReadyInTime`, `HookFailed`,
        `ApplyConflict`, `ManifestRefused`; `OutcomeUnknown` when the connection broke in the middle or Helm
        had to be killed.
        """
        dialect = await self._dialect()
        args = await self._upgrade_args(release, namespace, chart, values, server_side, install=install)
        args += [f"--timeout={flags.duration(timeout)}", *dialect.wait[wait], *flags.labels(labels or {})]
        args += [f"--description={flags.description(description)}"] if description else []
        args += dialect.force_conflicts if force_conflicts else ()
        args += ["--output=json", "--debug"]
        done = await self._change(args, deadline or 4 * timeout + timedelta(minutes=1), Stop.ASK, on_progress)
        self._check(done, "upgrade", _subject(release, namespace), mutating=True)
        return await asyncio.to_thread(wire.read_release, done.stdout)

    async def rollback(
        self,
        *,
        release: str,
        namespace: str,
        revision: int,
        timeout: timedelta,  # noqa: ASYNC109 — Helm's own
        wait: Wait = Wait.WATCHER,
        description: str = "",
        server_side: ServerSide = "auto",
        force_conflicts: bool = False,
        on_progress: ProgressSink | None = None,
        deadline: timedelta | None = None,
    ) -> None:
        """Go back to ``revision``, which must be named (Helm's own choice is the one before, even when that
        failed).

        Never signalled: a cancellation waits for the end and is raised then. At the deadline it is left
        running and `OutcomeUnknown` is raised. ``description`` is kept by Helm 4.3 and later, others write
        "Rollback to N". Raises `RevisionNotFound`, `ReleaseNotFound`, `NotReadyInTime`, `HookFailed` and what
        `upgrade` raises.
        """
        if revision < 1:
            raise ValueError("a rollback needs the number of a revision")
        version, dialect = (await self.version()).version, await self._dialect()
        args = ["rollback", flags.release_name(release), str(revision), flags.namespace(namespace)]
        args += [
            f"--timeout={flags.duration(timeout)}",
            *dialect.wait[wait],
            *flags.server_side(version, server_side),
        ]
        args += dialect.force_conflicts if force_conflicts else ()
        if description and version >= flags.ROLLBACK_DESCRIPTION:
            args += [f"--description={flags.description(description)}"]
        args += ["--debug"]
        done = await self._change(args, deadline or 4 * timeout + timedelta(minutes=1), Stop.NEVER, on_progress)
        self._check(done, "rollback", _subject(release, namespace), mutating=True)

    async def test(
        self,
        release: str,
        namespace: str,
        timeout: timedelta,  # noqa: ASYNC109 — Helm's own
    ) -> TestReport:
        """Run the release's tests and return what they found, with logs; a test that fails is a result, not
        an error.

        ``timeout`` is for each test. Raises only when the tests could not be run: `ReleaseNotFound`,
        `ClusterUnreachable`, …
        """
        args = ["test", flags.release_name(release), flags.namespace(namespace), "--logs"]
        args += [f"--timeout={flags.duration(timeout)}"]
        done = await self._run(args, deadline=4 * timeout + timedelta(minutes=1), stop=Stop.ASK)
        failure = Failure("test", _subject(release, namespace), done.exit_code, done.stderr, timed_out=done.timed_out)
        error = failure.text if done.exit_code else ""
        report = read_test_report(done.stdout.decode(errors="replace"), passed=done.exit_code == 0, error=error)
        if done.exit_code != 0 and not report.suites:
            raise explain(failure)
        return report

    # --- charts (for the repository) ---

    async def show_chart(self, reference: str, version: str) -> bytes:
        """The Chart.yaml of a chart in an OCI registry."""
        return await self._read(["show", "chart", reference, f"--version={version}"], reference, cluster=False)

    async def pull(self, reference: str, version: str, into: Path) -> None:
        """Pull a chart from an OCI registry into a directory; Helm checks its digest."""
        args = ["pull", reference, f"--version={version}", f"--destination={into}"]
        await self._read(args, reference, deadline=RENDER_DEADLINE, cluster=False)

    # --- inside ---

    async def _upgrade_args(
        self, release: str, namespace: str, chart: Path, values: Path, mode: ServerSide, *, install: bool
    ) -> Args:
        version = (await self.version()).version
        args = [
            "upgrade",
            flags.release_name(release),
            _chart(chart),
            flags.namespace(namespace),
            _values(values),
        ]
        args += ["--reset-values", *flags.server_side(version, mode)]
        return [*args, "--install"] if install else args

    async def _dialect(self) -> Dialect:
        return flags.dialect((await self.version()).version)

    async def _about(self, command: str, release: str, namespace: str, revision: int | None, *more: str) -> bytes:
        args = [*command.split(), flags.release_name(release), flags.namespace(namespace), *more]
        args += [f"--revision={revision}"] if revision is not None else []
        return await self._read(args, _subject(release, namespace))

    async def _read(
        self, args: Sequence[str], subject: str, *, deadline: timedelta | None = None, cluster: bool = True
    ) -> bytes:
        done = await self._run(args, deadline=deadline, cluster=cluster)
        self._check(done, args[0], subject)
        return done.stdout

    async def _change(
        self, args: Sequence[str], deadline: timedelta, stop: Stop, on_progress: ProgressSink | None
    ) -> Finished:
        on_line = ProgressFilter(on_progress).line if on_progress else None
        return await self._run(args, deadline=deadline, stop=stop, on_line=on_line)

    async def _run(
        self,
        args: Sequence[str],
        *,
        deadline: timedelta | None = None,
        stop: Stop = Stop.KILL,
        on_line: LineSink | None = None,
        cluster: bool = True,
    ) -> Finished:
        program = str(self._settings.program)
        return await run_program(
            [shutil.which(program, path=self._env.get("PATH")) or program, *args]
            + (self._settings.cluster_flags() if cluster else []),
            env=self._env,
            cwd=self._settings.home.absolute(),
            deadline=(deadline or self._read_deadline).total_seconds(),
            stop=stop,
            on_line=on_line,
            patience=self._patience,
        )

    @staticmethod
    def _check(done: Finished, command: str, subject: str, *, mutating: bool = False) -> None:
        if done.exit_code != 0:
            raise explain(
                Failure(command, subject, done.exit_code, done.stderr, mutating=mutating, timed_out=done.timed_out)
            )


def _subject(release: str, namespace: str) -> str:
    return f"`{release}` in `{namespace}`"


def _chart(path: Path) -> str:
    """A local chart, as a path that cannot be taken for a flag or for a chart in a repository."""
    if not path.exists():
        raise Permanent(f"The chart {path.name} is not there any more.", way_out="Plan again.")
    return str(path.absolute())


def _values(path: Path) -> str:
    # --values takes a comma for a separator between files.
    if "," in str(path):
        raise ValueError("the path of a values file cannot have a comma in it")
    return f"--values={path.absolute()}"
