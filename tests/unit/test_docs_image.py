"""The Dockerfile, as far as it can be judged without an engine, and the wheel that goes into the image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from dev.toolchain.catalog import LDFLAGS, PROGRAMS
from runbooks.library import RunbookLibrary
from runbooks.registry import shipped_registry

ROOT = Path(__file__).parents[2]
LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()
INSTRUCTIONS = [line.split(None, 1) for line in LINES if line and not line.startswith(("#", " "))]
PACKAGES = ("bot", "handlers", "runbooks")


def _all(name: str) -> list[str]:
    return [rest for instruction, rest in INSTRUCTIONS if instruction == name]


def _last_stage() -> list[list[str]]:
    start = max(number for number, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM")
    return INSTRUCTIONS[start:]


def test_every_base_is_pinned_by_tag_and_digest() -> None:
    stages = [re.fullmatch(r"(\S+:[\w.-]+@sha256:[0-9a-f]{64})(?: AS (\w+))?", rest) for rest in _all("FROM")]
    assert [stage and stage[2] for stage in stages] == ["helm", "build", None]
    assert stages[1] is not None
    assert stages[2] is not None
    assert stages[1][1] == stages[2][1], "an environment belongs to the Python that it was made with"


def test_helm_is_the_one_that_the_tests_run_with() -> None:
    (version,) = [rest.partition("=")[2] for rest in _all("ARG")]
    (build,) = [rest for rest in _all("RUN") if "go build" in rest]
    assert version == PROGRAMS["helm"].version
    assert re.search(
        rf"^\s+helm\.sh/helm/v4 {re.escape(version)}\b", (ROOT / "dev/go/go.mod").read_text(), re.MULTILINE
    )
    assert PROGRAMS["helm"].origin in build
    stamp = re.search(r"-X helm\.sh/helm/v4/internal/version\.version=", build)
    assert stamp
    assert f"{stamp[0]}{version}" in LDFLAGS


def test_what_is_shipped_is_not_root_and_needs_no_shell() -> None:
    last = _last_stage()
    assert [rest for name, rest in last if name == "USER"] == ["10001:10001"]
    assert [rest for name, rest in last if name == "ENTRYPOINT"] == ['["aeterna-bot"]']
    assert [rest for name, rest in last if name == "CMD"] == ['["serve"]']
    assert not [name for name, _ in last if name == "RUN"]


def test_dependencies_are_installed_by_hash_only() -> None:
    (install,) = [rest for rest in _all("RUN") if "run.lock" in rest]
    for command in re.split("&&", install):
        assert "--require-hashes" in command or "install" not in command
    (program,) = re.findall(r"awk '([^']*)'", install)
    lock = ROOT / "requirements" / "dev.lock"
    done = subprocess.run(["awk", program, str(lock)], capture_output=True, text=True, check=True)
    assert re.match(r"setuptools==[\d.]+ \\\n +--hash=sha256:", done.stdout)
    assert done.stdout.count("==") == 1


def test_everything_that_is_copied_is_there_and_let_through_by_dockerignore() -> None:
    allowed = {
        line[1:].rstrip("*").rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line[:1] == "!"
    }
    sources = {
        source.rstrip("/") for rest in _all("COPY") if not rest.startswith("--from") for source in rest.split()[:-1]
    }
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == path or path.startswith(f"{source}/") for path in allowed), source
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert {*PACKAGES, "pyproject.toml", project["project"]["readme"]} <= sources


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as the image builds it, from a copy, so that nothing is left in the checkout."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    _pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(made), str(source))
    (found,) = made.glob("*.whl")
    return found


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    wanted = {
        str(file.relative_to(ROOT))
        for name in PACKAGES
        for file in (ROOT / name).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert wanted == {name for name in packed if name.startswith(PACKAGES)}
    assert {"runbooks/upgrade.yaml", "bot/store/migrations/versions/0001_first_schema.py"} <= packed
    assert any(name.startswith("runbooks/migrations/") and name.endswith(".yaml") for name in packed)


def test_the_installed_wheel_knows_its_runbooks_and_makes_its_database(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "installed"
    _pip("install", "--no-deps", "--no-index", "--target", str(home), str(wheel))
    (tmp_path / "aeterna-bot.yaml").write_text(
        "targets: [{name: prod, namespace: aeterna, release: aeterna, chart: {path: chart}}]\n"
    )

    def program(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(home), "SLACK_BOT_TOKEN": "b", "SLACK_APP_TOKEN": "a"}
        command = [sys.executable, "-P", str(home / "bin" / "aeterna-bot"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    names = [line.split()[0] for line in program("runbooks", "show").splitlines()]
    assert names == list(RunbookLibrary(shipped_registry()).names())
    assert "up to date" in program("db", "upgrade")
    assert (tmp_path / "state" / "aeterna-bot.sqlite").is_file()
    assert program("--version").startswith("aeterna-bot")
