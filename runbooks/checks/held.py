"""What an emergency left down: what bringing it back would do, and what any other change would do to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from bot.diff.values import digest
from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.errors import BotError
from bot.kube.holding import ANNOTATION, Held, Way
from runbooks import revisions
from runbooks.checks.findings import info, not_done, warning
from runbooks.checks.objects import objects_of
from runbooks.components import Down, Member, Release, from_to, held_since, past_of, row_of, summed, told
from runbooks.reading import Reader, place_of
from runbooks.text import listed

Json = dict[str, Any]
RESTORE_THEM, KEEP_THEM = "restore", "keep"
"""What the input ``changed`` says of workloads that somebody else changed while they were held."""


class RestorePlan:
    """What `emergency restore` and `emergency enable` would bring back, and to what."""

    name: ClassVar[str] = "components.restore"

    async def check(self, context: PlanContext) -> CheckResult:
        """``returns`` is what will be done, workload by workload. What somebody else changed meanwhile is a question."""
        past = await past_of(context.past)
        release = await Release.read(context)
        asked = context.run.inputs.get("component")
        everything = release.down(past)
        down = [one for one in everything if asked in (None, one.member.component)]
        gone = release.gone(past) if asked is None else []
        decided = str(context.run.inputs.get("changed") or "")
        findings = [
            *(_question(one) for one in down if one.changed and not one.claims and not decided),
            *(_contradiction(one) for one in down if one.claims and not decided),
            *(_unproven(one) for one in down if one.unknown),
            *(_unread(one) for one in release.unread(past) if asked in (None, one.component)),
            *(_told(one, decided) for one in down),
            *(warning(f"{subject} was held down and is no longer there: it is left out.") for subject in gone),
            *(_needs(release, everything, str(asked)) if asked is not None else []),
        ]
        if not down:
            findings.append(_nothing(release, everything, asked))
        returns = [_row(one, keep=_asked_about(one) and decided == KEEP_THEM) for one in down]
        facts = {"returns": returns, "starts": _starts(release, down), "gone": gone}
        return CheckResult(tuple(findings), facts, {"cluster": place_of(context.clients, context.target)})


def _row(one: Down, *, keep: bool) -> Json:
    seen = one.member.workload
    row = row_of(one.member.subject, one.note) | {"component": one.member.component, "uid": seen.uid, "now": seen.level}
    if seen.note and seen.held != one.note:
        row["written"] = seen.note
    return row | {"keep": True} if keep else row


def _asked_about(one: Down) -> bool:
    return one.changed or one.claims is not None


def _starts(release: Release, down: Sequence[Down]) -> list[Json]:
    """The same for people, by component, in the order in which they come back."""
    found = []
    for name in (name for stage in release.coming_back(one.member.component for one in down) for name in stage):
        rows = [one for one in down if one.member.component == name and not one.back]
        parts = [from_to(one.member.workload, one.level, one.note.replicas) for one in rows]
        pods = sum(one.level for one in rows)
        if parts:
            text = summed(parts, pods, sum(one.note.replicas for one in rows))
            found.append({"component": name, "text": text, "impact": "", "optional": False})
    return found


def _question(one: Down) -> Finding:
    note, kind = one.note, one.member.workload.ref
    text = (
        f"{kind.kind} {kind.name} had {note.replicas}, was taken to {note.to} by <@{note.by}> (run {note.run}), "
        f"and has {one.level} now: somebody else changed it."
    )
    way_out = f"Go on, and it gets {note.replicas}; or ask again with `--changed keep` to leave it at {one.level}."
    return Finding(Level.BLOCKER, text, way_out, "restore.changed", one.member.subject)


def _contradiction(one: Down) -> Finding:
    """The journal's number is the one that this bot wrote; the note can be changed by whoever may change the workload."""
    assert one.claims is not None  # noqa: S101 - who calls this looked
    ref = one.member.workload.ref
    text = (
        f"The note on {ref.kind} {ref.name} says that it had {_what(one.claims)} (run {one.claims.run}), the journal says "
        f"{_what(one.note)} (run {one.note.run}), and it has {one.level} now: somebody else wrote the note."
    )
    way_out = f"Go on, and it gets {_what(one.note)}; or ask again with `--changed keep` to leave it at {one.level}."
    return Finding(Level.BLOCKER, text, way_out, "restore.changed", one.member.subject)


def _what(note: Held) -> str:
    return f"{note.replicas}, its autoscaler {note.hpa}" if note.hpa else str(note.replicas)


def _unproven(one: Down) -> Finding:
    text = (
        f"{one.member.subject} would get {_what(one.note)}, for so says its note (run {one.note.run}). "
        "The journal knows nothing of it."
    )
    way_out = "See that the number is right: whoever may change the workload may write such a note."
    return Finding(Level.WARNING, text, way_out, "restore.unproven", one.member.subject)


def _unread(one: Member) -> Finding:
    text = f"{one.subject} has {one.workload.level} and a note that cannot be read: it is left as it is."
    way_out = f"Scale it by hand if it is not what it was, and remove the annotation {ANNOTATION}."
    return Finding(Level.WARNING, text, way_out, "restore.unread", one.subject)


