"""The proof that the release is healthy, and the baseline that it is compared with.

It reads, but for one memory that it adds to Aeterna and deletes again.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import BaseModel

from bot.engine.contract import Facts, Outcome, StepContext
from bot.errors import Evidence, Permanent
from bot.helm.models import StoredRelease
from bot.kube.objects import ObjectRef
from bot.redaction import redact
from bot.services.checkup import Checkup, take_report
from bot.services.health import HealthProblem, HealthReport, compare, problems
from bot.settings import Duration, Target
from runbooks.reading import app_version, workloads
from runbooks.steps.common import Params, ReadingStep
from runbooks.text import counted, section, table

BASELINE = "baseline"
"""The fact under which the report before a change is kept."""
UNHEALTHY = "The release is not healthy."
"""How the summary of a verification begins that found something wrong, rather than not being able to look."""
_PAUSE = 2.0
_VERSIONS = {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1"}


class VerifyBaseline(ReadingStep):
    """The release's health before the change. What is wrong already is told, and stops nothing."""

    name: ClassVar[str] = "verify.baseline"
    title: ClassVar[str] = "Take the baseline"
    timeout: ClassVar[timedelta] = timedelta(minutes=2)
    params: ClassVar[type[BaseModel]] = Params

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """The report as a fact, for ``verify.release``."""
        report, release = await _report(context)
        wrong = problems(report, expected_version=app_version(release))
        told = f"{counted(len(wrong), 'problem')} before the change" if wrong else "Healthy before the change"
        return Outcome(
            summary=f"{told}: {_short(report)}.",
            facts={BASELINE: report.to_json(), "revision": release.revision},
            evidence=(Evidence("Baseline", _lines(report, wrong, context.target)),),
            warning=bool(wrong),
        )


class VerifyParams(Params):
    """``patience`` is how long a problem may take to go away by itself: a pod is Ready before its server is."""

    patience: Duration = timedelta(seconds=15)
    version: str | None = None


class VerifyRelease(ReadingStep):
    """Pods, every server's ``/ready`` and version, metrics, a memory's round trip, and all of it against the baseline."""

    name: ClassVar[str] = "verify.release"
    title: ClassVar[str] = "Verify the release"
    timeout: ClassVar[timedelta] = timedelta(minutes=5)
    params: ClassVar[type[BaseModel]] = VerifyParams

    async def run(self, context: StepContext, params: VerifyParams, intent: Facts) -> Outcome:
        """Raises ``Permanent`` with one line for each part when something is wrong."""
        baseline = _baseline(context)
        loop = asyncio.get_running_loop()
        end = loop.time() + params.patience.total_seconds()
        while True:
            report, release = await _report(context)
            wanted = params.version or str(context.plan.get("new_app_version") or app_version(release))
            expected = wanted.removeprefix("v") or None
            wrong = _problems(report, expected, baseline, context.target)
            if not wrong or loop.time() + _PAUSE > end:
                break
            context.progress(f"Not healthy yet: {_sentence(wrong[0])}")
            await asyncio.sleep(_PAUSE)
        lines = Evidence("Verification", _lines(report, wrong, context.target, baseline))
        if wrong:
            told = " ".join(_sentence(one) for one in wrong[:3])
            more = f" And {len(wrong) - 3} more." if len(wrong) > 3 else ""
            raise Permanent(f"{UNHEALTHY} {told}{more}", way_out=_way_out(context), evidence=(lines,))
        unwired = report.memory is not None and report.memory.outcome != "ok"
        return Outcome(
            summary=f"Healthy: {_short(report)}.",
            facts={
                "revision": release.revision,
                "versions": list(report.versions),
                "report": _sections(report, context.target, baseline),
            },
            evidence=(lines,),
            warning=unwired or bool(report.memory and not report.memory.cleaned_up),
        )


def checkup_of(target: Target, refs: tuple[ObjectRef, ...], *, traffic: bool = True) -> Checkup:
    """What the target's ``verify`` section asks for; without ``traffic`` neither metrics nor memory."""
    verify, servers = target.verify, target.server_workloads()
    asked = tuple(_ref(name, target.namespace) for name in servers) if verify.health else ()
    metrics = verify.metrics if traffic else None
    memory = verify.memory if traffic else None
    return Checkup(
        workloads=refs,
        servers=asked,
        port=verify.health.port if verify.health else 8080,
        ready_path=verify.health.path if verify.health else "/ready",
        health_path=verify.health.version_path if verify.health else "/health",
        metrics_port=metrics.port if metrics else None,
        metrics_path=metrics.path if metrics else "/metrics",
        required_metrics=metrics.require if metrics else (),
        memory_layer=memory.layer if memory else None,
        headers=verify.memory.headers if verify.memory else {},
    )


def _ref(name: str, namespace: str) -> ObjectRef:
    kind, _, rest = name.partition("/")
    return ObjectRef(_VERSIONS.get(kind, "apps/v1"), kind, rest, namespace)


