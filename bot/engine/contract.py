"""What the engine agrees on with the runbooks above it: plan, check, step kind, outcome.

Only shapes live here. The loader in ``runbooks`` makes a ``Runbook`` out of YAML, the step kinds and checks
implement the two protocols, and the engine runs them without knowing what any of them does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel

from bot.engine.clients import TargetClients
from bot.errors import Evidence
from bot.settings import Target
from bot.store.records import Lane, PastStep, RunRecord

Json = Any  # whatever ``json.dumps`` takes
Facts = Mapping[str, Json]
Params = TypeVar("Params", bound=BaseModel, contravariant=True)


class Level(StrEnum):
    """How much one finding of a plan matters."""

    BLOCKER = "blocker"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """One thing that a check found. ``text`` is a sentence; ``way_out`` says what to do about it.

    ``code`` names the kind of finding (``data.loss``), which a runbook can let a person override; ``subject`` names the
    object or the key that it is about.
    """

    level: Level
    text: str
    way_out: str = ""
    code: str = ""
    subject: str = ""


@dataclass(frozen=True)
class CheckResult:
    """What one check of a plan contributes.

    ``facts`` are stored with the plan and can be read by expressions as ``plan.NAME`` (two checks must not give the
    same name different values). ``bindings`` are the named parts that an approval is bound to, as short comparable strings
    (a revision, a digest): if one differs when the run starts, the approval is void. ``files`` go into the thread.
    """

    findings: tuple[Finding, ...] = ()
    facts: Facts = field(default_factory=dict)
    bindings: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a step did: one line for the card, facts for later steps (``outcomes.STEP.NAME``), evidence for the thread.

    ``warning`` marks a step that worked but found something to look at.
    """

    summary: str
    facts: Facts = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    warning: bool = False


@dataclass(frozen=True)
class Done:
    """Reconcile: the step's effect is there in full."""

    outcome: Outcome


@dataclass(frozen=True)
class NotStarted:
    """Reconcile: it may run again, for nothing of its effect is there, or a part that running it again completes.

    ``seen`` says which part, for whoever cancelled it.
    """

    seen: str = ""


@dataclass(frozen=True)
class Unknown:
    """Reconcile: a person has to decide; ``why`` is the sentence they get."""

    why: str
    evidence: tuple[Evidence, ...] = ()


Reconciled = Done | NotStarted | Unknown


class Repeat(StrEnum):
    """How a step may be repeated after a crash or a temporary error."""

    SAFE = "safe"  # running it again changes nothing more
    CHECK_FIRST = "check_first"  # reconcile decides
    NEVER = "never"  # only a person decides


class OnFailure(StrEnum):
    """What follows a failed step: the run ends, a person is asked, or the release goes back."""

    STOP = "stop"
    ASK = "ask"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class RunInfo:
    """The part of a run that checks and steps may see. ``inputs`` are validated.

    ``supplied`` are the values that a person gave for this run, by dotted path, laid over all others. ``excepted`` are the
    components that the confirmation left out.
    """

    id: str
    target: str
    runbook: str
    inputs: Facts
    requested_by: str
    supplied: Facts = field(default_factory=dict)
    excepted: tuple[str, ...] = ()


class Past(Protocol):
    """What runs of this target did before: the steps of these kinds, newest first, this run's own included."""

    async def __call__(self, *uses: str) -> Sequence[PastStep]: ...


class Holders(Protocol):
    """The runs that hold this target now: none, one, or an emergency and the change that gives way to it."""

    async def __call__(self) -> Sequence[RunRecord]: ...


async def nobody() -> Sequence[RunRecord]:
    """A target that no run holds."""
    return ()


async def nothing_before(*_uses: str) -> Sequence[PastStep]:
    """The past of a target that was never touched."""
    return ()


@dataclass(frozen=True)
class PlanContext:
    """What a check gets. ``workdir`` is private to this planning and removed afterwards.

    ``shared`` memoises work that several checks need (the pulled chart, the decoded release): the first one to ask
    starts it, all await the same result.
    """

    run: RunInfo
    target: Target
    clients: TargetClients
    workdir: Any  # pathlib.Path
    shared: Shared
    past: Past = nothing_before


class Shared:
    """Work done once for several checks of one plan."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    async def once(self, name: str, work: Callable[[], Any]) -> Any:
        """The result of ``await work()``, computed by whoever asks first under ``name``; errors are shared too."""
        if name not in self._tasks:
            self._tasks[name] = asyncio.create_task(work(), name=f"plan:{name}")
        return await asyncio.shield(self._tasks[name])

    async def close(self) -> None:
        """Ends whatever is still under way."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


