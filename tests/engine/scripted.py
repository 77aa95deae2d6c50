"""Runbooks whose steps do what a test tells them, so that the engine is seen without a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import BaseModel

from bot.engine.contract import (
    ApprovalPolicy,
    Check,
    CheckResult,
    Done,
    Facts,
    NotStarted,
    OnFailure,
    Outcome,
    OverrideRule,
    PlanContext,
    Reconciled,
    Repeat,
    Runbook,
    StepContext,
    StepKind,
)
from bot.errors import UserMistake


class NoParams(BaseModel):
    """A step without parameters."""


@dataclass
class World:
    """What the scripted checks and steps look at and change."""

    effects: list[str] = field(default_factory=list)
    bindings: dict[str, str] = field(default_factory=lambda: {"release revision": "3"})
    result: CheckResult = field(default_factory=CheckResult)
    facts: dict[str, Any] = field(default_factory=lambda: {"rollback_to": {"revision": 3, "version": "0.2.0"}})
    behave: dict[str, Callable[[StepContext], Any]] = field(default_factory=dict)
    reconcile: dict[str, Callable[[Facts], Reconciled]] = field(default_factory=dict)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    check_error: Exception | None = None
    check_waits: asyncio.Event | None = None


@dataclass
class ScriptedCheck:
    """Gives what the world says."""

    world: World
    name: ClassVar[str] = "scripted"

    async def check(self, context: PlanContext) -> CheckResult:
        if self.world.check_waits is not None:
            await self.world.check_waits.wait()
        if self.world.check_error is not None:
            raise self.world.check_error
        return CheckResult(
            findings=self.world.result.findings,
            facts=self.world.facts,
            bindings=dict(self.world.bindings),
            files=self.world.result.files,
        )


def kind(
    world: World,
    step: str,
    *,
    repeat: Repeat = Repeat.CHECK_FIRST,
    mutates: bool = True,
    interruptible: bool = True,
    timeout: timedelta = timedelta(seconds=30),
) -> StepKind[Any]:
    """A step kind called ``scripted.STEP`` that does ``world.behave[step]`` and notes its effect."""

    class Scripted:
        name: ClassVar[str] = f"scripted.{step}"
        title: ClassVar[str] = step.capitalize()
        params: ClassVar[type[BaseModel]] = NoParams

        async def intend(self, context: StepContext, params: BaseModel) -> Facts:
            return {"effects": len(world.effects)}

        async def run(self, context: StepContext, params: BaseModel, intent: Facts) -> Outcome:
            world.started.set()
            behave = world.behave.get(step)
            outcome = await behave(context) if behave else None
            world.effects.append(step)
            return outcome or Outcome(f"{step} is done", facts={"by": step})

        async def reconcile(self, context: StepContext, params: BaseModel, intent: Facts) -> Reconciled:
            if step in world.reconcile:
                return world.reconcile[step](intent)
            return Done(Outcome(f"{step} was done")) if step in world.effects else NotStarted()

    made: Any = Scripted()
    made.repeat, made.mutates, made.interruptible, made.timeout = repeat, mutates, interruptible, timeout
    return made  # type: ignore[no-any-return]


@dataclass(frozen=True)
class ScriptedStep:
    """One step of a scripted runbook."""

    id: str
    kind: StepKind[Any]
    on_failure: OnFailure = OnFailure.STOP
    left_out: bool = False

    @property
    def title(self) -> str:
        return self.kind.title

    @property
    def timeout(self) -> timedelta:
        return self.kind.timeout

    def skipped(self, scope: Facts) -> bool:
        return self.left_out

    def parameters(self, scope: Facts) -> BaseModel:
        return NoParams()


class ScriptedRunbooks:
    """A library of runbooks made in Python; a runbook's text is its name."""

    def __init__(self, *runbooks: Runbook) -> None:
        self.loaded = {runbook.name: runbook for runbook in runbooks}

    def names(self) -> Sequence[str]:
        return list(self.loaded)

    def text(self, name: str) -> str:
        if name not in self.loaded:
            raise UserMistake(f"There is no runbook {name!r}.")
        return name

    def parse(self, text: str) -> Runbook:
        return self.loaded[text]

    def expand(self, runbook: Runbook, facts: Facts) -> Runbook:
        return runbook

    def inputs(self, name: str, given: Mapping[str, str]) -> dict[str, Any]:
        return dict(given)


def runbook(
    world: World,
    *steps: ScriptedStep,
    name: str = "upgrade",
    approval: ApprovalPolicy | None = ApprovalPolicy(),  # noqa: B008 - frozen
    report: bool = False,
    overrides: tuple[OverrideRule, ...] = (),
) -> Runbook:
    """A runbook with the scripted check and ``steps``."""
    checks: tuple[Check, ...] = (ScriptedCheck(world),)
    return Runbook(
        name=name,
        summary=f"{name}, scripted",
        permission=name if name in ("upgrade", "rollback") else "view",
        checks=checks,
        steps=steps,
        approval=approval,
        report=report,
        overrides=overrides,
    )
