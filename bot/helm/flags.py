"""How the command lines of Helm 3 and Helm 4 differ, in one table, and the spelling of values that both
understand.

Read in the sources of 3.18 and 4.3. Everything is written as ``--name=value``, so that no value can be taken
for a flag.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from semver import Version

from bot.errors import Permanent, UserMistake

ServerSide = Literal["true", "false", "auto"]

OLDEST = Version(3, 18, 0)
# `helm rollback --description` came with 4.3; before that the text is always "Rollback to N".
ROLLBACK_DESCRIPTION = Version(4, 3, 0)
# Helm refuses a longer one on rollback (action.MaxDescriptionLength); cut the same everywhere.
LONGEST_DESCRIPTION = 256


class Wait(enum.Enum):
    """What an upgrade or a rollback waits for. Hooks are always waited for."""

    HOOKS_ONLY = "hookOnly"
    WATCHER = "watcher"
    LEGACY = "legacy"


@dataclass(frozen=True)
class Dialect:
    """The flags of one major version of Helm. An empty tuple: it is the default, or not needed."""

    wait: Mapping[Wait, tuple[str, ...]]
    server_side: bool
    force_conflicts: tuple[str, ...]
    list_all: tuple[str, ...]


_DIALECTS = {
    3: Dialect(
        wait={Wait.HOOKS_ONLY: (), Wait.WATCHER: ("--wait",), Wait.LEGACY: ("--wait",)},
        server_side=False,
        force_conflicts=(),
        list_all=("--all",),
    ),
    4: Dialect(
        wait={
            Wait.HOOKS_ONLY: ("--wait=hookOnly",),
            Wait.WATCHER: ("--wait=watcher",),
            Wait.LEGACY: ("--wait=legacy",),
        },
        server_side=True,
        force_conflicts=("--force-conflicts",),
        list_all=(),
    ),
}
# The same in both: --dry-run=server, --reset-values, --labels and --description on upgrade, --is-upgrade.


def dialect(version: Version) -> Dialect:
    """The flags of this version. Raises `Permanent` for one that is too old or not known yet."""
    if version < OLDEST:
        raise Permanent(f"Helm {version} is too old.", way_out=f"Install Helm 4, or {OLDEST} or later.")
    if version.major not in _DIALECTS:
        raise Permanent(f"Helm {version} is not known to this bot.", way_out="Install Helm 4.")
    return _DIALECTS[version.major]


def server_side(version: Version, mode: ServerSide) -> list[str]:
    """The apply mode. Helm 3 only applies client-side: ``true`` raises `Permanent` there, the others need no
    flag.
    """
    if dialect(version).server_side:
        return [f"--server-side={mode}"]
    if mode == "true":
        raise Permanent(
            f"Helm {version} cannot apply server-side.", way_out="Use Helm 4, or plan with client-side apply."
        )
    return []


def duration(value: timedelta) -> str:
    """Go's form of a duration, in whole seconds, at least one (Helm takes 0 for its own default)."""
    return f"{max(1, round(value.total_seconds()))}s"


def description(text: str) -> str:
    """One line, cut to what Helm takes."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_DESCRIPTION else line[: LONGEST_DESCRIPTION - 1] + "…"


_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_SYSTEM_LABELS = frozenset({"name", "owner", "status", "version", "createdAt", "modifiedAt"})


def labels(pairs: Mapping[str, str]) -> list[str]:
    """``--labels``, checked, because a comma in a value would quietly become another label. Raises
    `ValueError`.
    """
    for key, value in pairs.items():
        if key in _SYSTEM_LABELS or not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise ValueError(f"{key}={value} cannot be a label of a release")
    return [f"--labels={','.join(f'{key}={value}' for key, value in sorted(pairs.items()))}"] if pairs else []


_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def release_name(name: str) -> str:
    """The name, if Helm takes it (DNS-1123, 53 characters). Raises `UserMistake`, so that none is ever read
    as a flag.
    """
    if len(name) > 53 or not _NAME.fullmatch(name):
        raise UserMistake(f"`{name[:60]}` cannot be the name of a release.", way_out="Names look like `aeterna`.")
    return name


def namespace(name: str) -> str:
    """The namespace as a flag. Raises `UserMistake`."""
    if len(name) > 63 or "." in name or not _NAME.fullmatch(name):
        raise UserMistake(f"`{name[:70]}` cannot be a namespace.", way_out="Names look like `aeterna-prod`.")
    return f"--namespace={name}"
