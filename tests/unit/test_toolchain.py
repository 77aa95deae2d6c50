"""Which program is taken, and that a build which was cut off leaves nothing that counts."""

from __future__ import annotations

import hashlib
import threading
from base64 import b64encode
from pathlib import Path

import pytest

from dev.toolchain import PROGRAMS, Cache, Toolchain, ToolError
from dev.toolchain.catalog import parse_version
from dev.toolchain.npm import check_integrity


def fake_program(directory: Path, name: str, says: str) -> Path:
    """A program NAME that answers SAYS to anything, and counts in a file beside it how often it was asked."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(f'#!/bin/sh\necho asked >> "{path}.asked"\necho "{says}"\n')
    path.chmod(0o755)
    return path


def times_asked(program: Path) -> int:
    asked = program.with_name(program.name + ".asked")
    return len(asked.read_text().splitlines()) if asked.exists() else 0


class Builder:
    """Makes empty programs and remembers for which entries; ends with TROUBLE in the middle if there is one."""

    def __init__(self, trouble: BaseException | None = None) -> None:
        self.asked: list[list[str]] = []
        self.trouble = trouble

    def __call__(self, entries: list[str], workshop: Path) -> None:
        self.asked.append(entries)
        for program in PROGRAMS.values():
            if program.entry in entries:
                fake_program(workshop / program.entry, program.name, "built")
                if self.trouble is not None:
                    raise self.trouble


class Machine:
    """A machine made of temporary directories."""

    def __init__(self, home: Path) -> None:
        self.assets, self.on_path, self.cache = home / "assets", home / "path", home / "cache"
        self.builder = Builder()
        self.said: list[str] = []

    def toolchain(self) -> Toolchain:
        return Toolchain(
            environment={"PATH": str(self.on_path), "KUBEBUILDER_ASSETS": str(self.assets)},
            cache=self.cache,
            builders={"go": self.builder, "npm": self.builder, "pip": self.builder},
            say=self.said.append,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_assets_come_before_path_and_path_before_the_cache(machine: Machine) -> None:
    on_path = fake_program(machine.on_path, "helm", "v4.0.1")
    assert machine.toolchain().path("helm") == on_path
    in_assets = fake_program(machine.assets, "helm", "v4.1.0")
    assert machine.toolchain().path("helm") == in_assets
    assert machine.builder.asked == []


def test_program_that_is_too_old_is_passed_over(machine: Machine) -> None:
    fake_program(machine.on_path, "etcd", "etcd Version: 3.4.30")
    newer = fake_program(machine.assets, "etcd", "etcd Version: 3.5.0")
    assert machine.toolchain().path("etcd") == newer
    newer.unlink()
    built = machine.toolchain().path("etcd")
    assert built.parent.parent == machine.cache / "bin"
    assert machine.builder.asked == [["etcd-v3.7.0"]]


def test_program_that_cannot_say_its_version_is_passed_over(machine: Machine) -> None:
    fake_program(machine.on_path, "helm", "hello")
    assert machine.toolchain().path("helm").is_relative_to(machine.cache)


def test_what_is_built_once_is_found_the_next_time(machine: Machine) -> None:
    first = machine.toolchain().path("kwok")
    assert machine.toolchain().path("kwok") == first
    assert machine.builder.asked == [["kwok-v0.8.0"]]


def test_missing_go_programs_are_built_in_one_go_and_the_reason_is_said(machine: Machine) -> None:
    fake_program(machine.on_path, "helm", "v4.3.1")
    machine.toolchain().need(["etcd", "helm", "kwok"])
    assert machine.builder.asked == [["etcd-v3.7.0", "kwok-v0.8.0"]]
    assert machine.said[0].startswith("making etcd v3.7.0, kwok v0.8.0: neither on this machine in a fit version")


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), ToolError("go build ended with 1")], ids=type)
def test_build_that_is_cut_off_leaves_nothing_and_the_next_one_starts_anew(
    machine: Machine, trouble: BaseException
) -> None:
    machine.builder = Builder(trouble)
    with pytest.raises(type(trouble)):
        machine.toolchain().need(["etcd", "kwok"])
    assert list((machine.cache / "bin").iterdir()) == []
    machine.builder = Builder()
    assert machine.toolchain().path("etcd").is_file()
    assert machine.builder.asked == [["etcd-v3.7.0"]]


def test_leftover_of_a_killed_build_is_removed_and_never_taken(machine: Machine) -> None:
    half = fake_program(machine.cache / "bin" / ".building-xyz" / "helm-v4.3.1", "helm", "half")
    assert machine.toolchain().path("helm") == machine.cache / "bin" / "helm-v4.3.1" / "helm"
    assert not half.exists()


def test_two_builds_at_once_build_once(tmp_path: Path) -> None:
    building, go_on = threading.Event(), threading.Event()
    calls: list[list[str]] = []

    def slow(entries: list[str], workshop: Path) -> None:
        calls.append(entries)
        building.set()
        assert go_on.wait(20)
        for entry in entries:
            (workshop / entry).mkdir()

    both = [threading.Thread(target=Cache(tmp_path).build, args=(["helm-v1"], slow)) for _ in range(2)]
    for one in both:
        one.start()
    assert building.wait(20)
    go_on.set()
    for one in both:
        one.join(20)
    assert calls == [["helm-v1"]]


def test_warm_start_asks_no_program_again_until_it_changes(machine: Machine) -> None:
    program = fake_program(machine.on_path, "helm", "v4.0.0")
    machine.toolchain().path("helm")
    machine.toolchain().path("helm")
    assert times_asked(program) == 1
    fake_program(machine.on_path, "helm", "v4.0.0-patched")
    machine.toolchain().path("helm")
    assert times_asked(program) == 2


def test_unreadable_memory_of_versions_is_no_trouble(machine: Machine) -> None:
    program = fake_program(machine.on_path, "helm", "v4.0.0")
    machine.cache.mkdir()
    (machine.cache / "versions.json").write_text('{"half')
    assert machine.toolchain().path("helm") == program


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v4.3.1", (4, 3)),
        ("etcd Version: 3.7.0\nGit SHA: 1234567", (3, 7)),
        ("Kubernetes v1.37.2", (1, 37)),
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", (15, 18)),
        ("go1.26.8", (1, 26)),
        ("kwok version v0.8.0 go1.26.8 (linux/amd64)", (0, 8)),
        ("", None),
    ],
)
def test_version_is_read_from_what_a_program_says(text: str, version: tuple[int, int] | None) -> None:
    assert parse_version(text) == version


def test_archive_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "program.tgz"
    archive.write_bytes(b"what was pinned")
    pinned = "sha512-" + b64encode(hashlib.sha512(b"what was pinned").digest()).decode()
    check_integrity(archive, pinned)
    archive.write_bytes(b"something else")
    with pytest.raises(ToolError, match=r"program\.tgz is not what was pinned"):
        check_integrity(archive, pinned)
