"""What can be pressed on a run's card right now. Pure, so that the renderer and the desk cannot disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from bot.settings import Permission
from bot.store.records import RunRecord, RunState, StepState

ROLLBACK = "rollback"
"""The runbook that takes a release back; ``on_failure: rollback`` and the card's button start it."""


UPGRADE = "upgrade"
DISABLE, ENABLE = "emergency-disable", "emergency-enable"
SCALE_DOWN, RESTORE = "emergency-scale-down", "emergency-restore"
"""The runbooks that a card offers on a bad day, and those that undo them."""
RECOVER_DATABASE = "recover-database"
"""The runbook that makes a database which nothing uses until the release is switched over."""
EXTERNALIZE = "emergency-externalize"
"""The runbook that tests a service which nothing uses until the release is switched over."""
RECOVER_VOLUMES = "recover-volumes"
"""The runbook that holds a store down while its volume is swapped."""
RECOVERIES = {
    "recover-restart": "Restart the release",
    RECOVER_DATABASE: "Restore the database",
    RECOVER_VOLUMES: "Look at the volumes",
}
"""The runbooks for when a rollback does not help either, and what their buttons say."""
MOST_CHOICES = 4


class OfferKind(StrEnum):
    """What a button does."""

    APPROVE = "approve"
    REJECT = "reject"
    CANCEL = "cancel"
    RETRY = "retry"
    STOP = "stop"
    ROLL_BACK = "roll_back"
    OVERRIDE = "override"  # opens a dialog
    SUPPLY = "supply"  # opens a dialog
    TICK = "tick"
    CONFIRM = "confirm"  # opens a dialog
    EMERGENCY = "emergency"  # opens a dialog
    PERMANENT = "permanent"
    ASK = "ask"  # for another run, which is planned and approved as if somebody had typed it
    CHOOSE = "choose"  # something else for the run to do; it is planned again


@dataclass(frozen=True)
class Offer:
    """One button. ``confirm`` is the text of its dialog, where a slip of the thumb would hurt.

    ``permission`` is what the person who presses it needs on the target. ``value`` is all that goes into the button.
    """

    kind: OfferKind
    label: str
    value: str
    permission: Permission
    style: Literal["primary", "danger"] | None = None
    confirm: str | None = None


def way_back(run: RunRecord) -> tuple[int, str] | None:
    """Revision and chart version that the release had when the run was planned, if the run can be taken back to it."""
    if run.plan is None or not run.mutates or run.runbook == ROLLBACK:
        return None
    back = run.plan.facts.get("rollback_to")
    return (int(back["revision"]), str(back["version"])) if back else None


def optional(run: RunRecord) -> frozenset[str]:
    """The components that whoever confirms may leave out: what the plan's ``stops`` call optional."""
    stops = run.plan.facts.get("stops") if run.plan else None
    return frozenset(str(one["component"]) for one in stops or () if one.get("optional"))


def touched(run: RunRecord) -> bool:
    """Whether any step of the run was begun."""
    return any(step.state not in (StepState.PENDING, StepState.SKIPPED) for step in run.steps)


def plan_mark(run: RunRecord) -> str:
    """The run and the plan that a person looks at; an approval for an older plan does not fit the newer one."""
    return f"{run.id}:{run.plan.digest[:12]}" if run.plan else run.id


@dataclass(frozen=True)
class Asking:
    """A run that a card offers to ask for: facts ``offers`` of an answer's last outcome, or the ways to recover."""

    runbook: str
    inputs: Mapping[str, str]


def asking(run: RunRecord, value: str) -> Asking | None:
    """What the button with this value (``RUN:NUMBER``) asks for."""
    number = value.partition(":")[2]
    found = _asked(run)
    if not number.isdecimal() or int(number) >= len(found):
        return None
    one = found[int(number)]
    return Asking(str(one["runbook"]), {str(key): str(text) for key, text in one["inputs"].items()})


