"""Runbooks from YAML: the shipped ones, a users' folder, and every mistake with its file, line and field."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bot.engine.contract import OnFailure, OverrideRule
from bot.errors import Permanent, UserMistake
from runbooks.library import SHIPPED, RunbookLibrary
from runbooks.registry import MIGRATIONS, Registry, shipped_registry

GOOD = """\
name: nightly
summary: Back up every night
permission: upgrade
inputs:
  note: {type: string, default: none}
plan:
  - {check: helm.release}
approval: {count: 2, expires: 1h30m}
steps:
  - {id: backup, uses: postgres.backup, unless: "{{ plan.no_database }}", timeout: 5m}
  - id: back
    uses: helm.rollback
    title: Go back
    if: "{{ inputs.note == 'go' }}"
    with: {revision: "{{ outcomes.backup.revision }}"}
    on_failure: ask
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return shipped_registry()


@pytest.fixture(scope="module")
def library(registry: Registry) -> RunbookLibrary:
    return RunbookLibrary(registry)


def test_every_shipped_runbook_loads(library: RunbookLibrary) -> None:
    reports = {"changelog", "diff", "history", "status", "verify", "versions"}
    emergencies = {f"emergency-{word}" for word in ("disable", "enable", "externalize", "restore", "scale-down")}
    others = {"plan", "recover-database", "recover-restart", "recover-volumes", "rollback", "unlock", "upgrade"}
    assert library.names() == sorted({*reports, *emergencies, *others})
    permissions = {name: library.parse(library.text(name)).permission for name in library.names()}
    assert permissions == {
        **dict.fromkeys(reports, "view"),
        **dict.fromkeys(emergencies, "emergency"),
        "plan": "plan",
        "recover-database": "rollback",
        "recover-restart": "rollback",
        "recover-volumes": "rollback",
        "rollback": "rollback",
        "unlock": "unlock",
        "upgrade": "upgrade",
    }


def test_only_emergencies_recovery_upgrade_rollback_and_unlock_change_anything(library: RunbookLibrary) -> None:
    changing = [name for name in library.names() if library.parse(library.text(name)).mutates]
    emergencies = [name for name in library.names() if library.parse(library.text(name)).emergency]
    assert changing == [
        *emergencies,
        "recover-database",
        "recover-restart",
        "recover-volumes",
        "rollback",
        "unlock",
        "upgrade",
    ]
    assert len(emergencies) == 5


def test_a_plan_looks_at_exactly_what_an_upgrade_looks_at(library: RunbookLibrary) -> None:
    plan, upgrade = (library.parse(library.text(name)) for name in ("plan", "upgrade"))
    assert [check.name for check in plan.checks] == [check.name for check in upgrade.checks]
    assert (plan.steps, plan.approval, plan.report) == ((), None, True)


def test_a_runbook_is_read_with_its_times_conditions_and_parameters(library: RunbookLibrary) -> None:
    runbook = library.parse(GOOD)
    assert runbook.approval is not None
    assert (runbook.approval.count, runbook.approval.exclude_requester) == (2, True)
    assert runbook.approval.expires == timedelta(minutes=90)
    backup, back = runbook.steps
    assert (backup.timeout, backup.on_failure) == (timedelta(minutes=5), OnFailure.STOP)
    assert (back.title, back.on_failure, back.timeout) == ("Go back", OnFailure.ASK, back.kind.timeout)
    scope = {"inputs": {"note": "go"}, "plan": {"no_database": True}, "outcomes": {"backup": {"revision": 4}}}
    assert (backup.skipped(scope), back.skipped(scope)) == (True, False)
    assert back.parameters(scope).model_dump()["revision"] == 4


