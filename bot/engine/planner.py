"""Planning: the runbook's checks side by side, read-only, frozen under one digest.

A check that fails is itself a finding: a plan whose checks could not all be done is not green. Takes no lock.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import secrets
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bot.engine.clients import TargetClients
from bot.engine.contract import Check, CheckResult, Finding, Level, PlanContext, Runbook, RunInfo, Shared
from bot.engine.parts import changed as changed_parts
from bot.errors import UNSEEN, BotError, Evidence, Temporary
from bot.fingerprints import OTHER_KEY, other_key
from bot.settings import Configuration, Target
from bot.store.journal import Journal
from bot.store.records import FindingRecord, PastStep, PlanRecord, RunRecord

log = logging.getLogger(__name__)
_PAUSES = (0.1, 0.3, 1.0, 3.0)  # seconds
_COULD_NOT = " could not be done: "
_LATE = "Plan again; if the cluster is always that slow, set `engine.check_timeout` higher."
_DIGEST = re.compile(r"[0-9a-f]{32}")
ClientsOf = Callable[[Target], Awaitable[TargetClients]]


@dataclass(frozen=True)
class Planned:
    """The plan and the files that belong into the card's thread."""

    plan: PlanRecord
    files: tuple[Evidence, ...]

    @property
    def blocked(self) -> bool:
        return any(finding.level == Level.BLOCKER for finding in self.plan.findings)


class Planner:
    """Computes plans; keeps nothing between two of them."""

    def __init__(self, *, configuration: Configuration, clients: ClientsOf, workspace: Path, journal: Journal) -> None:
        self._configuration = configuration
        self._journal = journal
        self._clients = clients
        self._workspace = workspace

    async def plan(self, run: RunRecord, runbook: Runbook) -> Planned:
        """Runs every check. Never raises for what a check finds or cannot do; that is in the findings."""
        target = self._configuration.target(run.target)
        if target is None:
            gone = Finding(Level.BLOCKER, f"The target {run.target} is no longer in the configuration.")
            return self._freeze(run, {"target": CheckResult(findings=(gone,))})
        self._workspace.mkdir(parents=True, exist_ok=True)
        shared = Shared()
        with tempfile.TemporaryDirectory(prefix=f"plan-{run.id}-", dir=self._workspace) as workdir:
            try:
                clients = await self._clients(target)
                context = PlanContext(
                    run=info(run),
                    target=target,
                    clients=clients,
                    workdir=Path(workdir),
                    shared=shared,
                    past=partial(self._past, target.name),
                )
                results = await asyncio.gather(*(self._one(check, context) for check in runbook.checks))
            except BotError as error:
                unreachable = Finding(Level.BLOCKER, error.message, error.way_out)
                return self._freeze(run, {"target": CheckResult(findings=(unreachable,))})
            finally:
                await shared.close()
        found = dict(zip((check.name for check in runbook.checks), results, strict=True))
        return self._freeze(run, found, {rule.code: rule.permission for rule in runbook.overrides})

    async def _past(self, target: str, *uses: str) -> Sequence[PastStep]:
        """As ``Journal.past``. Our own database being away for a moment is no finding, and must void no approval."""
        for pause in _PAUSES:
            try:
                return await self._journal.past(target, *uses)
            except Temporary as error:
                log.warning("the past of %s is asked for again: %s", target, error)
                await asyncio.sleep(pause)
        return await self._journal.past(target, *uses)

    async def _one(self, check: Check, context: PlanContext) -> CheckResult:
        limit = self._configuration.engine.check_timeout.total_seconds()
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                return await check.check(context)
        except BotError as error:
            text = f"The check {check.name}{_COULD_NOT}{error.message}"
            return _undone(check, text, error.way_out, error.evidence)
        except Exception:
            if deadline.expired():
                text = f"The check {check.name} was given up after {limit:g} s, because what it asked did not answer in time."
                return _undone(check, text, _LATE)
            reference = secrets.token_hex(4)
            log.exception(
                "check %s of run %s failed unexpectedly (reference %s)", check.name, context.run.id, reference
            )
            return _undone(
                check, f"The check {check.name} failed unexpectedly (reference {reference} in the bot's log)."
            )

    def _freeze(
        self, run: RunRecord, results: Mapping[str, CheckResult], overridable: Mapping[str, str] | None = None
    ) -> Planned:
        facts: dict[str, Any] = {}
        bindings: dict[str, str] = {}
        findings: list[FindingRecord] = []
        for name, result in results.items():
            for key, value in result.facts.items():
                if key in facts and facts[key] != value:
                    clash = f"Two checks disagree about {key}: the cluster changed while it was looked at."
                    findings.append(FindingRecord(name, Level.BLOCKER.value, clash, "Plan again."))
                facts[key] = value
            bindings |= result.bindings
            findings += [_recorded(name, finding, overridable or {}) for finding in result.findings]
        findings = _folded(findings)
        order = [level.value for level in Level]
        findings.sort(key=lambda finding: order.index(finding.level))
        digest = digest_of(run, bindings)
        files = tuple(file for result in results.values() for file in result.files)
        return Planned(PlanRecord(digest, tuple(findings), facts, bindings), files)


