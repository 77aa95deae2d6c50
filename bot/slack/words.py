"""The words and signs of a run on its card. Data; another language would replace this module."""

from __future__ import annotations

from collections.abc import Mapping

from bot.store.records import RunState, StepState

RUNBOOKS: Mapping[str, tuple[str, str]] = {
    "upgrade": ("🚀", "Upgrade"),
    "rollback": ("↩️", "Roll back"),
    "unlock": ("🔓", "Unlock"),
    "recover-restart": ("🔁", "Restart"),
    "recover-database": ("🛟", "Restore the database of"),
    "verify": ("🩺", "Verify"),
    "status": ("📋", "Status of"),
    "history": ("🕘", "History of"),
    "versions": ("🏷️", "Versions for"),
    "plan": ("📝", "Plan for"),
    "changelog": ("📰", "Changelog for"),
    "diff": ("🔀", "Differences for"),
    "emergency-disable": ("🚨", "Disable in"),
    "emergency-enable": ("🟢", "Enable in"),
    "emergency-scale-down": ("🚨", "Scale down"),
    "emergency-restore": ("🟢", "Restore"),
    "emergency-externalize": ("🚨", "Try another service for"),
}
OTHER_RUNBOOK = "⚙️"

STATES: Mapping[RunState, tuple[str, str]] = {
    RunState.PLANNING: ("🔎", "Planning; nothing is changed yet"),
    RunState.AWAITING_APPROVAL: ("✋", "Waiting for approval"),
    RunState.QUEUED: ("⏳", "Starts in a moment"),
    RunState.RUNNING: ("🔄", "Running"),
    RunState.NEEDS_ATTENTION: ("🆘", "Needs a decision"),
    RunState.SUCCEEDED: ("✅", "Done"),
    RunState.FAILED: ("❌", "Failed"),
    RunState.CANCELLED: ("⏹️", "Cancelled"),
    RunState.BLOCKED: ("⛔", "Cannot go ahead"),
    RunState.REJECTED: ("🚫", "Rejected"),
    RunState.EXPIRED: ("⌛", "Nobody approved in time"),
    RunState.ROLLED_BACK: ("↩️", "Taken back"),
}

STEPS: Mapping[StepState, str] = {
    StepState.PENDING: "▫️",
    StepState.RUNNING: "🔄",
    StepState.DONE: "✅",
    StepState.WARNING: "⚠️",
    StepState.FAILED: "❌",
    StepState.SKIPPED: "⏭️",
    StepState.CANCELLED: "⏹️",
    StepState.UNKNOWN: "❓",
}

SQUARES: Mapping[StepState, str] = {
    StepState.PENDING: "⬜",
    StepState.RUNNING: "🟦",
    StepState.DONE: "🟩",
    StepState.WARNING: "🟨",
    StepState.FAILED: "🟥",
    StepState.SKIPPED: "🟩",
    StepState.CANCELLED: "🟧",
    StepState.UNKNOWN: "🟧",
}

LEVELS: Mapping[str, str] = {"blocker": "⛔", "warning": "⚠️", "info": "▪️"}


def runbook(name: str) -> tuple[str, str]:
    """Sign and words for a runbook; one that users added is called by its name."""
    return RUNBOOKS.get(name, (OTHER_RUNBOOK, name))


def state(value: RunState) -> str:
    """The state in a sentence: ``is running``."""
    return "is " + value.value.replace("_", " ")


def count(number: int, one: str, many: str = "") -> str:
    """``1 warning``, ``3 warnings``."""
    return f"{number} {one if number == 1 else many or one + 's'}"
