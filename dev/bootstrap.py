"""Make the virtual environment that everything else runs in, then run a module inside it.

Standard library only, for the machine may have nothing but Python and make. The environment lies in the cache under
the hash of the lock file and the Python it was made with, so a changed lock makes a new one and nothing is upgraded
in place. `--lock` pins the dependencies anew, `--clean` removes the cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
LOCK_FILE = ROOT / "requirements" / "dev.lock"
UV = "uv==0.13.9"
USAGE = "usage: bootstrap.py [--lock | --clean | PYTHON-ARGUMENTS…]"


def cache_directory() -> Path:
    """Where everything that is built or installed once lies; the same rule as dev.toolchain.cache."""
    if own := os.environ.get("AETERNA_BOT_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "aeterna-bot"


def say(text: str) -> None:
    """One progress line, on stderr: stdout belongs to the module that is run."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold PATH's lock, so that two makes at once do not install into one directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def environment(name: str, key: str, what: str, arguments: Sequence[str]) -> Path:
    """The Python of the environment NAME-KEY, installed with pip's ARGUMENTS if it is not there yet.

    A virtual environment cannot be moved, so it is built in its final place and counts only once the marker file
    is written; one that was cut off has no marker and is built again.
    """
    home = cache_directory() / "venvs" / f"{name}-{key}"
    python, complete = home / "bin" / "python", home / ".complete"
    if complete.is_file():
        return python
    with locked(home.with_name(home.name + ".lock")):
        if complete.is_file():
            return python
        say(f"bootstrap: installing {what} into {home} (the first time only; about a minute)")
        started = time.monotonic()
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, stdout=sys.stderr)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        subprocess.run([*pip, *arguments], check=True, stdout=sys.stderr)
        complete.touch()
        say(f"bootstrap: installed in {time.monotonic() - started:.0f} s")
    return python


def development_python() -> Path:
    """The Python of the environment with everything in requirements/dev.lock."""
    content = LOCK_FILE.read_bytes()
    made_with = f"{sys.implementation.cache_tag}-{sys.version_info.micro}-{sys.base_prefix}"
    key = hashlib.sha256(content + made_with.encode()).hexdigest()[:16]
    count = sum(b"==" in line and line[:1].isalnum() for line in content.splitlines())
    arguments = ["--require-hashes", "--no-deps", "-r", str(LOCK_FILE)]
    return environment("dev", key, f"{count} packages", arguments)


def lock() -> int:
    """Write requirements/run.lock and requirements/dev.lock anew from pyproject.toml."""
    python = environment("uv", UV.rpartition("=")[2], UV, [UV])
    compile_ = [str(python.with_name("uv")), "pip", "compile", "--native-tls", "--universal", "--quiet"]
    compile_ += ["--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--upgrade"]
    compile_ += ["--custom-compile-command", "make lock", "pyproject.toml"]
    for name, extra in (("run", []), ("dev", ["--extra", "dev"])):
        command = [*compile_, *extra, "-o", f"requirements/{name}.lock"]
        subprocess.run(command, check=True, cwd=ROOT)
        say(f"bootstrap: wrote requirements/{name}.lock")
    return 0


def clean() -> int:
    """Remove the cache; Go keeps its modules read-only, so directories are made writable on the way."""

    def allow_and_retry(function: Callable[..., Any], path: str, error: object) -> None:
        os.chmod(Path(path).parent, stat.S_IRWXU)
        os.chmod(path, stat.S_IRWXU)
        function(path)

    home = cache_directory()
    if home.exists():
        if sys.version_info >= (3, 12):
            shutil.rmtree(home, onexc=allow_and_retry)
        else:
            shutil.rmtree(home, onerror=allow_and_retry)
        say(f"bootstrap: removed {home}")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says."""
    if not arguments:
        say(USAGE)
        return 2
    if arguments[0] == "--lock":
        return lock()
    if arguments[0] == "--clean":
        return clean()
    return run(arguments)


def run(arguments: Sequence[str]) -> NoReturn:
    """Become the environment's Python, with the checkout as working directory and so on the import path."""
    python = development_python()
    os.chdir(ROOT)
    os.execv(python, [str(python), *arguments])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        say(f"bootstrap: {' '.join(map(str, error.cmd[:6]))} … ended with {error.returncode}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
