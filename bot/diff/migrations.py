"""Migration notes: what people wrote down about one version step of a chart that ships no notes of its own.

One YAML file a step. A note counts for every upgrade that crosses its ``to``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator
from semver import Version

from bot import yamlfile
from bot.diff.changelog import as_version
from bot.errors import UserMistake

Text = Annotated[str, Field(min_length=1, max_length=1_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ValueNote(_Part):
    """One key of the values and what to know about it."""

    key: Text
    text: Text


class RenamedValue(_Part):
    """A key that got another name, and what else changes with it."""

    old: Text
    new: Text
    text: str = ""


class DatabaseNote(_Part):
    """Whether the database can go back after this step, and why not."""

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
    before: tuple[Text, ...] = ()
    after: tuple[Text, ...] = ()
    database: DatabaseNote | None = None

    @field_validator("from_", "to")
    @classmethod
    def _is_a_version(cls, value: str) -> str:
        if as_version(value) is None:
            raise ValueError(f"{value!r} is not a version; write three numbers, like 0.2.0")
        return value


def load_notes(folder: Path) -> list[MigrationNote]:
    """The notes of a folder, oldest step first; empty without one. Raises ``UserMistake`` with file, line and field."""
    if not folder.is_dir():
        return []
    notes = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserMistake(f"{path} cannot be read: {error}.") from error
        notes.append(yamlfile.validate(yamlfile.parse(text, name=str(path)), MigrationNote))
    return sorted(notes, key=_step)


def crossed(notes: Iterable[MigrationNote], *, chart: str, low: str, high: str) -> list[MigrationNote]:
    """The notes whose ``to`` lies above ``low`` and not above ``high``, oldest first."""
    first, last = as_version(low), as_version(high)
    if first is None or last is None:
        return []
    return [note for note in sorted(notes, key=_step) if note.chart == chart and first < _step(note) <= last]


def _step(note: MigrationNote) -> Version:
    return Version.parse(note.to.removeprefix("v"))
