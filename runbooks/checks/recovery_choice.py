"""Which backup of a database is restored, and to which moment: what was asked for, else what one most likely wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rapidfuzz import process

from bot.engine.contract import Finding, Level, PlanContext
from bot.kube.objects import Json, name_of
from bot.services.cnpg_recovery import Archive, Kept
from bot.store.records import StepState
from runbooks.steps.backup import RUN_LABEL, PostgresBackup
from runbooks.text import listed, when

CODE = "recovery"


class Blocked(Exception):
    """The plan ends here, with this blocker."""

    def __init__(self, code: str, text: str, way_out: str) -> None:
        super().__init__(text)
        self.finding = Finding(Level.BLOCKER, text, way_out, f"{CODE}.{code}")


@dataclass(frozen=True)
class Choice:
    """``backup`` as it ended, or everything up to ``at``; the data is that of ``point``. ``why`` is told."""

    backup: Kept | None
    at: datetime | None
    point: datetime
    why: str


@dataclass(frozen=True)
class Seen:
    """What there is to choose from."""

    cluster: Json
    backups: Sequence[Kept]
    archive: Archive
    now: datetime

    @property
    def name(self) -> str:
        return name_of(self.cluster)

    @property
    def first(self) -> datetime | None:
        """The archive's oldest moment: the operator's word, else (plugins tell it none) the end of the oldest backup."""
        ends = [one.at for one in self.backups if one.usable and one.at]
        return self.archive.first or min(ends, default=None)

    @property
    def last(self) -> datetime:
        return self.archive.ends or self.now


async def choose(context: PlanContext, seen: Seen) -> Choice:
    """By the run's inputs ``backup`` and ``to``. Raises ``Blocked`` with the code, the reason and the way out."""
    inputs = asked(context)
    at = _moment(inputs["to"]) if inputs["to"] else None
    if inputs["backup"]:
        backup = _named(seen, inputs["backup"])
        choice = Choice(backup, at, at or _end(backup), "it was asked for by name")
    elif at is not None:
        choice = Choice(None, at, at, "the operator takes the newest backup before it and replays the archive")
    else:
        choice = await _newest(context, seen)
    if at is not None:
        _within(seen, choice, at)
    if choice.backup is not None and choice.backup.result.method == "plugin" and seen.archive.source is None:
        raise _no_archive(seen, f"Backup {choice.backup.name} can only be found through the archive of {seen.name}")
    return choice


def _named(seen: Seen, name: str) -> Kept:
    found = next((one for one in seen.backups if one.name == name), None)
    if found is None:
        near = process.extractOne(name, [one.name for one in seen.backups if one.usable], score_cutoff=50)
        meant = f"Did you mean `{near[0]}`?" if near else f"{_usable(seen)}."
        raise Blocked("unknown", f"There is no Backup `{name[:60]}` of {seen.name}.", meant)
    if not found.usable:
        state = found.result.phase or "not taken up by the operator"
        why = f": {found.result.error.rstrip('.')}" if found.result.error else ""
        text = f"Backup {name} is not completed, it is {state}{why}."
        raise Blocked("incomplete", text, f"{_usable(seen)}.")
    return found


def _usable(seen: Seen) -> str:
    names = [one.name for one in seen.backups if one.usable]
    return f"There are {listed(names)}" if names else f"{seen.name} has no completed Backup"


async def _newest(context: PlanContext, seen: Seen) -> Choice:
    """Ours of before the last upgrade first: that is the moment that one wants back to when the upgrade did harm."""
    if ranked := await preferred(context, seen):
        return _as_it_ended(*ranked[0])
    going = [f"{one.name} ({one.result.phase or 'not taken up'})" for one in seen.backups]
    text = f"{seen.name} has no completed Backup" + (f", only {listed(going)}." if going else ".")
    if seen.archive.source and seen.first:
        raise Blocked("none", text, f"Its archive can be restored to a time: `--to`, from {when(seen.first)} on.")
    raise Blocked(
        "none", text, "Without a backup nothing can be restored; look at the volumes, which may still be good."
    )


