"""What the API server said against an object, as findings: one for each object and field, with the reason and the way out.

Codes are ``dry_run.`` and what stands in the way: ``immutable``, ``schema``, ``invalid``, ``conflict``, ``quota``, ``webhook``,
``policy``, ``namespace``, ``forbidden``, ``refused``. What the server would take with a remark is ``dropped`` or ``warning``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bot.engine.contract import Finding, Level
from bot.errors import UNSEEN, BotError, Refused, Temporary
from bot.kube.failures import Conflict, Denied, FieldCause, Invalid, NotFound
from bot.kube.objects import ObjectRef
from bot.redaction import redact, secret_name

MOST = 12
"""Fields of one object that are told."""
LONGEST_VALUE = 40
DEPRECATED = "api.deprecated"
_UNDECLARED = re.compile(r"(?P<field>\.[\w.\[\]\"=/-]+): field not declared in schema")
_UNKNOWN = re.compile(r'unknown field "(?P<field>[^"]+)"')
_OWNER = re.compile(r'conflict with "(?P<who>[^"]+)"')
_MISSING_NAMESPACE = re.compile(r'namespaces "(?P<name>[^"]+)" not found')
_IMMUTABLE = re.compile(r"immutable|forbidden: updates to|may not change|cannot be changed", re.IGNORECASE)
_CHANGE = "The chart or its values must change."
_OLDER = "The cluster's definition of this kind has no such field: correct the chart or its values, or update the definition."


@dataclass(frozen=True)
class Subject:
    """The object that a finding is about."""

    ref: ObjectRef
    hook: bool = False

    @property
    def label(self) -> str:
        return f"{self.ref}{' (hook)' if self.hook else ''}"

    def finding(self, level: Level, code: str, text: str, way_out: str = "") -> Finding:
        """``text`` goes on from the object's name."""
        said = f"{self.label}: {text.rstrip('.')}."
        return Finding(
            level, said, way_out, code if "." in code or code == UNSEEN else f"dry_run.{code}", str(self.ref)
        )

    def blocker(self, code: str, text: str, way_out: str = _CHANGE) -> Finding:
        return self.finding(Level.BLOCKER, code, text, way_out)


def undeclared(error: BotError) -> tuple[str, ...]:
    """The fields that server-side apply refuses because the schema has none of that name."""
    found = (match["field"] for pattern in (_UNDECLARED, _UNKNOWN) for match in pattern.finditer(error.message))
    return tuple(dict.fromkeys(found)) if isinstance(error, Invalid | Temporary) else ()


def refusal(subject: Subject, error: BotError, *, dropped: bool = False) -> list[Finding]:
    """Why the object was not taken. ``dropped``: client-side apply would take it and drop the undeclared fields."""
    return list(dict.fromkeys(_told(subject, error, dropped=dropped)))[:MOST]


def _told(subject: Subject, error: BotError, *, dropped: bool) -> Iterator[Finding]:
    if fields := undeclared(error):
        yield from _schema(subject, fields, dropped=dropped)
    elif isinstance(error, Denied):
        yield subject.blocker(error.by, redact(error.said), error.way_out)
    elif isinstance(error, Refused):
        yield subject.blocker("forbidden", error.message, error.way_out)
    elif isinstance(error, Conflict) and error.causes:
        yield from (_conflict(subject, cause) for cause in error.causes)
    elif isinstance(error, Invalid):
        yield from _invalid(subject, error)
    elif isinstance(error, NotFound) and (match := _MISSING_NAMESPACE.search(error.message)):
        way_out = "Create the namespace first, or correct the one that the chart or its values name."
        yield subject.blocker("namespace", f"there is no namespace {match['name']}", way_out)
    elif isinstance(error, Temporary):
        yield _temporary(subject, error)
    else:
        yield subject.blocker("refused", redact(error.message), error.way_out or _CHANGE)


def _schema(subject: Subject, fields: Iterable[str], *, dropped: bool) -> Iterator[Finding]:
    way_out = _OLDER
    if dropped:
        way_out += (
            ' Client-side apply (the target\'s `server_side_apply: "false"`) would drop it with a warning, and what it asks for'
            " would not be there."
        )
    for field in fields:
        yield subject.blocker("schema", f"{field}: field not declared in schema", way_out)


def _conflict(subject: Subject, cause: FieldCause) -> Finding:
    owner = match["who"] if (match := _OWNER.search(cause.message)) else "somebody else"
    text = f"{cause.field} was set by {owner}, and server-side apply does not take it from them"
    return subject.blocker("conflict", text, "Leave the field out of the chart's values, or let its owner give it up.")


def _invalid(subject: Subject, error: Invalid) -> Iterator[Finding]:
    if not error.causes:
        yield subject.blocker("invalid", redact(error.message))
    for cause in error.causes:
        immutable = _IMMUTABLE.search(cause.message)
        way_out = "Keep its old value, or plan to delete the object and create it again." if immutable else _CHANGE
        field = f"{cause.field}: " if cause.field else ""
        yield subject.blocker("immutable" if immutable else "invalid", field + _reason(subject, cause), way_out)


def _temporary(subject: Subject, error: Temporary) -> Finding:
    if "failed calling webhook" in error.message:
        way_out = "Look at the webhook's own service: until it answers, nothing of this kind can be applied."
        return subject.blocker("webhook", redact(error.message), way_out)
    text = f"could not be rehearsed: {redact(error.message)}"
    return subject.blocker(UNSEEN, text, error.way_out or "Plan again when the API server answers.")


def owners(error: Conflict) -> set[str]:
    """The field managers that stand in the way."""
    return {match["who"] for cause in error.causes if (match := _OWNER.search(cause.message))}


def remarks(subject: Subject, api_version: str, said: Iterable[str]) -> list[Finding]:
    """What the API server warns of when it takes the object. What it says of the whole kind is told of the kind."""
    found: list[Finding] = []
    kind = f"{api_version} {subject.ref.kind}"
    for text in dict.fromkeys(said):
        if match := _UNKNOWN.search(text):
            sentence = f"{match['field']} is not declared in the schema: the API server would drop it"
            found.append(subject.finding(Level.WARNING, "dropped", sentence, _OLDER))
        elif text.startswith(f"{kind} is deprecated"):
            name = f"{subject.ref.kind} ({api_version})"
            found.append(Finding(Level.WARNING, f"{text.rstrip('.')}.", "", DEPRECATED, name))
        else:
            found.append(subject.finding(Level.WARNING, "warning", redact(text)))
    return found


def _reason(subject: Subject, cause: FieldCause) -> str:
    """The API server's reason; the value in front of it is left out when it is long (noise) or may be a secret."""
    head, value, rest = cause.message.partition(" value: ")
    shown, _, why = rest.rpartition(": ")
    secret = subject.ref.kind == "Secret" or any(map(secret_name, cause.field.split(".")[-1:]))
    if value and why and (secret or len(shown) > LONGEST_VALUE):
        return f"{head} value: {why}"
    return redact(cause.message)
