"""A throwaway server: a directory of its own and child processes, started together and gone together."""

from __future__ import annotations

import abc
import atexit
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

from dev.controlplane.children import Children

Place = TypeVar("Place")


class ThrowawayServer(abc.ABC, Generic[Place]):
    """A context manager, which gives where the server is. Enter it on the main thread: it ends with the process, too."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._directory: Path | None = None
        self._children: Children | None = None

    @abc.abstractmethod
    def _start(self, directory: Path, children: Children) -> Place:
        """Start it and wait until it answers."""

    def __enter__(self) -> Place:
        self._directory = Path(tempfile.mkdtemp(prefix=f"throwaway-{self._name}-"))
        self._children = Children(self._directory)
        atexit.register(self.stop)
        try:
            return self._start(self._directory, self._children)
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill the server and remove its data; may be called again."""
        if self._children is not None:
            self._children.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        atexit.unregister(self.stop)

    def ended(self) -> str | None:
        """A sentence if the server died by itself."""
        return self._children.ended() if self._children is not None else None