async def preferred(context: PlanContext, seen: Seen) -> list[tuple[Kept, str]]:
    """Every usable backup with what is known of it: those that I made before a change, newest change first, then the others."""
    left = {one.name: one for one in seen.backups if one.usable}
    ranked: list[tuple[Kept, str]] = []
    for past in await context.past(PostgresBackup.name):
        facts = (past.step.outcome or {}).get("facts") or {}
        done = past.step.state in (StepState.DONE, StepState.WARNING)
        if done and facts.get("cluster") == seen.name and facts.get("backup") in left:
            why = f"I made it for run {past.run} (`{past.runbook}`), before that changed anything"
            ranked.append((left.pop(str(facts["backup"])), why))
    for one in [one for one in left.values() if RUN_LABEL in one.labels]:
        why = f"I made it for run {one.labels[RUN_LABEL]}, which my journal no longer has"
        ranked.append((left.pop(one.name), why))
    newest = "it is the newest that is completed"
    return ranked + [(one, newest if number == 0 else "") for number, one in enumerate(left.values())]


def asked(context: PlanContext) -> dict[str, str]:
    """``backup`` and ``to`` as they were typed, or as they were chosen on the card since; empty where neither was."""
    given = {**context.run.inputs, **context.run.supplied}
    return {name: str(given.get(name) or "") for name in ("backup", "to")}


async def offered(context: PlanContext, seen: Seen, taken: Choice | None, *, into: str = "") -> Json:
    """The facts by which the card lists what can be restored, with a button for each backup that is not taken.

    ``into`` is the new Cluster's name, once there is one.
    """
    choices = []
    back = {"to": ""} if asked(context)["to"] else {}
    for one, why in await preferred(context, seen):
        text = f"`{one.name}` of {when(one.at)}" + (f" · {why}" if why else "")
        is_taken = taken is not None and taken.backup is not None and taken.backup.name == one.name
        values = {"backup": one.name, **back}
        choices.append({"label": f"Take {one.name}", "text": text, "values": values, "taken": is_taken})
    heading = f"What can be restored of {seen.name}" + (f" into the new Cluster {into}" if into else "")
    return {"choices_of": heading, "choices": choices, "choices_note": _window(seen)}


def _window(seen: Seen) -> str:
    """The recovery window in a sentence."""
    if seen.archive.source is None:
        return "No WAL is archived: only the moments of these backups, nothing between them."
    if seen.first is None:
        return "WAL is archived, but there is no backup yet that it could be replayed on."
    until = "now; the last minutes may not be archived yet"
    if seen.archive.ends:
        reason = seen.archive.trouble.rstrip(".")
        until = when(seen.archive.ends) + ", when archiving stopped" + (f" ({reason})" if reason else "")
    return f"Or any moment from {when(seen.first)} to {until}: ask with `recover database --to {seen.last:%Y-%m-%dT%H:%M}`."


def _as_it_ended(backup: Kept, why: str) -> Choice:
    return Choice(backup, None, _end(backup), why)


def _end(backup: Kept) -> datetime:
    if backup.at is None:
        raise Blocked("incomplete", f"Backup {backup.name} does not say when it ended.", "Name another by `--backup`.")
    return backup.at


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip().removesuffix("UTC").strip())
    except ValueError as error:
        way_out = "Write it like `--to 2026-03-09T18:00` (UTC), or with an offset: `2026-03-09T18:00+01:00`."
        raise Blocked("time", f"`{text[:40]}` is not a time that I can read.", way_out) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _within(seen: Seen, choice: Choice, at: datetime) -> None:
    if seen.archive.source is None:
        raise _no_archive(seen, f"{seen.name} archives no WAL, so it cannot be restored to a time between backups")
    if choice.backup is not None and choice.backup.at is not None and at < choice.backup.at:
        text = f"Backup {choice.backup.name} ended at {when(choice.backup.at)}, after {when(at)}."
        raise Blocked("window", text, "Leave the name out: then the newest backup before that time is taken.")
    if seen.first is None or at < seen.first or at > seen.last:
        since = f"from {when(seen.first)} to {when(seen.last)}" if seen.first else "no time at all yet"
        text = f"{when(at)} lies outside of what can be restored: {since}."
        stopped = f" Archiving stopped then: {seen.archive.trouble.rstrip('.')}." if seen.archive.ends else ""
        raise Blocked("window", text + stopped, "Name a time inside, or a backup by `--backup`.")


def _no_archive(seen: Seen, text: str) -> Blocked:
    return Blocked("no_archive", f"{text}.", f"Leave `--to` out. {_usable(seen)}.")