def _undone(check: Check, text: str, way_out: str = "", files: tuple[Evidence, ...] = ()) -> CheckResult:
    return CheckResult(findings=(Finding(Level.BLOCKER, text, way_out, UNSEEN, check.name),), files=files)


def digest_of(run: RunRecord, bindings: Mapping[str, str]) -> str:
    """The digest that an approval is bound to: target, runbook text, inputs and what the checks bound."""
    covered = {
        "target": run.target,
        "runbook": hashlib.sha256(run.runbook_text.encode()).hexdigest(),
        "inputs": dict(run.inputs),
        "supplied": dict(run.supplied),
        "bindings": dict(bindings),
    }
    return hashlib.sha256(json.dumps(covered, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differences(old: PlanRecord, new: PlanRecord) -> list[str]:
    """What changed between two plans, a few words a part; empty when the approval still holds.

    A digest tells a person nothing, so what is bound by one is named, with the parts that differ.
    """
    names = sorted(old.bindings.keys() | new.bindings.keys())
    pairs = {name: (old.bindings.get(name), new.bindings.get(name)) for name in names}
    renewed = any(other_key(before, now) for before, now in pairs.values())
    changed = [
        _difference(name, before or "nothing", now or "nothing", changed_parts(name, old.facts, new.facts))
        for name, (before, now) in pairs.items()
        if before != now and not other_key(before, now)
    ]
    return [*changed, *([OTHER_KEY] if renewed else [])]


def _difference(name: str, before: str, now: str, parts: str) -> str:
    if _DIGEST.search(before) or _DIGEST.search(now):
        return f"{name} ({parts})" if parts else name
    return f"{name}: {_short(before)} → {_short(now)}"


def _recorded(check: str, finding: Finding, overridable: Mapping[str, str]) -> FindingRecord:
    override = overridable.get(finding.code, "") if finding.level is Level.BLOCKER else ""
    return FindingRecord(
        check=check,
        level=finding.level.value,
        text=finding.text,
        way_out=finding.way_out,
        code=finding.code,
        subject=finding.subject,
        override=override,
    )


def _folded(findings: list[FindingRecord]) -> list[FindingRecord]:
    """One cause is told once: checks that could not be done for a reason that stands there already become one line.

    What two checks find alike, under the same code and of the same subject, is told by the first of them.
    """
    said: set[str] = set()
    found: set[tuple[str, str, str]] = set()
    kept, because = [], []
    for finding in sorted(findings, key=lambda one: _COULD_NOT in one.text):
        same = (finding.code, finding.subject, finding.text)
        if finding.code and same in found:
            continue
        found.add(same)
        cause = finding.text.partition(_COULD_NOT)[2] or finding.text
        if finding.level == Level.BLOCKER and cause in said:
            because.append(finding.check)
            continue
        if finding.level == Level.BLOCKER:
            said.add(cause)
        kept.append(finding)
    if because:
        text = f"Not looked at for that reason: {', '.join(dict.fromkeys(because))}."
        kept.append(FindingRecord("plan", Level.INFO.value, text, code=UNSEEN))
    return kept


def info(run: RunRecord) -> RunInfo:
    """The part of a run that checks and steps may see."""
    return RunInfo(
        id=run.id,
        target=run.target,
        runbook=run.runbook,
        inputs=run.inputs,
        requested_by=run.requested_by,
        supplied=run.supplied,
        excepted=run.excepted,
    )


def _short(value: str) -> str:
    return value if len(value) <= 40 else value[:39] + "…"
