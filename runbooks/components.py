"""The components of a release as they are in the cluster: what goes down in an emergency, what is held, what comes back.

Nothing is decided by name: the target's description says which workloads make a component, ``bot.kube`` what can be done to
them. A workload of the release that no description names is a component by its own name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from bot.components import Component, stages
from bot.engine.contract import Past, PlanContext, StepContext
from bot.kube.holdable import Holdable, read_holdable
from bot.kube.holding import KINDS, Held, Way, Workload
from bot.settings import Target
from bot.store.records import PastStep, StepState
from runbooks.text import counted, lasted

HOLD, RESTORE = "components.hold", "components.restore"
"""The step kinds whose past is the memory of what is held."""
Json = dict[str, Any]
_FOREIGN = (Way.HIBERNATE, Way.REPLICAS)


@dataclass(frozen=True)
class Member:
    """One workload of a component, as it is now."""

    component: str
    workload: Workload

    @property
    def subject(self) -> str:
        return str(self.workload.ref)


@dataclass(frozen=True)
class Down:
    """One workload that this bot holds down. ``lost`` says that its note is gone and the journal knows of it.

    Whoever may change a workload may write such a note: ``claims`` is what it says where the journal says otherwise, and
    ``unknown`` that the journal says nothing of it, as after the loss of our database.
    """

    member: Member
    note: Held
    lost: bool = False
    claims: Held | None = None
    unknown: bool = False

    @property
    def level(self) -> int:
        return self.member.workload.level

    @property
    def back(self) -> bool:
        """It is what it was: only the note has to go."""
        return self.level == self.note.replicas

    @property
    def changed(self) -> bool:
        """Somebody else made something of it that is neither what it was nor where we left it."""
        return self.level not in (self.note.replicas, self.note.to)


class Release:
    """The members of one target's release."""

    def __init__(self, target: Target, seen: Holdable) -> None:
        self.seen = seen
        self.target = target
        self.components: dict[str, Component] = dict(target.components)
        self.members = self._described()
        self._undescribed()

    @classmethod
    async def read(cls, context: PlanContext | StepContext) -> Release:
        """As it is now; read once for all checks of a plan."""
        target = context.target
        work = partial(read_holdable, context.clients.cluster, target.namespace, kinds=_kinds(target))
        seen: Holdable = await (context.shared.once("holdable", work) if isinstance(context, PlanContext) else work())
        return cls(target, seen)

    def of(self, component: str) -> list[Member]:
        return [member for member in self.members if member.component == component]

    def present(self) -> list[str]:
        """The components of which there is something, in the order of the description."""
        there = {member.component for member in self.members}
        return [name for name in self.components if name in there]

    def unread(self, past: Iterable[PastStep]) -> list[Member]:
        """Members with a note that cannot be read, and of which the journal does not know that they are held."""
        known = journaled(past)
        return [one for one in self.members if one.workload.note and not one.workload.held and one.subject not in known]

    def down(self, past: Iterable[PastStep]) -> list[Down]:
        """What is held down: by the notes on the workloads, and by the journal where a note is gone."""
        known, proof = journaled(past := list(past)), proven(past)
        found = [
            _noted(one, held, known.get(one.subject), proof.get(one.subject, []))
            for one in self.members
            if (held := one.workload.held)
        ]
        noted = {one.member.subject for one in found}
        by_subject = {member.subject: member for member in self.members}
        for subject, held in known.items():
            member = by_subject.get(subject)
            if member is not None and subject not in noted and member.workload.level == held.to < held.replicas:
                found.append(Down(member, held, lost=True))
        return found

    def gone(self, past: Iterable[PastStep]) -> list[str]:
        """What was held down and is no longer there."""
        there = {member.subject for member in self.members}
        return [subject for subject in journaled(past) if subject not in there]

    def coming_back(self, names: Iterable[str]) -> list[list[str]]:
        """Components in the order of dependence, those of one stage at once."""
        return stages(self.target.components, names)

    def _described(self) -> list[Member]:
        found: dict[str, Member] = {}
        for name, component in self.target.components.items():
            for subject in component.members(self.target.release):
                for moved in self.seen.moved_with(subject):
                    found.setdefault(moved, Member(name, self.seen.workloads[moved]))
        return list(found.values())

    def _undescribed(self) -> None:
        known = {member.subject for member in self.members}
        for subject, workload in self.seen.workloads.items():
            if workload.release != self.target.release or known & {subject, *self.seen.moved_with(subject)}:
                continue
            name = workload.ref.name.removeprefix(f"{self.target.release}-")
            if name in self.target.components:
                name = subject
            stores = workload.stores or workload.kind.way in _FOREIGN
            self.components.setdefault(name, Component(title="not described", data=stores))
            for moved in self.seen.moved_with(subject):
                known.add(moved)
                self.members.append(Member(name, self.seen.workloads[moved]))