async def _report(context: StepContext) -> tuple[HealthReport, StoredRelease]:
    """The report, and the newest revision, which it is about."""
    release = await context.clients.releases.current()
    refs = tuple(await workloads(release, context.target.namespace))
    report = await take_report(context.clients.cluster, context.clients.access, checkup_of(context.target, refs))
    return report, release


def _way_out(context: StepContext) -> str:
    back = context.plan.get("rollback_to") if context.run.runbook != "rollback" else None
    where = f" or roll back to revision {back['revision']} ({back['version']})." if back else ""
    return "Look at the parts that failed; then retry," + where if where else "Look at the parts that failed."


def _baseline(context: StepContext) -> HealthReport | None:
    for facts in context.outcomes.values():
        if found := facts.get(BASELINE):
            return HealthReport.from_json(found)
    return None


def _problems(
    report: HealthReport, expected: str | None, baseline: HealthReport | None, target: Target
) -> list[HealthProblem]:
    """As ``problems``, but a metric has to move only where the target says so, and servers have to be there."""
    moving = target.verify.metrics.moving if target.verify.metrics else ()
    still = set(report.metrics.still) - set(moving) if report.metrics else set()
    found = [
        one
        for one in problems(report, expected_version=expected, baseline=baseline)
        if not (one.kind == "metrics" and one.subject in still)
    ]
    if target.verify.health and target.server_workloads() and not report.servers:
        found.append(HealthProblem("server", target.server_workloads()[0], "has no pod to ask"))
    return found


def _sentence(one: HealthProblem) -> str:
    return f"{one.subject}: {redact(one.message).rstrip('.')}."


def _short(report: HealthReport) -> str:
    healthy = sum(one.healthy for one in report.workloads)
    parts = [f"{healthy} of {counted(len(report.workloads), 'workload')}"]
    if report.servers:
        versions = f" at {', '.join(report.versions)}" if report.versions else ""
        parts.append(
            f"{sum(one.ready for one in report.servers)} of {counted(len(report.servers), 'server')} ready{versions}"
        )
    if report.memory is not None:
        parts.append("memory works" if report.memory.outcome == "ok" else str(report.memory))
    return ", ".join(parts)


def _lines(
    report: HealthReport, wrong: list[HealthProblem], target: Target, baseline: HealthReport | None = None
) -> str:
    """One line for each part that was looked at, and a plain word about each that was not."""
    lines = [
        _line(one.healthy, one.name, f"{one.ready} of {one.desired} pods ready", one.problems)
        for one in report.workloads
    ]
    for server in report.servers:
        said = f"ready, version {server.version or '–'}" if server.ready else ""
        lines.append(_line(server.ready, server.pod, said, (*server.complaints, server.error)))
    lines += _traffic_lines(report, target)
    known = {name for line in lines if line.startswith("FAIL") for name in [line.split()[1].rstrip(":")]}
    lines += [f"FAIL  {_sentence(one)}" for one in wrong if one.subject not in known]
    if baseline is not None:
        differences = [f"{'WORSE' if one.worse else 'now  '} {one}" for one in compare(baseline, report)]
        lines += ["", f"Against the baseline of {baseline.taken_at}:", *(differences or ["      no difference"])]
    return redact("\n".join(lines))


def _traffic_lines(report: HealthReport, target: Target) -> list[str]:
    lines = []
    if not (target.verify.health and target.server_workloads()):
        lines.append("–     servers: not asked, by the target's configuration")
    if report.metrics is None:
        lines.append("–     metrics: not looked at, by the target's configuration")
    elif report.metrics.error:
        lines.append(f"FAIL  metrics: {report.metrics.error}")
    else:
        lines += [
            f"ok    {name}: {report.metrics.before.get(name, 0):g} → {value:g}"
            for name, value in sorted(report.metrics.after.items())
        ]
    if report.memory is None:
        lines.append("–     memory: not tried, by the target's configuration")
    else:
        word = {"ok": "ok   ", "unwired": "warn "}.get(report.memory.outcome, "FAIL ")
        lines.append(f"{word} memory: {report.memory}")
        if not report.memory.cleaned_up:
            lines.append("warn  memory: what was added may still be there")
    return lines


def _line(good: bool, name: str, said: str, complaints: tuple[str, ...]) -> str:
    told = "; ".join(text for text in complaints if text)
    return f"{'ok   ' if good else 'FAIL '} {name}: {said if good or not told else told}"


def _sections(report: HealthReport, target: Target, baseline: HealthReport | None) -> list[dict[str, Any]]:
    rows = [
        [one.name, f"{one.ready}/{one.desired}", "healthy" if one.healthy else "; ".join(one.problems)]
        for one in report.workloads
    ]
    servers = [[one.pod, "yes" if one.ready else "no", one.version or "–"] for one in report.servers]
    sections = [table("Workloads", ("Workload", "Pods", "State"), rows)]
    if servers:
        sections.append(table("Servers", ("Pod", "Ready", "Version"), servers))
    sections.append(section("Metrics and memory", redact("\n".join(_traffic_lines(report, target)))))
    if baseline is not None:
        changed = [str(one) for one in compare(baseline, report)]
        sections.append(section("Against the baseline", redact("\n".join(changed)) or "No difference."))
    return sections