def chosen(run: RunRecord, number: str) -> Mapping[str, Any] | None:
    """The values of the choice with this number that the run's plan offers: its fact ``choices``."""
    found = choices(run)
    if not number.isdecimal() or int(number) >= len(found):
        return None
    values: Mapping[str, Any] = found[int(number)]["values"]
    return values


def choices(run: RunRecord) -> list[Mapping[str, Any]]:
    """What the plan could do instead; each has ``label``, ``text``, ``values``, and ``taken`` where it is what it does."""
    return list((run.plan.facts.get("choices") or ()) if run.plan else ())


def offers(run: RunRecord) -> tuple[Offer, ...]:
    """The buttons that make sense now, in the order in which they stand."""
    match run.state:
        case RunState.AWAITING_APPROVAL:
            mark = plan_mark(run)
            return (
                *_ticks(run, "before"),
                _yes(run, mark),
                Offer(OfferKind.REJECT, "Reject", mark, deciding(run), style=None if run.emergency else "danger"),
                *_choices(run),
            )
        case RunState.PLANNING | RunState.QUEUED | RunState.RUNNING if run.mutates:
            return () if run.cancel_requested_by else (_cancel(run),)
        case RunState.NEEDS_ATTENTION:
            decides = Permission.EMERGENCY if run.emergency else Permission.UPGRADE
            stop = Offer(OfferKind.STOP, "Stop here", run.id, decides)
            retry = Offer(OfferKind.RETRY, "Retry", run.id, decides, style="primary")
            return (retry, *_roll_back(run), stop, *_asks(run), *_emergencies(run))
        case RunState.SUCCEEDED:
            return (*_ticks(run, "after"), *_roll_back(run), *_asks(run), *_undone(run))
        case RunState.FAILED | RunState.CANCELLED:
            back = (*_roll_back(run), *_undone(run)) if touched(run) else ()
            return (*back, *_again(run), *_asks(run), *(_emergencies(run) if run.state is RunState.FAILED else ()))
        case RunState.BLOCKED:
            return (*_supply(run), *_override(run), *_again(run), *_choices(run))
        case RunState.EXPIRED:
            return _again(run)
        case _:
            return ()


def deciding(run: RunRecord) -> Permission:
    """What a yes or no takes: in an incident channel one person with this permission is enough."""
    return Permission(run.incident) if run.incident else Permission.APPROVE


def _yes(run: RunRecord, mark: str) -> Offer:
    if not run.emergency:
        return Offer(OfferKind.APPROVE, "Approve", mark, deciding(run), style="primary", confirm=_blind(run))
    label = "Confirm…" if run.incident else "Approve…"
    return Offer(OfferKind.CONFIRM, label, mark, deciding(run), style="danger")


def _blind(run: RunRecord) -> str | None:
    """Who says yes to a plan that could not look at everything says so twice."""
    unseen = sum(finding.unseen for finding in run.plan.findings) if run.plan else 0
    if not unseen:
        return None
    what = "One thing" if unseen == 1 else f"{unseen} things"
    return f"{what} could not be looked at, so the plan does not know what the change means for that. Approve all the same?"


def _emergency(run: RunRecord, label: str, runbook: str, *, style: Literal["danger"] | None = None) -> Offer:
    return Offer(OfferKind.EMERGENCY, label, f"{run.id}:{runbook}", Permission.EMERGENCY, style=style)


def _emergencies(run: RunRecord) -> tuple[Offer, ...]:
    """What helps at once when a change went wrong."""
    if run.emergency or not run.mutates or not touched(run):
        return ()
    return (
        _emergency(run, "Scale down…", SCALE_DOWN, style="danger"),
        _emergency(run, "Disable a component…", DISABLE),
    )


