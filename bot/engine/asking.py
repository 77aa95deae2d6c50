"""Asking for a run: what somebody typed or pressed, checked and made into the run that the journal takes. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rapidfuzz import process

from bot.engine.contract import Runbook, Runbooks, as_typed
from bot.errors import UserMistake
from bot.settings import Target
from bot.store.journal import NewRun

Json = Any
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # nothing that a tired eye confuses


@dataclass(frozen=True)
class Ask:
    """Somebody asks for a run. ``key`` comes from Slack's trigger: the same key twice is one run.

    ``incident`` says that the channel is an incident channel of the target. ``dry_run`` ends after the plan. ``supplied``
    are values for this run, by dotted path.
    """

    runbook: str
    target: str
    inputs: Mapping[str, str]
    user: str
    channel: str
    key: str
    incident: bool = False
    dry_run: bool = False
    supplied: Mapping[str, Json] = field(default_factory=dict)


def new_id() -> str:
    """A short id that can be typed on a phone: ``r-`` and six letters or digits."""
    return "r-" + "".join(secrets.choice(_ALPHABET) for _ in range(6))


def new_run(ask: Ask, target: Target, runbooks: Runbooks, *, parent: str | None = None) -> NewRun:
    """The run as the journal takes it. Raises ``UserMistake`` for what is wrong in the question.

    ``parent`` is the run that it takes back; the click that asked for it has confirmed it.
    """
    text = runbooks.text(ask.runbook)
    loaded = runbooks.parse(text)
    policy = loaded.approval
    if ask.dry_run and not loaded.mutates:
        raise UserMistake(f"{as_typed(ask.runbook)} changes nothing anyway.", way_out="Leave out --dry-run.")
    return NewRun(
        id=new_id(),
        key=ask.key,
        target=ask.target,
        runbook=ask.runbook,
        runbook_text=text,
        inputs=_inputs(runbooks, loaded, ask.inputs, target),
        mutates=loaded.mutates,
        requested_by=ask.user,
        channel=ask.channel,
        approvals_needed=policy.count if policy else 0,
        exclude_requester=policy.exclude_requester if policy else False,
        parent=parent,
        pre_approved=parent is not None,
        lane=loaded.lane,
        dry_run=ask.dry_run,
        incident=policy.incident if policy and ask.incident else None,
        supplied=ask.supplied,
    )


def _inputs(runbooks: Runbooks, runbook: Runbook, given: Mapping[str, str], target: Target) -> dict[str, Json]:
    """Validated by the library; components are those of the target, which the library does not know."""
    there = f"{target.name} has {', '.join(f'`{name}`' for name in target.components)}."
    wanted = [one.name for one in runbook.inputs if one.type == "component"]
    try:
        inputs = runbooks.inputs(runbook.name, given)
    except UserMistake as mistake:
        missing = any(not given.get(name) for name in wanted)
        way_out = f"{mistake.way_out} {there}" if missing else mistake.way_out
        raise UserMistake(mistake.message, way_out=way_out, evidence=mistake.evidence) from mistake
    for name in wanted:
        component = inputs.get(name)
        if component is not None and component not in target.components:
            near = process.extractOne(str(component)[:40], list(target.components), score_cutoff=50)
            meant = f"Did you mean `{near[0]}`? " if near else ""
            raise UserMistake(f"There is no component {str(component)[:40]!r}.", way_out=f"{meant}{there}")
    return inputs