@dataclass(frozen=True)
class StepContext:
    """What a step gets: who and where, the plan's facts and the outcomes of earlier steps by step id.

    ``progress`` shows one line on the card while the step is under way; it is cheap and may be called often.
    ``workdir`` outlives the step and is removed when the run leaves this process. ``timeout`` is after how long the step is
    interrupted; a step that can say why it is late ends a little before.
    """

    run: RunInfo
    target: Target
    clients: TargetClients
    workdir: Any  # pathlib.Path
    plan: Facts
    outcomes: Mapping[str, Facts]
    progress: Callable[[str], None]
    timeout: timedelta = timedelta(hours=24)
    past: Past = nothing_before
    holders: Holders = nobody


class Check(Protocol):
    """One read-only check of a plan. It creates and changes nothing in the cluster."""

    name: ClassVar[str]

    async def check(self, context: PlanContext) -> CheckResult: ...


class StepKind(Protocol[Params]):
    """The Python behind one step of a runbook.

    ``mutates`` says whether it changes the cluster; a runbook with such a step takes the target's lock.
    ``interruptible`` says whether a cancel or a deadline may cancel the coroutine (which must then leave the cluster in a
    state that ``reconcile`` can read); otherwise it is awaited to its end.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    repeat: ClassVar[Repeat]
    timeout: ClassVar[timedelta]
    mutates: ClassVar[bool]
    interruptible: ClassVar[bool]
    params: ClassVar[type[BaseModel]]

    async def intend(self, context: StepContext, params: Params) -> Facts:
        """What is seen before and what will be done, stored before ``run`` starts. Read-only."""
        ...

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """Does it. Raises ``BotError`` (with evidence) when it did not work."""
        ...

    async def reconcile(self, context: StepContext, params: Params, intent: Facts) -> Reconciled:
        """After a crash: looks, and says what of the intent is there. Read-only."""
        ...


@dataclass(frozen=True)
class ApprovalPolicy:
    """How many distinct people must say yes, whether the requester counts, and how long the question stays open.

    ``expires`` None means what the configuration says (``approvals.expires``). ``incident`` is the permission with which
    one person, the requester too, confirms alone what was asked for in an incident channel of the target.
    """

    count: int = 1
    exclude_requester: bool = True
    expires: timedelta | None = None
    incident: str | None = None


@dataclass(frozen=True)
class OverrideRule:
    """Which kind of blocker a person may override, and the permission that this takes."""

    code: str
    permission: str


class Step(Protocol):
    """One step of a loaded runbook."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def kind(self) -> StepKind[Any]: ...
    @property
    def timeout(self) -> timedelta: ...
    @property
    def on_failure(self) -> OnFailure: ...

    def skipped(self, scope: Facts) -> bool:
        """Whether ``if:``/``unless:`` leave this step out; ``scope`` has inputs, plan and outcomes."""
        ...

    def parameters(self, scope: Facts) -> BaseModel:
        """``with:`` with its expressions filled in, validated. Raises ``Permanent`` naming step and field."""
        ...


@dataclass(frozen=True)
class Input:
    """One thing that the person gives, as the runbook declares it; ``type`` is the loader's word (``bool``, ``component``)."""

    name: str
    type: str
    required: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Runbook:
    """A loaded runbook. ``permission`` is what a person needs to ask for it; ``approval`` is None where none is asked.

    ``report`` marks read-only runbooks whose last outcome *is* the answer (status, history, verify). An ``emergency`` goes
    before changes, in a lane of its own, and is not planned again when it starts.
    """

    name: str
    summary: str
    permission: str
    checks: tuple[Check, ...]
    steps: tuple[Step, ...]
    approval: ApprovalPolicy | None
    report: bool = False
    overrides: tuple[OverrideRule, ...] = ()
    emergency: bool = False
    inputs: tuple[Input, ...] = ()

    @property
    def mutates(self) -> bool:
        return any(step.kind.mutates for step in self.steps)

    @property
    def lane(self) -> Lane:
        return Lane.EMERGENCY if self.emergency else Lane.CHANGE


FAMILIES = ("emergency", "recover")
"""The first words of runbooks that people know as two words."""


def as_typed(name: str) -> str:
    """A runbook's name as people type it: ``emergency scale-down`` for ``emergency-scale-down``."""
    first, dash, rest = name.partition("-")
    return f"{first} {rest}" if dash and first in FAMILIES else name


class Runbooks(Protocol):
    """Where runbooks come from (``runbooks.loader``)."""

    def names(self) -> Sequence[str]: ...

    def text(self, name: str) -> str:
        """The YAML as it is now; raises ``UserMistake`` for an unknown name."""
        ...

    def parse(self, text: str) -> Runbook:
        """A runbook from a run's own copy of the text."""
        ...

    def inputs(self, name: str, given: Mapping[str, str]) -> dict[str, Json]:
        """Validated inputs, defaults filled in; raises ``UserMistake`` naming the input and its right form."""
        ...

    def expand(self, runbook: Runbook, facts: Facts) -> Runbook:
        """The runbook with the steps that the plan's facts add to it (the migration notes' own).

        The same facts always give the same steps, so that a run can be taken up again.
        """
        ...
