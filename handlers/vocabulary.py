"""The words that can be typed: form, one-line summary, and what a person needs for them.

Runbooks are words too: ours have their arguments here, those that users added take their inputs as ``--NAME VALUE``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from bot.engine.contract import Runbook, Runbooks
from bot.errors import BotError
from bot.settings import Permission

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Word:
    """One word. ``arguments`` name the inputs that stand without ``--``. ``permission`` None: anybody."""

    name: str
    form: str
    summary: str
    permission: Permission | None
    arguments: tuple[str, ...] = ()
    runbook: bool = False


BUILT_IN = (
    Word("runs", "runs", "the newest runs", Permission.VIEW),
    Word("run", "run ID", "one run, with everything its plan found", Permission.VIEW),
    Word("locks", "locks", "which run holds which target", Permission.VIEW),
    Word("approve", "approve ID", "say yes to a plan", Permission.APPROVE),
    Word("reject", "reject ID [REASON]", "say no to a plan", Permission.APPROVE),
    Word("cancel", "cancel ID", "stop a run at its next safe point", Permission.UPGRADE),
    Word("retry", "retry ID", "try the failed step again, or the whole run anew", Permission.UPGRADE),
    Word("stop", "stop ID", "end a run that waits for a decision", Permission.UPGRADE),
    Word("help", "help", "this list", None),
)
_FORMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "status": ("status", ()),
    "history": ("history", ()),
    "versions": ("versions", ()),
    "changelog": ("changelog [FROM..TO]", ("range",)),
    "diff": ("diff VERSION [values|schema|manifests]", ("version", "part")),
    "verify": ("verify", ()),
    "plan": ("plan VERSION", ("version",)),
    "upgrade": ("upgrade VERSION", ("version",)),
    "rollback": ("rollback [REVISION]", ("revision",)),
    "unlock": ("unlock", ()),
}


class Vocabulary:
    """All words of one installation. Runbooks are read at each use, as they are at that moment."""

    def __init__(self, runbooks: Runbooks) -> None:
        self._runbooks = runbooks
        self._parsed: dict[str, Runbook] = {}

    def words(self) -> dict[str, Word]:
        """Runbooks first, in the order in which they are usually wanted."""
        names = list(self._runbooks.names())
        ours = [name for name in _FORMS if name in names]
        others = sorted(name for name in names if name not in _FORMS)
        taken = {word.name for word in BUILT_IN}
        found = [self._runbook(name) for name in (*ours, *others) if name not in taken]
        return {word.name: word for word in (*found, *BUILT_IN)}

    def permission(self, runbook_text: str) -> Permission:
        """What asking for a runbook needs."""
        return Permission(self._parse(runbook_text).permission)

    def _runbook(self, name: str) -> Word:
        form, arguments = _FORMS.get(name, (f"{name} [--INPUT VALUE]", ()))
        try:
            runbook = self._parse(self._runbooks.text(name))
        except BotError as error:  # one bad file must not take the other words away; whoever asks for it gets the place
            _log.warning("the runbook %s cannot be read: %s", name, error)
            return Word(name, form, "cannot be read at the moment", Permission.VIEW, arguments, runbook=True)
        return Word(name, form, runbook.summary, Permission(runbook.permission), arguments, runbook=True)

    def _parse(self, text: str) -> Runbook:
        if text not in self._parsed:
            if len(self._parsed) > 100:
                self._parsed.clear()
            self._parsed[text] = self._runbooks.parse(text)
        return self._parsed[text]
