"""What a look at the cluster finds before a change, and the look itself: a read that failed is a finding too.

Nothing here decides who may override what; a plan's check turns these into its own findings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from bot.errors import UNSEEN, BotError, Temporary
from bot.kube.cluster import Cluster
from bot.kube.failures import UnknownKind
from bot.kube.objects import Json

FindingLevel: TypeAlias = Literal["blocker", "warning", "info"]


@dataclass(frozen=True)
class KubeFinding:
    """One finding: ``code`` is stable (``capacity.full``), ``subject`` is ``Kind/name``, ``text`` one sentence."""

    level: FindingLevel
    code: str
    subject: str
    text: str
    way_out: str = ""


@dataclass(frozen=True)
class Looked:
    """What a list gave. ``unseen`` tells why there is nothing, when the read itself failed."""

    items: tuple[Json, ...] = ()
    unseen: tuple[KubeFinding, ...] = ()

    @property
    def known(self) -> bool:
        """Whether an empty ``items`` means that there is none."""
        return not self.unseen


def unseen(what: str, error: BotError) -> KubeFinding:
    """The finding that ``what`` could not be looked at, and why. Never green: it is a warning."""
    said = error.message.rstrip(".")
    return KubeFinding("warning", UNSEEN, what, f"Could not look at {what}: {said}.", error.way_out)


async def look(
    cluster: Cluster,
    api_version: str,
    kind: str,
    namespace: str | None = None,
    *,
    what: str = "",
    metadata_only: bool = False,
    managers: bool = False,
) -> Looked:
    """List a kind. One that the cluster does not serve has no objects; a refusal and the like become ``unseen``.

    Without ``managers`` the managed fields are left out.
    Raises Temporary: a server that is away is one cause for everything, and told once by who asked.
    """
    try:
        found = await cluster.list(api_version, kind, namespace, metadata_only=metadata_only, managers=managers)
    except UnknownKind:
        return Looked()
    except Temporary:
        raise
    except BotError as error:
        return Looked(unseen=(unseen(what or f"{kind} objects", error),))
    return Looked(tuple(found))


def ordered(findings: list[KubeFinding]) -> list[KubeFinding]:
    """Each finding once, blockers first; otherwise in the order of code and subject, whatever the order of reads."""
    rank = {"blocker": 0, "warning": 1, "info": 2}
    return sorted(dict.fromkeys(findings), key=lambda one: (rank[one.level], one.code, one.subject, one.text))
