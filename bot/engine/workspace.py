"""Where this process works on runs: a directory of its own, and nothing left of processes that were killed.

What lies there may hold a release's values. A process holds a lock in its directory for as long as it lives, so what has
no lock belongs to a dead one.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_LOCK = "lock"


@contextlib.contextmanager
def own_workspace(parent: Path) -> Iterator[Path]:
    """A fresh directory under ``parent``, removed at the end; what the dead left there is removed at the start."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with (parent / _LOCK).open("w") as gate:  # one at a time: a directory has no lock for a moment
            fcntl.flock(gate, fcntl.LOCK_EX)
            for left in parent.iterdir():
                if left.is_dir() and not _alive(left):
                    shutil.rmtree(left, ignore_errors=True)
            mine = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="process-", dir=parent)))
            fcntl.flock(stack.enter_context((mine / _LOCK).open("w")), fcntl.LOCK_EX)
        yield mine


def _alive(directory: Path) -> bool:
    try:
        file: IO[str] = (directory / _LOCK).open("r+")
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