def journaled(past: Iterable[PastStep]) -> dict[str, Held]:
    """What the journal knows to be held, by ``Kind/name``; ``past`` is newest first."""
    held: dict[str, Held] = {}
    for entry in reversed(list(past)):
        outcome = (entry.step.outcome or {}).get("facts") or {}
        if entry.step.uses == RESTORE:
            for subject in outcome.get("restored") or ():
                held.pop(str(subject), None)
            continue
        ended = entry.step.state in (StepState.DONE, StepState.WARNING)
        rows = outcome.get("held") if ended else (entry.step.intent or {}).get("holds")
        for row in rows or ():
            held.setdefault(str(row["subject"]), held_of(row))
    return held


def proven(past: Iterable[PastStep]) -> dict[str, list[Held]]:
    """The notes that steps told of when they had ended, by ``Kind/name``, the newest last."""
    found: dict[str, list[Held]] = {}
    for entry in reversed(list(past)):
        facts = (entry.step.outcome or {}).get("facts") or {}
        for subject in facts.get("restored") or ():
            found.pop(str(subject), None)
        if entry.step.uses == HOLD and entry.step.state in (StepState.DONE, StepState.WARNING):
            for row in facts.get("held") or ():
                found.setdefault(str(row["subject"]), []).append(held_of(row))
    return found


def _noted(member: Member, held: Held, known: Held | None, proof: Sequence[Held]) -> Down:
    """What a note says, held against the journal; what a step only meant to do is no proof against it."""
    same = [one for one in proof if one.run == held.run]
    if any(one.replicas == held.replicas and one.hpa in (None, held.hpa) for one in same) or (known and not proof):
        return Down(member, held)
    if not proof:
        return Down(member, held, unknown=True)
    return Down(member, (same or proof)[-1], claims=held)


def held_of(row: Mapping[str, Any]) -> Held:
    """The note of a row of the journal."""
    return Held.of(row)


def row_of(subject: str, note: Held) -> Json:
    """A note as a row of the journal."""
    return {"subject": subject, **note.parts()}


async def past_of(past: Past) -> Sequence[PastStep]:
    """Everything that was held or restored."""
    return await past(HOLD, RESTORE)


def from_to(workload: Workload, before: int, after: int) -> str:
    """``StatefulSet aeterna-opal-server 1 → 0``, ``CronJob aeterna-backup suspended``."""
    name = f"{workload.ref.kind} {workload.ref.name}"
    match workload.kind.way:
        case Way.SUSPEND:
            return f"{name} {'suspended' if after == 0 else 'resumed'}"
        case Way.HIBERNATE:
            return f"{name} {'hibernated' if after == 0 else 'woken'}"
        case _:
            return f"{name} {before} → {after}"


def told(one: Down) -> str:
    """``Deployment aeterna 3 → 0 since 2026-03-09 18:02 UTC (12 min 5 s) by <@U1> (run abc).``"""
    note = one.note
    what = from_to(one.member.workload, note.replicas, note.to)
    return f"{what} {held_since(note)} by <@{note.by}> (run {note.run})."


def held_for(notes: Iterable[Held | None]) -> timedelta | None:
    """How long the longest of them has been down; None where no note tells."""
    moments = [at for note in notes if note is not None and (at := _moment(note.at))]
    return max((datetime.now(UTC) - at for at in moments), default=None)


def held_since(note: Held) -> str:
    """``since 2026-03-09 18:02 UTC (12 min 5 s)``."""
    span = held_for([note])
    return f"since {note.at.replace('T', ' ')[:16]} UTC" + (f" ({lasted(span)})" if span else "")


def _moment(text: str) -> datetime | None:
    """When a note was written; whoever may change the workload may have written anything there."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def summed(parts: Sequence[str], pods: int, to: int) -> str:
    """The changes of one component in a line: each where there are few, else how many."""
    return ", ".join(parts) if len(parts) <= 4 else f"{counted(len(parts), 'workload')}, {counted(pods, 'pod')} → {to}"


def _kinds(target: Target) -> list[str]:
    named = {member.partition("/")[0] for one in target.components.values() for member in one.members(target.release)}
    return [name for name, kind in KINDS.items() if kind.everywhere or name in named or name in ("Rollout", "Canary")]
