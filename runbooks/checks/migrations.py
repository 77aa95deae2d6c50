"""What the upgrade runs once and a rollback does not undo: the migration Job of the manifest, and every other hook like it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

from bot.engine.contract import CheckResult, Finding, PlanContext
from bot.errors import BotError
from bot.kube.objects import HOOK_ANNOTATION, annotations_of, ref_of
from bot.redaction import redact
from runbooks.checks.findings import info
from runbooks.checks.objects import Objects, objects_of, without_objects

Json = dict[str, Any]
CODE = "migration.job"
EVENTS = {"pre-upgrade": "before the upgrade", "post-upgrade": "after the upgrade"}
LONGEST_COMMAND = 120
_MIGRATES = re.compile(r"migrat|schema|alembic|flyway|liquibase", re.IGNORECASE)


class Migrations:
    """Which Jobs an upgrade runs, with their image and command. Notes say which of them can be undone; no manifest does."""

    name: ClassVar[str] = "migrations"

    async def check(self, context: PlanContext) -> CheckResult:
        """``migrations`` names those that look like a migration of the database."""
        try:
            objects = await objects_of(context)
        except BotError as error:
            return without_objects("Migrations", error)
        jobs = list(_jobs(objects))
        findings = tuple(_finding(job, when) for job, when in jobs)
        return CheckResult(
            findings, facts={"migrations": sorted({str(ref_of(job)) for job, _ in jobs if _migrates(job)})}
        )


def _jobs(objects: Objects) -> Iterator[tuple[Json, str]]:
    """Each Job that would run, and when."""
    for hook in objects.hooks:
        events = [event.strip() for event in annotations_of(hook).get(HOOK_ANNOTATION, "").split(",")]
        when = [EVENTS[event] for event in events if event in EVENTS]
        if hook.get("kind") in ("Job", "Pod") and when:
            yield hook, " and ".join(when)
    before = [obj for obj in objects.before if obj.get("kind") == "Job"]
    for obj in objects.after:
        if obj.get("kind") == "Job" and not any(ref_of(one) == ref_of(obj) for one in before):
            yield obj, "with the upgrade"


def _finding(job: Json, when: str) -> Finding:
    ref = ref_of(job)
    commands = [" ".join(map(str, [*(one.get("command") or []), *(one.get("args") or [])])) for one in _containers(job)]
    images = ", ".join(dict.fromkeys(str(one.get("image", "")) for one in _containers(job)))
    command = redact(next(filter(None, commands), ""))
    shown = command if len(command) <= LONGEST_COMMAND else command[: LONGEST_COMMAND - 1] + "…"
    does = f"`{shown}` in {images}" if shown else images
    stays = "what it changes in the database" if _migrates(job) else "what it does"
    text = f"{ref} runs {when}: {does}. A rollback does not take back {stays}."
    return replace(info(text), code=CODE, subject=str(ref))


def _migrates(job: Json) -> bool:
    said = [str(ref_of(job)), *(str(one.get(part)) for one in _containers(job) for part in ("name", "command", "args"))]
    return any(map(_MIGRATES.search, said))


def _containers(job: Json) -> Iterable[Json]:
    spec = job.get("spec") or {}
    pod = spec if job.get("kind") == "Pod" else (spec.get("template") or {}).get("spec") or {}
    return [
        one for one in (*(pod.get("initContainers") or ()), *(pod.get("containers") or ())) if isinstance(one, dict)
    ]