def test_what_cannot_be_filled_in_names_step_and_field(library: RunbookLibrary) -> None:
    backup, back = library.parse(GOOD).steps
    with pytest.raises(Permanent, match=r"Step backup: unless there is no 'no_database'\."):
        backup.skipped({"inputs": {}, "plan": {}, "outcomes": {}})
    with pytest.raises(Permanent, match=r"Step back: with.revision there is no 'backup'\."):
        back.parameters({"inputs": {}, "plan": {}, "outcomes": {}})
    with pytest.raises(Permanent, match=r"Step back: with.revision Input should be a valid integer"):
        back.parameters({"inputs": {}, "plan": {}, "outcomes": {"backup": {"revision": "x"}}})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("summary: Back", "sumary: Back", "2: sumary: unknown key"),
        ("name: nightly", "name: Nightly Run", "1: name: String should match"),
        (
            "check: helm.release",
            "check: helm.relese",
            "7: plan.0.check: there is no check 'helm.relese'; did you mean 'helm.release'?",
        ),
        (
            "uses: postgres.backup",
            "uses: postgres.backups",
            "10: steps.0.uses: there is no step kind 'postgres.backups'; did you mean 'postgres.backup'?",
        ),
        ("{{ plan.no_database }}", "{{ plan.no_database", "10: steps.0.unless: unexpected"),
        (
            "{{ plan.no_database }}",
            "{{ config.x }}",
            "10: steps.0.unless: reads 'config'; there are only inputs, plan, outcomes",
        ),
        ("inputs.note ==", "inputs.nota ==", "14: steps.1.if: there is no input 'nota'; did you mean 'note'?"),
        (
            "outcomes.backup.revision",
            "outcomes.back.revision",
            "15: steps.1.with.revision: no step before this one has the id 'back'",
        ),
        ("with: {revision:", "with: {revison:", "15: steps.1.with.revison: unknown key"),
        ('"{{ outcomes.backup.revision }}"', "many", "15: steps.1.with.revision: Input should be a valid integer"),
        ("on_failure: ask", "on_failure: cry", "16: steps.1.on_failure: Input should be 'stop', 'ask' or 'rollback'"),
        ("timeout: 5m", "timeout: soon", "10: steps.0.timeout: 'soon' is not a duration; write 90s, 15m, 4h or 1h30m"),
        ("id: back\n", "id: backup\n", "11: steps.1.id: another step has the id 'backup'"),
        ("unless:", "if: true, unless:", "10: steps.0: write either if or unless, not both"),
        ("count: 2", "count: 0", "8: approval.count: Input should be greater than or equal to 1"),
        ("default: none", "default: none, required: true", "5: inputs.note: an input with a default is never missing"),
        ("permission: upgrade", "report: true", "10: steps.0.uses: a report changes nothing, and postgres.backup does"),
        ("permission: upgrade", "permission: root", "3: permission: Input should be"),
        ("steps:\n", "steps: [\n", "not valid YAML"),
        ("steps:", "overrides: [{code: Loss}]\nsteps:", "9: overrides.0.code: String should match"),
        ("steps:", "overrides: [{code: a.b, permission: root}]\nsteps:", "9: overrides.0.permission: Input should be"),
        ("steps:", "overrides: [{code: a}, {code: a}]\nsteps:", "9: overrides.1.code: 'a' is there already"),
        ("id: backup,", "id: note-1,", "10: steps.0.id: ids that begin with note- are those of the migration notes"),
        (
            "{type: string,",
            "{type: revision, choices: [a],",
            "5: inputs.note: choices are for an input of the type string",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_and_field(library: RunbookLibrary, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(UserMistake) as raised:
        library.parse(GOOD.replace(old, new, 1))
    assert said in raised.value.message


def test_the_users_folder_adds_runbooks_and_overrides_ours_by_name(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "nightly.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "mine.yml").write_text(GOOD.replace("nightly", "upgrade"), encoding="utf-8")
    library = RunbookLibrary(registry, users=tmp_path)
    assert "nightly" in library.names()
    assert library.parse(library.text("upgrade")).summary == "Back up every night"
    (tmp_path / "mine.yml").write_text("name: changed later", encoding="utf-8")
    assert library.text("upgrade").startswith("name: upgrade")


def test_a_broken_runbook_stops_the_start_and_lint_names_every_problem(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD.replace("uses: postgres.backup", "uses: nothing.like.it"), encoding="utf-8")
    (tmp_path / "b.yaml").write_text("name: [", encoding="utf-8")
    (tmp_path / "c.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "d.yaml").write_text(GOOD, encoding="utf-8")
    problems = RunbookLibrary(registry).lint(tmp_path)
    assert [problem.split(":")[0] for problem in problems] == [
        str(tmp_path / name) for name in ("a.yaml", "b.yaml", "d.yaml")
    ]
    assert "another file of this folder is also named 'nightly'" in problems[2]
    with pytest.raises(UserMistake, match="lint"):
        RunbookLibrary(registry, users=tmp_path)


def test_a_folder_that_is_not_there_is_a_problem(registry: Registry, tmp_path: Path) -> None:
    assert RunbookLibrary(registry).lint(tmp_path / "gone") == [f"{tmp_path / 'gone'}: there is no such folder"]


def test_the_shipped_folder_passes_its_own_lint(library: RunbookLibrary) -> None:
    assert library.lint(SHIPPED) == []
    assert list(MIGRATIONS.glob("*.yaml"))


def test_an_unknown_runbook_gets_the_nearest_name(library: RunbookLibrary) -> None:
    with pytest.raises(UserMistake, match="Did you mean `upgrade`") as raised:
        library.text("upgarde")
    assert raised.value.message == "There is no runbook `upgarde`."


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Which version? Write `/aeterna upgrade 0.2.1`."),
        ({"version": "  "}, "Which version? Write `/aeterna upgrade 0.2.1`."),
        ({"version": "latest"}, "`latest` is not a version. Write `/aeterna upgrade 0.2.1`."),
        ({"version": "0.2"}, "`0.2` is not a version. Write `/aeterna upgrade 0.2.1`."),
        ({"version": "0.2.1", "force": "yes"}, "`upgrade` takes no `force`. Write `/aeterna upgrade 0.2.1`."),
    ],
)
def test_a_wrong_version_is_answered_with_the_right_form(
    library: RunbookLibrary, given: dict[str, str], said: str
) -> None:
    with pytest.raises(UserMistake) as raised:
        library.inputs("upgrade", given)
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "one", "99999999", "²", "`1`"])
def test_a_wrong_revision_is_answered_with_the_right_form(library: RunbookLibrary, text: str) -> None:
    with pytest.raises(UserMistake, match=r"is not a revision. Revisions are numbers: `/aeterna rollback \[12\]`"):
        library.inputs("rollback", {"revision": text})


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("changelog", {"range": "0.2.1..0.1.0"}, "The older version comes first"),
        ("changelog", {"range": "0.1.0"}, "A version is missing"),
        ("changelog", {"range": "0.1.0..latest"}, "`latest` is not a version"),
        ("diff", {"version": "0.2.1", "part": "hooks"}, "`part` is one of values, schema, manifests"),
    ],
)
def test_a_wrong_range_or_choice_is_answered_with_the_right_form(
    library: RunbookLibrary, name: str, given: dict[str, str], said: str
) -> None:
    with pytest.raises(UserMistake) as raised:
        library.inputs(name, given)
    assert said in raised.value.message
    assert library.usage(name) in raised.value.way_out


