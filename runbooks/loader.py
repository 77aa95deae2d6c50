"""Runbooks from YAML: read, checked down to every name and expression, and made into what the engine runs.

Nothing here runs anything. What is wrong in a file is said with its line and field, before anybody asks for the runbook.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ValidationError
from rapidfuzz import process

from bot import yamlfile
from bot.engine.contract import Facts, Input, Json, OnFailure, OverrideRule, Runbook, StepKind
from bot.errors import Permanent, UserMistake
from runbooks.document import RunbookDocument, StepDocument
from runbooks.expressions import BadExpression, Expression, has_expression
from runbooks.registry import Registry

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class LoadedStep:
    """One step of a runbook, as ``bot.engine.contract.Step`` promises it."""

    id: str
    title: str
    kind: StepKind[Any]
    timeout: timedelta
    on_failure: OnFailure
    condition: Expression | bool
    wanted: bool
    """What ``condition`` must give for the step to be done: true for ``if``, false for ``unless``."""
    given: Mapping[str, Json]

    def skipped(self, scope: Facts) -> bool:
        """Whether the condition leaves this step out. Raises ``Permanent`` naming the step and the field."""
        if isinstance(self.condition, bool):
            return self.condition is not self.wanted
        try:
            return self.condition.truth(scope) is not self.wanted
        except BadExpression as error:
            raise self._failed("if" if self.wanted else "unless", error) from error

    def parameters(self, scope: Facts) -> BaseModel:
        """``with``, filled in and validated. Raises ``Permanent`` naming the step and the field."""
        filled = {name: self._fill(value, scope, f"with.{name}") for name, value in self.given.items()}
        try:
            return self.kind.params.model_validate(filled)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in ("with", *problem["loc"]))
            raise self._failed(field, problem["msg"]) from error

    def _fill(self, value: Json, scope: Facts, field: str) -> Json:
        if isinstance(value, Mapping):
            return {name: self._fill(part, scope, f"{field}.{name}") for name, part in value.items()}
        if isinstance(value, list):
            return [self._fill(part, scope, f"{field}.{number}") for number, part in enumerate(value)]
        if not isinstance(value, str) or not has_expression(value):
            return value
        try:
            return Expression.of(value).value(scope)
        except BadExpression as error:
            raise self._failed(field, error) from error

    def _failed(self, field: str, why: object) -> Permanent:
        return Permanent(
            f"Step {self.id}: {field} {_sentence(why)}",
            way_out="Correct the runbook and ask for it again; this run keeps the text it was started with.",
        )


def load(document: yamlfile.Document, registry: Registry) -> tuple[RunbookDocument, Runbook]:
    """The runbook in ``document``. Raises ``UserMistake`` that lists every problem with its line and field."""
    written = yamlfile.validate(document, RunbookDocument)
    problems = list(_problems(written, registry))
    if problems:
        raise UserMistake("\n".join(f"{document.place(path)}: {_dotted(path)}: {said}" for path, said in problems))
    return written, Runbook(
        name=written.name,
        summary=written.summary,
        permission=written.asked_permission().value,
        checks=tuple(registry.checks[item.check] for item in written.plan),
        steps=tuple(loaded_step(step, registry) for step in written.steps),
        approval=written.approval.policy() if written.approval else None,
        report=written.report,
        overrides=tuple(OverrideRule(one.code, one.permission.value) for one in written.overrides),
        emergency=written.emergency,
        inputs=tuple(Input(name, one.type, one.required, one.choices) for name, one in written.inputs.items()),
    )


def loaded_step(step: StepDocument, registry: Registry) -> LoadedStep:
    """One step that ``step_problems`` has nothing against, as the engine runs it."""
    kind = registry.steps[step.uses]
    condition = step.when if step.when is not None else step.unless
    return LoadedStep(
        id=step.id,
        title=step.title or kind.title,
        kind=kind,
        timeout=step.timeout or kind.timeout,
        on_failure=step.on_failure,
        condition=Expression.of(condition) if isinstance(condition, str) else condition is None or condition,
        wanted=step.unless is None,
        given=step.with_,
    )


def _problems(written: RunbookDocument, registry: Registry) -> Iterator[tuple[Path, str]]:
    for number, item in enumerate(written.plan):
        if item.check not in registry.checks:
            yield ("plan", number, "check"), _unknown("check", item.check, registry.checks)
    if written.report and not written.plan and not written.steps[-1:]:
        yield ("report",), "a report needs a step that answers"
    earlier: set[str] = set()
    for number, step in enumerate(written.steps):
        at: Path = ("steps", number)
        if step.id in earlier:
            yield (*at, "id"), f"another step has the id {step.id!r}"
        if step.id.startswith("note-"):
            yield (*at, "id"), "ids that begin with note- are those of the migration notes' steps"
        yield from (((*at, *path), said) for path, said in step_problems(step, registry, written, earlier))
        if written.report and step.uses in registry.steps and registry.steps[step.uses].mutates:
            yield (*at, "uses"), f"a report changes nothing, and {step.uses} does"
        earlier.add(step.id)
    for number, rule in enumerate(written.overrides):
        if rule.code in {one.code for one in written.overrides[:number]}:
            yield ("overrides", number, "code"), f"{rule.code!r} is there already"


def step_problems(
    step: StepDocument, registry: Registry, written: RunbookDocument | None = None, earlier: Collection[str] = ()
) -> Iterator[tuple[Path, str]]:
    """What is wrong with one step: its kind, its parameters, its expressions.

    Without ``written`` (a step that is not part of a file), what its expressions read of inputs and outcomes is not judged.
    """
    if step.uses not in registry.steps:
        yield ("uses",), _unknown("step kind", step.uses, registry.steps)
    else:
        yield from _bad_parameters(step, registry.steps[step.uses])
    for path, text in _expressions(step):
        try:
            reads = Expression.of(text).names
        except BadExpression as error:
            yield path, str(error)
            continue
        if written is not None:
            yield from ((path, said) for said in _bad_names(reads, written, earlier))


def _bad_parameters(step: StepDocument, kind: StepKind[Any]) -> Iterator[tuple[Path, str]]:
    """Unknown and missing keys always; values only where no expression decides them."""
    settled = {name: value for name, value in step.with_.items() if not any(_texts((), value))}
    try:
        kind.params.model_validate(settled)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            if problem["type"] != "missing" or problem["loc"][0] not in step.with_:
                yield ("with", *problem["loc"]), _said(problem["type"], problem["msg"])
    for name in step.with_.keys() - settled.keys():
        if name not in {field.alias or key for key, field in kind.params.model_fields.items()}:
            yield ("with", name), "unknown key"


def _expressions(step: StepDocument) -> Iterator[tuple[Path, str]]:
    for name, value in (("if", step.when), ("unless", step.unless)):
        if isinstance(value, str):
            yield (name,), value
    yield from _texts(("with",), step.with_)


def _texts(path: Path, value: Json) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str) and has_expression(value):
        yield path, value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _texts((*path, name), part)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _texts((*path, number), part)


def _bad_names(reads: frozenset[tuple[str, str]], written: RunbookDocument, earlier: Collection[str]) -> Iterator[str]:
    for where, name in sorted(reads):
        if where == "inputs" and name not in written.inputs:
            yield _unknown("input", name, written.inputs)
        if where == "outcomes" and name not in earlier:
            yield f"no step before this one has the id {name!r}"


def _unknown(what: str, name: str, known: Mapping[str, object]) -> str:
    near = process.extractOne(name, list(known), score_cutoff=40)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known) or 'none'}"
    return f"there is no {what} {name!r}{hint}"


def _said(kind: str, message: str) -> str:
    return "unknown key" if kind == "extra_forbidden" else message.removeprefix("Value error, ")


def _sentence(why: object) -> str:
    text = str(why).strip()
    return text if text.endswith(".") else f"{text}."


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)
