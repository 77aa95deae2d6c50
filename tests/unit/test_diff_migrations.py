"""Migration notes: their shape, how they chain, the steps and the checklist that they add to a run, and how lint checks them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.diff.migrations import MigrationNote, crossed, load_notes, merged
from bot.engine.contract import OnFailure
from bot.errors import Permanent, UserMistake
from runbooks.library import SHIPPED, RunbookLibrary
from runbooks.notes import checklist, steps
from runbooks.registry import MIGRATIONS, note_folders, shipped_registry

NOTE = """\
from: 0.2.0
to: 0.3.0
source: a test
steps:
  - {when: before, text: Copy the data}
  - when: after
    uses: verify.release
    text: Prove it once more
    with: {patience: 30s}
    timeout: 5m
    on_failure: ask
  - {when: before, uses: verify.baseline}
"""


@pytest.fixture(scope="module")
def library() -> RunbookLibrary:
    return RunbookLibrary(shipped_registry())


def note(**more: Any) -> MigrationNote:
    return MigrationNote.model_validate({"from": "0.1.0", "to": "0.2.0", "source": "a test", **more})


def facts(folder: Path) -> dict[str, Any]:
    notes = load_notes(folder)
    return {"checklist": checklist(notes), "migration_steps": steps(notes)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "note.yaml").write_text(NOTE, encoding="utf-8")
    return tmp_path


def test_what_a_person_does_is_a_checklist_and_what_the_runbook_does_are_steps(folder: Path) -> None:
    assert facts(folder) == {
        "checklist": [{"id": "note-0-3-0-1", "when": "before", "text": "Copy the data", "version": "0.3.0"}],
        "migration_steps": [
            {
                "id": "note-0-3-0-2",
                "when": "after",
                "uses": "verify.release",
                "with": {"patience": "30s"},
                "version": "0.3.0",
                "timeout": "5m",
                "on_failure": "ask",
                "title": "Prove it once more",
            },
            {"id": "note-0-3-0-3", "when": "before", "uses": "verify.baseline", "with": {}, "version": "0.3.0"},
        ],
    }


def test_steps_stand_right_before_and_after_the_upgrade(folder: Path, library: RunbookLibrary) -> None:
    upgrade = library.parse(library.text("upgrade"))
    plain = [step.id for step in upgrade.steps]
    expanded = library.expand(upgrade, facts(folder))
    place = plain.index("upgrade")
    assert [step.id for step in expanded.steps] == [
        *plain[:place], "note-0-3-0-3", "upgrade", "note-0-3-0-2", *plain[place + 1 :]
    ]  # fmt: skip
    added = next(step for step in expanded.steps if step.id == "note-0-3-0-2")
    assert (added.title, added.on_failure, added.timeout.total_seconds()) == ("Prove it once more", OnFailure.ASK, 300)
    assert added.parameters({}).model_dump()["patience"].total_seconds() == 30
    assert library.expand(upgrade, facts(folder)).steps == expanded.steps


def test_a_runbook_without_an_upgrade_and_a_plan_without_notes_stay_as_they_are(
    folder: Path, library: RunbookLibrary
) -> None:
    rollback, upgrade = (library.parse(library.text(name)) for name in ("rollback", "upgrade"))
    assert library.expand(rollback, facts(folder)) is rollback
    assert library.expand(upgrade, {}) is upgrade


def test_a_step_that_this_version_no_longer_knows_stops_the_run_with_a_sentence(library: RunbookLibrary) -> None:
    old = {"id": "note-0-3-0-1", "when": "after", "uses": "qdrant.dance", "with": {}, "version": "0.3.0"}
    with pytest.raises(
        Permanent, match=r"notes of 0\.3\.0 add cannot be done: uses: there is no step kind 'qdrant.dance'"
    ):
        library.expand(library.parse(library.text("upgrade")), {"migration_steps": [old]})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("uses: verify.release", "uses: verify.relase", "7: steps.1.uses: there is no step kind 'verify.relase'"),
        ("patience: 30s", "patients: 30s", "9: steps.1.with.patients: unknown key"),
        ("patience: 30s", "patience: soon", "9: steps.1.with.patience: 'soon' is not a duration"),
        ("timeout: 5m", "timeout: soon", "10: steps.1.timeout: 'soon' is not a duration"),
        ("on_failure: ask", "on_failure: cry", "11: steps.1.on_failure: Input should be"),
        ("patience: 30s", 'patience: "{{ config.x }}"', "9: steps.1.with.patience: reads 'config'"),
        ("when: after", "when: later", "6: steps.1.when: Input should be 'before' or 'after'"),
        (", text: Copy the data", "", "5: steps.0: write text for a person, or uses for the runbook"),
        ("text: Copy the data", "text: x, timeout: 5m", "5: steps.0: with, timeout and on_failure go with uses"),
        ("to: 0.3.0", "to: 0.1.0", "must be older than to"),
        ("source: a test", "source: a test\nrenamed: [{old: a..b, new: c}]", "4: renamed.0.old: 'a..b' is not a path"),
        ("source: a test", "source: a test\nsource: twice", "4: 'source' is written twice"),
    ],
)
def test_lint_names_what_is_wrong_in_a_note_with_its_line_and_field(
    tmp_path: Path, library: RunbookLibrary, old: str, new: str, said: str
) -> None:
    assert old in NOTE
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "n.yaml").write_text(NOTE.replace(old, new, 1), encoding="utf-8")
    problems = library.lint(tmp_path)
    assert any(said in problem for problem in problems), problems


def test_a_broken_note_of_the_users_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "n.yaml").write_text(NOTE.replace("verify.release", "nothing.like.it"), encoding="utf-8")
    with pytest.raises(UserMistake, match=r"n\.yaml:7: steps\.1\.uses: there is no step kind"):
        RunbookLibrary(shipped_registry(migrations=note_folders(tmp_path)), users=tmp_path)


def test_two_notes_about_one_step_in_a_folder_are_a_mistake_and_the_users_takes_the_place_of_ours(
    tmp_path: Path,
) -> None:
    for name in ("a.yaml", "b.yml"):
        (tmp_path / name).write_text(NOTE, encoding="utf-8")
    with pytest.raises(UserMistake, match=r"b\.yml:2: to: .*a\.yaml is also about aeterna 0\.3\.0"):
        load_notes(tmp_path)
    ours, theirs = note(breaking=["ours"]), note(breaking=["theirs"])
    assert merged([[ours, note(chart="other")], [theirs]]) == (theirs, note(chart="other"))


def test_notes_chain_from_the_release_to_the_version_asked_for() -> None:
    notes = load_notes(MIGRATIONS)
    chain = crossed(notes, chart="aeterna", low="0.2.1", high="0.6.0")
    assert [one.to for one in chain] == ["0.3.0", "0.4.0", "0.6.0"]
    versions = [item["version"] for item in checklist(chain)]
    assert versions == sorted(versions)
    assert not all(one.database.reversible for one in chain if one.database)
    assert [one.to for one in crossed(notes, chart="aeterna", low="0.8.0-rc.2", high="0.8.0-rc.12")] == [
        "0.8.0-rc.3", "0.8.0-rc.4", "0.8.0-rc.8",
    ]  # fmt: skip


def test_the_shipped_notes_are_about_every_step_that_has_them_and_say_where_they_were_read(
    library: RunbookLibrary,
) -> None:
    notes = load_notes(MIGRATIONS)
    assert {one.to for one in notes} == {"0.2.0", "0.3.0", "0.4.0", "0.6.0", "0.8.0-rc.3", "0.8.0-rc.4", "0.8.0-rc.8"}
    assert all(one.source and one.database for one in notes)
    assert library.lint(SHIPPED) == []
    ids = [item["id"] for item in checklist(notes)]
    assert len(set(ids)) == len(ids)
