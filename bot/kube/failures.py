"""The API server's answers as errors by meaning, wrapped once.

429 and 5xx are Temporary, 401 and 403 are Refused and name the missing rule, 404, 409 and 422 have types of
their own. A mutation whose answer was lost, or that failed inside the server, is OutcomeUnknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, TypeAlias

from bot.errors import BotError, OutcomeUnknown, Permanent, Refused, Temporary
from bot.kube.objects import Json
from bot.silence import silence

Admission: TypeAlias = Literal["quota", "webhook", "namespace", "policy"]
_BY_RIGHTS = re.compile(r'[Uu]ser "[^"]*" cannot ')
_BY_ADMISSION: tuple[tuple[re.Pattern[str], Admission, str], ...] = (
    (
        re.compile(r'admission webhook "[^"]*" denied the request'),
        "webhook",
        "The object must satisfy that webhook, or whoever runs it must allow it.",
    ),
    (re.compile(r"exceeded quota|failed quota"), "quota", "Raise the namespace's quota, or ask for less."),
    (
        re.compile(r"because it is being terminated"),
        "namespace",
        "Find out who deletes the namespace and why; a deletion cannot be taken back.",
    ),
    (
        re.compile(r"\bis forbidden: |violates PodSecurity|ValidatingAdmissionPolicy"),
        "policy",
        "The object must keep to the cluster's policy, or the policy must allow it.",
    ),
)


@dataclass(frozen=True)
class FieldCause:
    """One field that the server did not accept (``spec.replicas``) and what it said about it."""

    field: str
    message: str


class NotFound(Permanent):
    """The object, or a part of it that was asked for, is not there."""


class UnknownKind(NotFound):
    """The cluster serves no such kind: usually a CustomResourceDefinition that is not installed."""


class ServerAway(Temporary):
    """The API server did not answer, or is too busy to: one cause for whatever was asked of it."""


class Expired(Temporary):
    """410: the version of a list or watch is too old; list again from the start."""


class Denied(Refused):
    """Refused by admission, not for want of rights: a quota, a webhook, a policy (a limit range too), or a namespace that is
    being deleted. ``said`` is the server's own sentence.
    """

    def __init__(self, message: str, *, by: Admission, said: str, way_out: str) -> None:
        super().__init__(message, way_out=way_out)
        self.by = by
        self.said = said


class Conflict(Permanent):
    """409. ``reason`` is ``AlreadyExists`` for a create, ``Conflict`` for a stale or foreign-owned field.

    ``causes`` are the fields of a server-side apply that others own; their message names the owner.
    """

    def __init__(self, message: str, *, reason: str, causes: Sequence[FieldCause] = (), way_out: str = "") -> None:
        super().__init__(message, way_out=way_out)
        self.reason = reason
        self.causes = tuple(causes)

    @property
    def already_exists(self) -> bool:
        return self.reason == "AlreadyExists"


class Invalid(Permanent):
    """422 or 400: the object breaks its schema or an immutable field. ``causes`` says which fields."""

    def __init__(self, message: str, *, causes: Sequence[FieldCause] = (), way_out: str = "") -> None:
        super().__init__(message, way_out=way_out)
        self.causes = tuple(causes)


@dataclass(frozen=True)
class Call:
    """What was asked, in RBAC's words, so that an error can name it."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""
    also: tuple[str, ...] = ()
    """Further verbs that the same request needs."""

    @property
    def mutates(self) -> bool:
        return self.verb in {"create", "patch", "update", "delete"}

    def __str__(self) -> str:
        joint = " of " if "/" in self.resource else "/"
        what = self.resource + (f"{joint}{self.name}" if self.name else "")
        return f"{self.verb} {what}" + (f" in namespace {self.namespace}" if self.namespace else "")


def failure_of(
    call: Call, status: int, body: str, *, retry_after: str | None = None, dry_run: bool = False
) -> BotError:
    """The error that an answer outside 2xx means."""
    said = _status_object(body)
    message = str(said.get("message") or body.strip()[:500] or HTTPStatus(status).phrase)
    reason = str(said.get("reason") or "")
    mutates = call.mutates and not dry_run
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and (
        denied := _denied(call, status, message)
    ):
        return denied
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _refused(call, status, message)
    if status == HTTPStatus.NOT_FOUND:
        return NotFound(f"Could not {call}: {message}.")
    if status == HTTPStatus.CONFLICT:
        return Conflict(f"Could not {call}: {message}.", reason=reason or "Conflict", causes=_causes(said))
    if status in (HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.BAD_REQUEST):
        return Invalid(f"The cluster does not accept it ({call}): {message}.", causes=_causes(said))
    if status == HTTPStatus.GONE:
        return Expired(f"The list has expired ({call}): {message}.")
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE) or (
        status >= HTTPStatus.INTERNAL_SERVER_ERROR and (not mutates or "failed calling webhook" in message)
    ):
        kind = ServerAway if status == HTTPStatus.TOO_MANY_REQUESTS else Temporary
        return kind(
            f"The API server could not {call} now ({status}): {message}.",
            retry_after=_seconds(retry_after, said),
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return OutcomeUnknown(f"The API server failed while it was to {call} ({status}): {message}.")
    return Permanent(f"The API server refused to {call} ({status}): {message}.")


def lost_connection(call: Call, server: str, error: BaseException, *, sent: bool) -> BotError:
    """No answer: ``sent`` says whether the request may have reached the server."""
    why = silence(error)
    if call.mutates and sent:
        return OutcomeUnknown(
            f"The connection to the API server {server} broke while it was to {call}: {why.reason}.",
            way_out="Look at the object before doing it again.",
        )
    # What was asked is left out: it is the same cause whatever was, and a plan tells a cause once.
    return ServerAway(f"The API server {server} cannot be reached: {why.reason}.", way_out=f"{why.way_out}.")


def _denied(call: Call, status: int, message: str) -> Denied | None:
    """What admission said; a webhook chooses its own status, the others answer 403."""
    for pattern, by, way_out in _BY_ADMISSION:
        if pattern.search(message) and (by == "webhook" or status == HTTPStatus.FORBIDDEN):
            if by != "webhook" and _BY_RIGHTS.search(message):
                return None
            said = message.rpartition(" is forbidden: ")[2].rstrip(".")
            return Denied(f"The cluster does not let it in ({call}): {said}.", by=by, said=said, way_out=way_out)
    return None


def _refused(call: Call, status: int, message: str) -> Refused:
    if status == HTTPStatus.UNAUTHORIZED:
        return Refused(
            f"The cluster does not accept the credentials ({call}): {message}.",
            way_out="Check the kubeconfig's user or the ServiceAccount's token.",
        )
    verbs = ", ".join(f'"{verb}"' for verb in (call.verb, *call.also))
    where = f"a Role in namespace {call.namespace}" if call.namespace else "a ClusterRole"
    rule = f'{{apiGroups: ["{call.group}"], resources: ["{call.resource}"], verbs: [{verbs}]}}'
    return Refused(f"The cluster does not allow to {call}: {message}.", way_out=f"Grant {rule} by {where}.")


def _status_object(body: str) -> Json:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _causes(said: Json) -> list[FieldCause]:
    found = (said.get("details") or {}).get("causes") or []
    return [FieldCause(field=str(c.get("field", "")), message=str(c.get("message", ""))) for c in found]


def _seconds(header: str | None, said: Json) -> float | None:
    named = header if header else (said.get("details") or {}).get("retryAfterSeconds")
    try:
        return float(named) if named else None
    except ValueError:
        return None
