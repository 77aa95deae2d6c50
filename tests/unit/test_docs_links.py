"""What README and docs point to exists: files, headings, make targets, commands, checks, step kinds."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import yaml

from bot.cli import main
from bot.engine.contract import as_typed
from bot.settings import Permission
from handlers.vocabulary import BUILT_IN
from runbooks.library import RunbookLibrary
from runbooks.registry import shipped_registry

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TYPED = "((?:emergency |recover )?[a-z-]+)"
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def _targets() -> set[str]:
    lines = (ROOT / "Makefile").read_text().splitlines()
    return {found[1] for line in lines if (found := re.match(r"([a-z-]+):(?!=)", line))}


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        path, _, anchor = link.partition("#")
        if path.startswith(("https://", "http://")) or path.endswith(".png"):
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), link
        if anchor:
            assert anchor in _anchors(file), link


def test_every_picture_is_there() -> None:
    shown = [(page, link) for page in PAGES for link in re.findall(r"!\[[^\]]+\]\(([^)\s]+)\)", page.read_text())]
    assert shown
    assert [link for page, link in shown if not (page.parent / link).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_in_backticks_exists(page: Path) -> None:
    for path in re.findall(
        r"`((?:bot|handlers|runbooks|dev|tests|docs|helm|requirements)/[\w./*-]*)`", page.read_text()
    ):
        assert list(ROOT.glob(path.rstrip("/"))), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= _targets()


def test_the_readme_names_every_make_target() -> None:
    assert set(re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)) == _targets()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_program_call_that_is_shown_exists(page: Path) -> None:
    for call in re.findall(r"aeterna-bot ((?:serve|check-config|runbooks|audit|db)(?: [a-z]+)?)", page.read_text()):
        command: click.Command = main
        for word in call.split():
            if isinstance(command, click.Group):
                assert word in command.commands, call
                command = command.commands[word]


def test_the_readme_names_every_command_of_the_program() -> None:
    text = (ROOT / "README.md").read_text()
    for name, command in main.commands.items():
        for full in [f"{name} {sub}" for sub in command.commands] if isinstance(command, click.Group) else [name]:
            assert f"aeterna-bot {full}" in text, full


def test_the_readme_names_every_word_that_can_be_typed_and_no_other() -> None:
    words = {word.name for word in BUILT_IN} | set(map(as_typed, RunbookLibrary(shipped_registry()).names()))
    assert set(re.findall(rf"^\| `/aeterna {TYPED}", (ROOT / "README.md").read_text(), re.MULTILINE)) == words


def test_the_permissions_of_the_readme_are_those_of_the_code() -> None:
    library = RunbookLibrary(shipped_registry())
    rows = re.findall(
        rf"^\| `/aeterna {TYPED}[^|]*\|[^|]*\| `?(\w+)`? \|$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    told = dict(rows)
    for name in library.names():
        assert told[as_typed(name)] == library.parse(library.text(name)).permission, name
    operations = (ROOT / "docs" / "operations.md").read_text()
    assert all(f"`{permission.value}`" in operations for permission in Permission)


def test_the_runbook_page_names_every_check_and_step_kind_and_no_other() -> None:
    registry, text = shipped_registry(), (ROOT / "docs" / "runbooks.md").read_text()
    rows = set(re.findall(r"`([a-z]+\.?[a-z_]*)`", "\n".join(re.findall(r"^\|([^|]*)\|", text, re.MULTILINE))))
    assert {*registry.checks, *registry.steps} <= rows
    assert {name for name in rows if "." in name} <= {*registry.checks, *registry.steps}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_runbook_that_is_shown_is_in_order(page: Path, tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)):
        if "steps" in (shown := yaml.safe_load(block)):
            folder = tmp_path / "migrations" if "from" in shown else tmp_path
            (folder / f"{number}.yaml").write_text(block)
    assert RunbookLibrary(shipped_registry()).lint(tmp_path) == []