def _undone(run: RunRecord) -> tuple[Offer, ...]:
    """How an emergency is undone, whole or half done, and how what it did stays."""
    if not touched(run):
        return ()
    if run.runbook == SCALE_DOWN or (run.runbook == DISABLE and run.state is not RunState.SUCCEEDED):
        return (_emergency(run, "Restore…", RESTORE),)
    if run.runbook == RECOVER_VOLUMES:
        held = run.state is not RunState.SUCCEEDED and run.plan is not None and run.plan.facts.get("holds")
        return (_emergency(run, "Restore…", RESTORE),) if held else ()
    if run.runbook in (RECOVER_DATABASE, EXTERNALIZE):
        return _switch_over(run)
    if run.runbook == UPGRADE:
        return _switch_off(run)
    if run.runbook != DISABLE:
        return ()
    name = str(run.inputs.get("component") or "")
    enable = _emergency(run, f"Enable {name}…", ENABLE)
    if following(run) is None:
        return (enable,)
    confirm = (
        f"Ask for an upgrade to the same chart version with {name} switched off? It is planned and approved as always."
    )
    permanent = Offer(OfferKind.PERMANENT, "Make it permanent", run.id, Permission.UPGRADE, confirm=confirm)
    return (enable, permanent)


def _switch_over(run: RunRecord) -> tuple[Offer, ...]:
    if following(run) is None:
        return ()
    what = "the restored database" if run.runbook == RECOVER_DATABASE else "it"
    found = sum(step.state is StepState.WARNING for step in run.steps) if run.runbook == EXTERNALIZE else 0
    look = " The test has found something to look at: read it on the card first." if found else ""
    confirm = f"Ask for an upgrade to the same chart version that uses {what}? It is planned and approved first.{look}"
    return (Offer(OfferKind.PERMANENT, "Switch over", run.id, Permission.UPGRADE, confirm=confirm),)


def _switch_off(run: RunRecord) -> tuple[Offer, ...]:
    """After a switch-over: what is bundled goes by an upgrade of its own, once the first one is verified."""
    if following(run) is None or run.child is not None or run.plan is None:
        return ()
    names = " and ".join(run.plan.facts["switch_off"]["services"])
    confirm = (
        f"Ask for an upgrade to the same chart version without the bundled {names}? It is planned and approved first."
    )
    label = f"Switch off bundled {names}"[:75]
    return (Offer(OfferKind.PERMANENT, label, run.id, Permission.UPGRADE, confirm=confirm),)


def following(run: RunRecord) -> tuple[str, Mapping[str, Any]] | None:
    """Chart version and values of the upgrade that what the run did is gone on with; None where there is none (yet).

    It leaves out the component that was disabled, uses what was restored or tested, or stops what the release uses no more.
    """
    facts = run.plan.facts if run.plan else {}
    done = run.state is RunState.SUCCEEDED
    version, values = facts.get("current_version"), facts.get("permanent")
    if run.runbook == UPGRADE:
        version, values = run.inputs.get("version"), (facts.get("switch_off") or {}).get("values")
    ready = run.runbook == DISABLE or (done and run.runbook in (RECOVER_DATABASE, EXTERNALIZE, UPGRADE))
    return (str(version), values) if ready and version and values else None


def _cancel(run: RunRecord) -> Offer:
    confirm = f"Stop the run {run.id} at its next safe point?"
    return Offer(OfferKind.CANCEL, "Cancel", run.id, _asking(run), confirm=confirm)


def _again(run: RunRecord) -> tuple[Offer, ...]:
    if not run.mutates or run.child is not None:
        return ()
    return (Offer(OfferKind.RETRY, "Plan again", run.id, _asking(run)),)


def _roll_back(run: RunRecord) -> tuple[Offer, ...]:
    back = way_back(run)
    if back is None or run.child is not None or not touched(run):
        return ()
    revision, version = back
    confirm = f"Take {run.target} back to revision {revision} ({version})? It starts as soon as its plan is ready."
    label = f"Roll back to {revision} ({version})"[:75]
    return (Offer(OfferKind.ROLL_BACK, label, run.id, Permission.ROLLBACK, style="danger", confirm=confirm),)


