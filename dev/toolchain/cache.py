"""The cache outside the checkout: one directory a program and version, complete or absent.

A build happens in a directory beside its final place and is renamed when it is whole, under a lock; whatever cuts it
off, the next one finds either everything or nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock


def cache_directory() -> Path:
    """`AETERNA_BOT_CACHE`, else under `XDG_CACHE_HOME`, else under ~/.cache; the same rule as dev/bootstrap.py."""
    if own := os.environ.get("AETERNA_BOT_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "aeterna-bot"


class Cache:
    """The directory HOME as a store of whole directories (`bin/helm-v4.3.1`) and of small facts."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.programs = home / "bin"
        self._facts = home / "versions.json"

    def place(self, entry: str) -> Path:
        """Where ENTRY lies once it is there."""
        return self.programs / entry

    def build(self, entries: list[str], make: Callable[[list[str], Path], None]) -> None:
        """Have every entry: MAKE gets those still missing and an empty directory to put `ENTRY/…` into.

        One lock for all builds: they would only take the cores from each other, and Go's share most of their work.
        """
        self.programs.mkdir(parents=True, exist_ok=True)
        with FileLock(self.home / "build.lock"):
            missing = [entry for entry in entries if not self.place(entry).is_dir()]
            if not missing:
                return
            with self._workshop() as workshop:
                make(missing, workshop)
                for entry in missing:
                    (workshop / entry).rename(self.place(entry))

    @contextmanager
    def _workshop(self) -> Iterator[Path]:
        """An empty directory on the cache's file system, gone afterwards; leftovers of killed builds go too."""
        for leftover in self.programs.glob(".building-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        workshop = Path(tempfile.mkdtemp(prefix=".building-", dir=self.programs))
        try:
            yield workshop
        finally:
            shutil.rmtree(workshop, ignore_errors=True)

    def version_of(self, program: Path, ask: Callable[[Path], str | None]) -> str | None:
        """What ASK says about PROGRAM, remembered until the file changes: a warm start asks no program at all."""
        status = program.stat()
        key = f"{program}|{status.st_size}|{status.st_mtime_ns}"
        facts = self._read_facts()
        if key not in facts:
            facts[key] = ask(program)
            self._write_facts(facts)
        return facts[key]

    def _read_facts(self) -> dict[str, str | None]:
        try:
            content = json.loads(self._facts.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write_facts(self, facts: dict[str, str | None]) -> None:
        """Replace the file in one go; of two writers at once the later wins, and the other asks again some time."""
        self.home.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.home, prefix=".versions-")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(facts, file, indent=1)
            Path(name).replace(self._facts)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(name).unlink()
            raise
