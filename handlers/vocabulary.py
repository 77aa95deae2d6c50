"""The words that can be typed: form, one-line summary, and what a person needs for them.

Runbooks are words too: ours have their arguments here, those that users added take their inputs as ``--NAME VALUE``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from bot.engine.contract import Runbook, Runbooks, as_typed
from bot.errors import BotError
from bot.settings import Permission

_log = logging.getLogger(__name__)
DRY_RUN = "dry-run"
"""The flag of every runbook that changes something: it ends after the plan."""


@dataclass(frozen=True)
class Word:
    """One word, or two with a dash between them. ``permission`` None: anybody.

    ``arguments`` name the inputs that stand without ``--``, ``flags`` the options that take no value. ``incident``: what it
    asks for may be confirmed by one person in an incident channel.
    """

    name: str
    form: str
    summary: str
    permission: Permission | None
    arguments: tuple[str, ...] = ()
    runbook: bool = False
    flags: tuple[str, ...] = ()
    incident: bool = False
    emergency: bool = False


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
    "emergency-externalize": ("emergency externalize postgres|redis|qdrant", ("service",)),
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
        form, arguments = _FORMS.get(name, (as_typed(name), ()))
        try:
            runbook = self._parse(self._runbooks.text(name))
        except BotError as error:  # one bad file must not take the other words away; whoever asks for it gets the place
            _log.warning("the runbook %s cannot be read: %s", name, error)
            return Word(name, form, "cannot be read at the moment", Permission.VIEW, arguments, runbook=True)
        flags = tuple(one.name.replace("_", "-") for one in runbook.inputs if one.type == "bool")
        flags += (DRY_RUN,)
        if name not in _FORMS:
            form, arguments = _form(runbook)
        permission = Permission(runbook.permission)
        incident = runbook.approval is not None and runbook.approval.incident is not None
        return Word(name, form, runbook.summary, permission, arguments, True, flags, incident, runbook.emergency)

    @staticmethod
    def flags(words: Mapping[str, Word]) -> dict[str, tuple[str, ...]]:
        """What ``handlers.parsing`` wants to know of all words."""
        return {name: word.flags for name, word in words.items()}

    def _parse(self, text: str) -> Runbook:
        if text not in self._parsed:
            if len(self._parsed) > 100:
                self._parsed.clear()
            self._parsed[text] = self._runbooks.parse(text)
        return self._parsed[text]


def _form(runbook: Runbook) -> tuple[str, tuple[str, ...]]:
    """How a runbook is asked for, by the inputs that it declares: those with a value may stand without their names."""
    valued = [one for one in runbook.inputs if one.type != "bool"]
    said = [as_typed(runbook.name)]
    for one in valued:
        shown = "|".join(one.choices) or one.name.replace("_", "-").upper()
        said.append(shown if one.required else f"[{shown}]")
    said += [f"[--{one.name.replace('_', '-')}]" for one in runbook.inputs if one.type == "bool"]
    said += [f"[--{DRY_RUN}]"] if runbook.emergency else []
    return " ".join(said), tuple(one.name for one in valued)
