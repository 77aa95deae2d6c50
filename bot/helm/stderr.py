"""A run of Helm that failed, and its message without the log around it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bot.errors import Evidence
from bot.helm.progress import is_log_line


@dataclass(frozen=True)
class Failure:
    """A run of Helm that failed. ``mutating``: an upgrade or a rollback; ``timed_out``: our deadline ended
    it.
    """

    command: str
    subject: str
    exit_code: int
    stderr: str
    mutating: bool = False
    timed_out: bool = False

    @property
    def text(self) -> str:
        """Helm's message without the log around it, without ``Error:`` and ``UPGRADE FAILED:``."""
        return error_text(self.stderr)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Helm's own words."""
        return (Evidence(f"helm {self.command}", self.text),) if self.text else ()


# Two of the schema library's messages repeat the value itself: those on a pattern and on a format.
_SECRET_VALUE = re.compile(
    r"(?P<place>^- at '[^']*(?:passw|secret|token|credential|key|dsn|auth)[^'/]*': )'.*'"
    r"(?P<verdict> (?:does not match|is not valid) )",
    re.M | re.I,
)
_PREFIX = re.compile(r"^(?:(?:UPGRADE|INSTALLATION|ROLLBACK) FAILED|execution error): ", re.M)


def error_text(stderr: str) -> str:
    """The error message in a run's stderr: from the last ``Error:`` on, without lines of the log and stack
    traces (Helm 3 debug).
    """
    lines = stderr.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("Error: ")]
    kept = []
    for line in lines[starts[-1] if starts else 0 :]:
        if line.startswith(("helm.go:", "helm.sh/helm/", "main.main", "runtime.")):
            break
        if not is_log_line(line):
            kept.append(line)
    text = "\n".join(kept).strip().removeprefix("Error: ")
    text = _SECRET_VALUE.sub(r"\g<place>(hidden)\g<verdict>", text)
    text = text.removesuffix("Use --debug flag to render out invalid YAML").rstrip()
    while (shorter := _PREFIX.sub("", text, count=1)) != text and _PREFIX.match(text):
        text = shorter
    return text


def cut(text: str, limit: int = 400) -> str:
    """One line of at most LIMIT characters; what is left out is counted."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}… ({len(line) - limit} more characters)"
