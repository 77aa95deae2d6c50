"""Findings in the few forms that every check uses."""

from __future__ import annotations

from bot.engine.contract import CheckResult, Finding, Level
from bot.errors import UNSEEN, BotError


def blocker(text: str, way_out: str = "") -> Finding:
    """Nothing can be done before this is settled."""
    return Finding(Level.BLOCKER, text, way_out)


def warning(text: str, way_out: str = "") -> Finding:
    """Somebody should read this before they approve."""
    return Finding(Level.WARNING, text, way_out)


def info(text: str) -> Finding:
    """Good to know."""
    return Finding(Level.INFO, text)


def refused_value(path: str, problem: str) -> str:
    """What the chart's schema says of a value, or of the values as a whole (then ``path`` is empty)."""
    if path:
        return f"Values: {path}: {problem}."
    return f"Values: the chart {problem}." if problem.startswith("needs ") else f"Values: {problem}."


def not_done(level: Level, what: str, error: BotError) -> CheckResult:
    """The check itself could not be done, and why. A plan never takes that for a green one."""
    return CheckResult(
        findings=(Finding(level, f"{what} could not be done: {error.message}", error.way_out, UNSEEN, what),),
        files=error.evidence,
    )
