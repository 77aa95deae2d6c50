"""Errors by meaning, so that whoever catches one knows what to do without reading its text.

Every error carries a sentence for the person in Slack and, where there is one, the way out. Clients wrap
their libraries' errors into these once; nothing above them sees an HTTP status or a subprocess' exit code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

UNSEEN = "unseen"
"""The code of a plan's finding that says what could not be looked at: such a plan is not whole, whatever else it found."""


@dataclass(frozen=True)
class Evidence:
    """Something worth showing with an error or an outcome: events, the last log lines, a hook's log.

    ``title`` is one line; ``text`` may be of any length (whoever shows it cuts it and says so).
    """

    title: str
    text: str


class BotError(Exception):
    """Base of every error that this project raises on purpose.

    ``message`` is one sentence that names the thing and the reason; ``way_out`` says what to do next;
    ``evidence`` is what was seen.
    """

    def __init__(self, message: str, *, way_out: str = "", evidence: Sequence[Evidence] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.way_out = way_out
        self.evidence = tuple(evidence)

    def __str__(self) -> str:
        return f"{self.message} {self.way_out}".rstrip()


class UserMistake(BotError):
    """What was asked cannot be right: a malformed version, an unknown word, a target that does not exist."""


class Refused(BotError):
    """What was asked is understood and not allowed now: permission, policy, lock, state."""


class Temporary(BotError):
    """It did not work and nothing was changed; the same again may work.

    ``retry_after`` is in seconds, when the other side named a time.
    """

    def __init__(
        self,
        message: str,
        *,
        way_out: str = "",
        evidence: Sequence[Evidence] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, way_out=way_out, evidence=evidence)
        self.retry_after = retry_after


class Permanent(BotError):
    """It failed, and the same again will fail the same way."""


class OutcomeUnknown(BotError):
    """A mutation may or may not have happened; only a look at the cluster, or a person, can tell."""
