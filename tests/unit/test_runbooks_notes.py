"""What migration notes say of going back: no, yes, or nothing; silence is no promise."""

from __future__ import annotations

import pytest

from bot.diff.migrations import MigrationNote
from runbooks.notes import database_reversible


def note(low: str, high: str, reversible: bool | None) -> MigrationNote:
    database = None if reversible is None else {"reversible": reversible, "why": "Because."}
    return MigrationNote.model_validate({"from": low, "to": high, "source": "test", "database": database})


@pytest.mark.parametrize(
    ("notes", "versions", "said"),
    [
        ([], ["0.3.0"], None),
        ([note("0.2.0", "0.3.0", None)], ["0.3.0"], None),
        ([note("0.2.0", "0.3.0", True)], ["0.3.0"], True),
        ([note("0.2.0", "0.3.0", True)], ["0.2.5", "0.3.0"], True),
        ([note("0.2.0", "0.3.0", True)], ["0.3.0", "0.3.1"], None),
        ([note("0.2.0", "0.3.0", True), note("0.3.0", "0.4.0", True)], ["0.3.0", "0.4.0"], True),
        ([note("0.2.0", "0.3.0", False)], ["0.3.0", "0.3.1", "0.4.0"], False),
        ([note("0.2.0", "0.3.0", True), note("0.3.0", "0.4.0", False)], ["0.3.0", "0.4.0"], False),
        ([note("0.2.0", "0.3.0", True)], [], None),
        ([note("0.2.0", "0.3.0", True)], ["not-a-version"], None),
    ],
)
def test_the_database_can_go_back_only_where_notes_say_so_of_every_step(
    notes: list[MigrationNote], versions: list[str], said: bool | None
) -> None:
    assert database_reversible(notes, low="0.2.1", versions=versions) is said