def _ticks(run: RunRecord, when: str) -> tuple[Offer, ...]:
    """One button a thing that a person still has to do by hand."""
    open_ = run.unticked(when) if run.mutates else ()
    return tuple(
        Offer(OfferKind.TICK, f"Done: {item['text']}", f"{run.id}:{item['id']}", Permission.UPGRADE) for item in open_
    )


def _asks(run: RunRecord) -> tuple[Offer, ...]:
    """One button a run that a card offers: the history's ways back, and how to recover when there is no way back."""
    confirm = None
    if run.mutates:
        first = f"It ends run {run.id} here, as `Stop here` does. " if not run.state.over else ""
        confirm = f"{first}What is asked for is planned first, and done when it is approved."
    return tuple(
        Offer(
            OfferKind.ASK,
            str(one["label"])[:75],
            f"{run.id}:{number}",
            _permission(str(one["runbook"])),
            confirm=confirm,
        )
        for number, one in enumerate(_asked(run))
    )


def _asked(run: RunRecord) -> list[Mapping[str, Any]]:
    if run.mutates and run.state is not RunState.SUCCEEDED:
        return [{"runbook": name, "inputs": {}, "label": RECOVERIES[name]} for name in recoveries(run)]
    if run.mutates:
        told = [(step.outcome or {}).get("facts") or {} for step in run.steps]
        return [one for facts in told for one in facts.get("undo") or ()]
    facts = (run.steps[-1].outcome or {}).get("facts") if run.steps else None
    found = facts.get("offers") if isinstance(facts, Mapping) else None
    return list(found) if isinstance(found, list) else []


def recoveries(run: RunRecord) -> tuple[str, ...]:
    """The runbooks to recover with that the card offers: where a change failed and cannot be rolled back."""
    failed = run.state in (RunState.FAILED, RunState.NEEDS_ATTENTION)
    if not failed or not run.mutates or run.emergency or run.child is not None or not touched(run) or _roll_back(run):
        return ()
    without = {run.runbook, RECOVER_DATABASE if run.plan and run.plan.facts.get("no_database") else ""}
    return tuple(name for name in RECOVERIES if name not in without)


def _choices(run: RunRecord) -> tuple[Offer, ...]:
    """One button for each thing that the plan could do instead."""
    if not run.mutates:
        return ()
    found = [(number, one) for number, one in enumerate(choices(run)) if not one.get("taken")][:MOST_CHOICES]
    return tuple(
        Offer(OfferKind.CHOOSE, str(one["label"])[:75], f"{plan_mark(run)}:{number}", _asking(run))
        for number, one in found
    )


def _supply(run: RunRecord) -> tuple[Offer, ...]:
    """Values that the new chart misses can be given in a dialog; a secret only where the chart takes a Secret's name."""
    missing = (run.plan.facts.get("missing_values") or ()) if run.plan else ()
    if not any(one.get("reference") or not one.get("secret") for one in missing):
        return ()
    return (Offer(OfferKind.SUPPLY, "Supply values", plan_mark(run), _asking(run), style="primary"),)


def _override(run: RunRecord) -> tuple[Offer, ...]:
    """Only where every blocker that is left may be overridden; then it takes the strongest permission among them."""
    left = run.blockers
    if not left or not run.mutates or any(not finding.override for finding in left):
        return ()
    permission = Permission(left[0].override)
    return (Offer(OfferKind.OVERRIDE, "Override…", plan_mark(run), permission, style="danger"),)


def _asking(run: RunRecord) -> Permission:
    """The permission that asking for such a run needs."""
    return Permission.EMERGENCY if run.emergency else _permission(run.runbook)


def _permission(runbook: str) -> Permission:
    if runbook.startswith("emergency-"):
        return Permission.EMERGENCY
    if runbook in RECOVERIES:
        return Permission.ROLLBACK
    return Permission(runbook) if runbook in set(Permission) else Permission.UPGRADE
