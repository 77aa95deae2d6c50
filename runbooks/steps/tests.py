"""``helm test``: the release's own tests, with the logs of their pods as evidence."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from pydantic import BaseModel

from bot.engine.contract import Facts, NotStarted, Outcome, Reconciled, Repeat, StepContext
from bot.errors import Evidence, Permanent
from bot.helm.models import TestReport, TestSuite
from bot.kube.objects import ObjectRef
from bot.redaction import redact
from bot.settings import Duration
from runbooks import evidence
from runbooks.steps.common import Params
from runbooks.text import counted, lasted, listed


class TestParams(Params):
    """``test_timeout`` is for each test."""

    __test__ = False  # pytest takes any class named Test… for a collection of tests

    test_timeout: Duration = timedelta(minutes=5)


class HelmTest:
    """Runs the chart's tests. It mutates: Helm creates their pods and notes the result in the release."""

    name: ClassVar[str] = "helm.test"
    title: ClassVar[str] = "Run the chart's tests"
    repeat: ClassVar[Repeat] = Repeat.SAFE
    timeout: ClassVar[timedelta] = timedelta(minutes=15)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = True
    params: ClassVar[type[BaseModel]] = TestParams

    async def intend(self, context: StepContext, params: TestParams) -> Facts:
        """Nothing: a test may always be run again."""
        return {}

    async def run(self, context: StepContext, params: TestParams, intent: Facts) -> Outcome:
        """Raises ``Permanent`` with the logs when a test fails."""
        target = context.target
        context.progress("helm test")
        report = await context.clients.helm.test(target.release, target.namespace, params.test_timeout)
        logs = tuple(
            Evidence(f"Log of {one.name} ({one.phase})", redact(one.logs)) for one in report.suites if one.logs
        )
        if not report.passed:
            raise await _failed(context, report, logs)
        if not report.suites:
            return Outcome("The chart has no tests.", warning=True)
        return Outcome(
            summary=f"{counted(len(report.suites), 'test')} passed: {listed([_told(one) for one in report.suites])}.",
            facts={"tests": [one.name for one in report.suites]},
            evidence=logs,
        )

    async def reconcile(self, context: StepContext, params: TestParams, intent: Facts) -> Reconciled:
        """Helm deletes what is left of an earlier test before it starts the next."""
        return NotStarted()


def _told(suite: TestSuite) -> str:
    return f"{suite.name} ({lasted(suite.took)})" if suite.took is not None else suite.name


async def _failed(context: StepContext, report: TestReport, logs: tuple[Evidence, ...]) -> Permanent:
    bad = [one for one in report.suites if one.phase != "Succeeded"]
    pods = [ObjectRef("v1", "Pod", one.name, context.target.namespace) for one in bad]
    last = next((line for one in bad for line in reversed(one.logs.strip().splitlines()) if line.strip()), "")
    why = redact(last or " ".join(report.error.split()))[:300]
    return Permanent(
        f"{listed([one.name for one in bad]) or 'The tests'} failed: {why}",
        way_out="Read the log: the test may be at fault. Retry, or roll back.",
        evidence=(*logs, *await evidence.of_workloads(context.clients.cluster, pods)),
    )
