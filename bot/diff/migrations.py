"""Migration notes: what people wrote down about one version step of a chart that ships no notes of its own.

One YAML file a step. A note counts for every upgrade that crosses its ``to``; several chain, oldest first. Whether the step
kinds that a note names exist is checked above, where they are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from semver import Version

from bot import yamlfile
from bot.diff.changelog import as_version
from bot.diff.values import split
from bot.errors import UserMistake

Text = Annotated[str, Field(min_length=1, max_length=1_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _is_a_key(value: str) -> str:
    split(value)
    return value


class ValueNote(_Part):
    """One key of the values, dotted, and what to know about it."""

    key: Text
    text: Text

    _key = field_validator("key")(_is_a_key)


class RenamedValue(_Part):
    """A key that got another name, and what else changes with it."""

    old: Text
    new: Text
    text: str = ""

    _keys = field_validator("old", "new")(_is_a_key)


class NoteStep(_Part):
    """Something to do before or after the upgrade: by the runbook (``uses``, ``with``), else by a person who ticks ``text``.

    ``timeout`` and ``on_failure`` are those of a runbook's step, and go with ``uses``.
    """

    when: Literal["before", "after"]
    text: Text | None = None
    uses: Text | None = None
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    timeout: str | None = None
    on_failure: str | None = None

    @model_validator(mode="after")
    def _somebody_does_it(self) -> NoteStep:
        if self.uses is None and self.text is None:
            raise ValueError("write text for a person, or uses for the runbook")
        if self.uses is None and (self.with_ or self.timeout or self.on_failure):
            raise ValueError("with, timeout and on_failure go with uses")
        return self


class DatabaseNote(_Part):
    """Whether the database can go back after this step, and why (not)."""

    reversible: bool
    why: Text


class MigrationNote(_Part):
    """What has to be known about going from ``from_`` to ``to``. ``source`` says where it was read."""

    chart: str = "aeterna"
    from_: Text = Field(alias="from")
    to: Text
    source: Text
    breaking: tuple[Text, ...] = ()
    new_required: tuple[ValueNote, ...] = ()
    deprecated: tuple[ValueNote, ...] = ()
    renamed: tuple[RenamedValue, ...] = ()
    steps: tuple[NoteStep, ...] = ()
    database: DatabaseNote | None = None

    @field_validator("from_", "to")
    @classmethod
    def _is_a_version(cls, value: str) -> str:
        if as_version(value) is None:
            raise ValueError(f"{value!r} is not a version; write three numbers, like 0.2.0")
        return value

    @model_validator(mode="after")
    def _goes_up(self) -> MigrationNote:
        if not version_of(self.from_) < version_of(self.to):
            raise ValueError(f"from ({self.from_}) must be older than to ({self.to})")
        return self

    @property
    def named(self) -> str:
        """``0.5.0 → 0.6.0``."""
        return f"{self.from_} → {self.to}"


def read_notes(folder: Path) -> tuple[list[tuple[yamlfile.Document, MigrationNote]], list[str]]:
    """The notes of a folder with the files they stand in, and a line for each problem, with file, line and field."""
    found: list[tuple[yamlfile.Document, MigrationNote]] = []
    problems: list[str] = []
    for path in sorted(one for one in folder.glob("*") if one.suffix in {".yaml", ".yml"}) if folder.is_dir() else ():
        try:
            document = yamlfile.parse(path.read_text(encoding="utf-8"), name=str(path))
            note = yamlfile.validate(document, MigrationNote)
        except UserMistake as error:
            problems += error.message.splitlines()
            continue
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: cannot be read: {error}")
            continue
        twin = next((other.name for other, one in found if (one.chart, one.to) == (note.chart, note.to)), None)
        if twin:
            problems.append(f"{document.place(['to'])}: to: {twin} is also about {note.chart} {note.to}")
        found.append((document, note))
    return found, problems


def load_notes(folder: Path) -> list[MigrationNote]:
    """The notes of a folder, oldest step first; empty without one. Raises ``UserMistake`` with file, line and field."""
    found, problems = read_notes(folder)
    if problems:
        raise UserMistake("\n".join(problems))
    return sorted((note for _, note in found), key=_step)


def merged(folders: Iterable[Sequence[MigrationNote]]) -> tuple[MigrationNote, ...]:
    """The notes of several folders, oldest first; a later folder's note about the same step takes the earlier one's place."""
    notes = {(note.chart, _step(note)): note for folder in folders for note in folder}
    return tuple(sorted(notes.values(), key=_step))


def crossed(notes: Iterable[MigrationNote], *, chart: str, low: str, high: str) -> list[MigrationNote]:
    """The notes whose ``to`` lies above ``low`` and not above ``high``, oldest first."""
    first, last = as_version(low), as_version(high)
    if first is None or last is None:
        return []
    return [note for note in sorted(notes, key=_step) if note.chart == chart and first < _step(note) <= last]


def version_of(text: str) -> Version:
    """The version of a note, which was checked when it was read."""
    return Version.parse(text.strip().removeprefix("v"))


def _step(note: MigrationNote) -> Version:
    return version_of(note.to)
