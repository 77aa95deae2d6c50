"""Steps that migration notes add to a runbook, and the check that notes are in order, down to the step kinds that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bot.diff.migrations import NoteStep, read_notes
from bot.engine.contract import Facts, Json, Runbook, Step
from bot.errors import Permanent
from runbooks import loader
from runbooks.document import StepDocument
from runbooks.registry import Registry

UPGRADE = "helm.upgrade"


def expanded(runbook: Runbook, facts: Facts, registry: Registry) -> Runbook:
    """The runbook with the facts' steps right before and after its ``helm.upgrade``.

    A runbook without one, and facts without steps, change nothing. Raises ``Permanent`` when this version of the bot no longer
    knows a step.
    """
    given: Sequence[Mapping[str, Json]] = facts.get("migration_steps") or ()
    place = next((number for number, step in enumerate(runbook.steps) if step.kind.name == UPGRADE), None)
    if not given or place is None:
        return runbook
    before, after = ([_step(item, registry) for item in given if item["when"] == when] for when in ("before", "after"))
    around: tuple[Step, ...] = (*before, runbook.steps[place], *after)
    return replace(runbook, steps=(*runbook.steps[:place], *around, *runbook.steps[place + 1 :]))


def problems(folder: Path, registry: Registry) -> list[str]:
    """What is wrong in a folder's notes, a line each with file, line and field, down to the step kinds that they name."""
    found, said = read_notes(folder)
    for document, note in found:
        for number, step in enumerate(note.steps):
            if step.uses is not None:
                said += [
                    f"{document.place(('steps', number, *path))}: steps.{number}.{'.'.join(map(str, path))}: {text}"
                    for path, text in _wrong(step, registry)
                ]
    return said


def _wrong(step: NoteStep, registry: Registry) -> Iterator[tuple[tuple[str | int, ...], str]]:
    try:
        written = StepDocument.model_validate(_document("note-0", step.model_dump(by_alias=True, exclude_none=True)))
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            yield problem["loc"], problem["msg"].removeprefix("Value error, ")
        return
    yield from loader.step_problems(written, registry)


def _step(item: Mapping[str, Json], registry: Registry) -> Step:
    try:
        written = StepDocument.model_validate(_document(str(item["id"]), item))
        wrong = [f"{'.'.join(map(str, path))}: {text}" for path, text in loader.step_problems(written, registry)]
    except ValidationError as error:
        wrong = [problem["msg"] for problem in error.errors(include_url=False)]
    if wrong:
        raise Permanent(
            f"The step that the migration notes of {item.get('version')} add cannot be done: {wrong[0]}.",
            way_out="Ask for the upgrade again, so that it is planned with the notes as they are now.",
        )
    return loader.loaded_step(written, registry)


def _document(name: str, item: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("uses", "with", "timeout", "on_failure", "title")
    return {"id": name, **{key: item[key] for key in kept if key in item}}