def test_a_range_and_a_choice_are_read(library: RunbookLibrary) -> None:
    assert library.inputs("changelog", {"range": "v0.1.0…0.2.1"}) == {"range": "0.1.0..0.2.1"}
    assert library.inputs("changelog", {}) == {"range": None}
    assert library.inputs("diff", {"version": "0.3.0", "part": "schema"}) == {"version": "0.3.0", "part": "schema"}
    assert library.usage("changelog") == "/aeterna changelog [0.1.0..0.2.1]"
    assert library.usage("diff") == "/aeterna diff 0.2.1 [values|schema|manifests]"


def test_what_may_be_overridden_stands_in_the_runbook(library: RunbookLibrary) -> None:
    shipped = library.parse(library.text("upgrade")).overrides
    assert shipped == tuple(OverrideRule(code, "override") for code in ("held.down", "data.loss", "crds.stored"))
    rules = "overrides: [{code: values.missing, permission: admin}, {code: data.loss}]\nsteps:"
    runbook = library.parse(GOOD.replace("steps:", rules, 1))
    assert runbook.overrides == (OverrideRule("values.missing", "admin"), OverrideRule("data.loss", "override"))


def test_inputs_are_given_in_their_own_types(library: RunbookLibrary) -> None:
    assert library.inputs("upgrade", {"version": " v0.2.1 "}) == {"version": "0.2.1"}
    assert library.inputs("rollback", {"revision": "12"}) == {"revision": 12}
    assert library.inputs("rollback", {}) == {"revision": None}
    assert (library.input_names("upgrade"), library.usage("status")) == (["version"], "/aeterna status")