def _told(one: Down, decided: str) -> Finding:
    seen = one.member.workload
    if _asked_about(one) and decided == KEEP_THEM:
        return info(f"{one.member.subject} stays at {one.level}: only our note about it goes.")
    if one.back:
        return info(f"{one.member.subject} is back at {one.level} already: only our note about it goes.")
    lost = " Its note is gone; the journal knows what it was." if one.lost else ""
    text = from_to(seen, one.level, one.note.replicas)
    return info(f"{text}, held down {held_since(one.note)} by <@{one.note.by}> (run {one.note.run}).{lost}")


def _needs(release: Release, down: Iterable[Down], asked: str) -> list[Finding]:
    component = release.components.get(asked)
    missing = sorted({one.member.component for one in down if not one.back} & set(component.needs if component else ()))
    text = f"{asked} needs {listed(missing)}, which {'is' if len(missing) == 1 else 'are'} held down."
    return [warning(text, "`emergency restore` brings everything back, in order.")] if missing else []


def _nothing(release: Release, down: Sequence[Down], asked: Any) -> Finding:
    others = sorted({one.member.component for one in down})
    if asked is None:
        text = f"Nothing of {release.target.name} is held down by an emergency, so there is nothing to bring back."
    elif str(asked) not in release.components:
        return Finding(
            Level.BLOCKER,
            f"There is no component {asked!r}.",
            f"There are {listed(release.present())}.",
            "component.unknown",
        )
    else:
        text = f"{asked} is not held down by an emergency."
    way_out = f"Held down: {listed(others)}." if others else "Look at `status` for what does not run."
    return Finding(Level.BLOCKER, text, way_out, "restore.nothing")


class HeldDown:
    """Whether something is held down while another change is planned. A person decides what becomes of it."""

    name: ClassVar[str] = "held.down"

    async def check(self, context: PlanContext) -> CheckResult:
        """Binds the approval to what is held: whoever goes on in spite of it has accepted nothing else."""
        try:
            release, past = await asyncio.gather(Release.read(context), past_of(context.past))
        except BotError as error:
            return not_done(Level.WARNING, "Looking for what an emergency left down", error)
        down = [one for one in release.down(past) if not one.back]
        if not down:
            return CheckResult(bindings={"held down": "none"})
        fates = await _Fates.read(context)
        findings = tuple(_finding(one, fates.of(one), _level(release, one, context)) for one in down)
        named = sorted(f"{one.member.subject} {one.level}" for one in down)
        return CheckResult(findings, bindings={"held down": digest(named)})


def _level(release: Release, one: Down, context: PlanContext) -> Level:
    """An upgrade is stopped, unless it is to turn this very component off for good: then a person has decided.

    A rollback is what one does while things are down; whoever approves it reads what becomes of them.
    """
    wanted = release.components[one.member.component].permanent
    if wanted and wanted.items() <= dict(context.run.supplied).items():
        return Level.INFO
    return Level.BLOCKER if "version" in context.run.inputs else Level.WARNING


def _finding(one: Down, fate: str, level: Level) -> Finding:
    text = f"{one.member.component} is held down: {told(one)} {fate}"
    way_out = "" if level is Level.INFO else "`emergency restore` brings it back to what it was."
    if level is Level.BLOCKER:
        way_out = f"{way_out} Do that first, or go on and accept what Helm makes of it."
    return Finding(level, text, way_out, "held.down", one.member.subject)


class _Fates:
    """What Helm would do to a workload that is held down, by the manifest that it would apply."""

    def __init__(self, objects: Iterable[Json] | None) -> None:
        self._objects = None if objects is None else {f"{obj.get('kind')}/{_name(obj)}": obj for obj in objects}

    @classmethod
    async def read(cls, context: PlanContext) -> _Fates:
        try:
            return cls(await _applied(context))
        except BotError:  # the check that this manifest belongs to says why there is none
            return cls(None)

    def of(self, one: Down) -> str:
        """One sentence."""
        if self._objects is None:
            return "What Helm would do to it is not known, for there is no manifest to look at."
        obj = self._objects.get(one.member.subject)
        if obj is None and one.member.workload.release:
            return "The chart has it no more: Helm deletes it."
        if obj is None:
            return "It is none of Helm's: it stays as it is."
        if one.member.workload.kind.way is not Way.SCALE:
            return "The chart does not set this: it stays down."
        wanted = (obj.get("spec") or {}).get("replicas")
        if wanted is None:
            return f"The chart leaves the number to an autoscaler: it stays at {one.level}."
        if int(wanted) == one.level:
            return f"The chart wants {wanted} as well: it stays so."
        return f"Helm would set it to the chart's {wanted} again{_unlike(one, int(wanted))}."


def _unlike(one: Down, wanted: int) -> str:
    return "" if wanted == one.note.replicas else f", which is not the {one.note.replicas} that it was"


async def _applied(context: PlanContext) -> Sequence[Json]:
    """The objects that Helm would apply: of the version that was asked for, or of the revision that is gone back to."""
    if "version" in context.run.inputs:
        return (await objects_of(context)).after
    reader = Reader(context)
    newest = await reader.release()
    releases = await reader.releases()
    asked = context.run.inputs.get("revision")
    good = revisions.good_revisions([release.as_revision() for release in releases])
    wanted = int(asked) if asked is not None else next((one.revision for one in good), 0)
    found = next((release for release in releases if release.revision == wanted), newest)
    return await reader.objects(found)


def _name(obj: Json) -> str:
    return str((obj.get("metadata") or {}).get("name", ""))
