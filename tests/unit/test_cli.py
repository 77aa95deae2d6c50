"""The command line without a cluster: what it prints, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.cli import main

CONFIG = """\
targets:
  - {name: prod, namespace: a, release: a, chart: {path: chart}}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "b-token")
    monkeypatch.setenv("SLACK_APP_TOKEN", "a-token")
    file = tmp_path / "aeterna-bot.yaml"
    file.write_text(CONFIG)
    return file


def test_runbooks_show_lists_all_and_prints_one() -> None:
    listed = CliRunner().invoke(main, ["runbooks", "show"])
    assert listed.exit_code == 0
    assert {line.split()[0] for line in listed.output.splitlines()} >= {
        "upgrade",
        "rollback",
        "verify",
        "status",
        "history",
    }
    shown = CliRunner().invoke(main, ["runbooks", "show", "upgrade"])
    assert "uses: helm.upgrade" in shown.output


def test_runbooks_show_of_an_unknown_one_says_so() -> None:
    result = CliRunner().invoke(main, ["runbooks", "show", "upgrad"])
    assert result.exit_code == 2
    assert "upgrad" in result.output


def test_runbooks_lint_names_file_line_and_field(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nsummary: x\nsteps:\n  - {id: a, uses: helm.upgrad}\n")
    result = CliRunner().invoke(main, ["runbooks", "lint", str(tmp_path)])
    assert result.exit_code == 1
    assert "mine.yaml:4" in result.output
    assert "helm.upgrade" in result.output
    (tmp_path / "mine.yaml").unlink()
    assert CliRunner().invoke(main, ["runbooks", "lint", str(tmp_path)]).exit_code == 0


def test_the_database_is_made_and_its_audit_trail_holds(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLACK_BOT_TOKEN")  # who only reads the journal needs no token
    assert CliRunner().invoke(main, ["db", "upgrade", "--config", str(config)]).output == "The schema is up to date.\n"
    verified = CliRunner().invoke(main, ["audit", "verify", "--config", str(config)])
    assert (verified.exit_code, verified.output) == (0, "0 row(s) hold.\n")
    assert CliRunner().invoke(main, ["audit", "export", "--config", str(config)]).output == ""


def test_a_wrong_configuration_is_one_sentence_and_exit_code_2(config: Path) -> None:
    config.write_text(CONFIG.replace("namespace", "namespase"))
    result = CliRunner().invoke(main, ["serve", "--config", str(config)])
    assert result.exit_code == 2
    assert "aeterna-bot.yaml:2: targets.0.namespase: unknown key" in result.output
    assert "Traceback" not in result.output
