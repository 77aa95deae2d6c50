"""`emergency externalize`: one dialog that asks where the other service is, and then the one that every emergency confirms by.

The dialog opens at once and takes no password: what looks like one is refused at its field. What was typed whole
(``--host … --secret …``) needs no dialog, for a night in which Slack opens none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bot.engine.asking import Ask
from bot.engine.desk import Desk
from bot.errors import Refused, Temporary, UserMistake
from bot.settings import Configuration, Permission, Target
from bot.slack import modal
from bot.slack.calls import SlackRefused
from bot.slack.channels import Channels
from bot.slack.markup import code, literal
from bot.slack.modal import Field
from bot.slack.render import Page
from bot.slack.views import Views
from handlers import confirming
from handlers.emergencies import Emergencies
from handlers.parsing import nearest
from handlers.presses import Presses
from runbooks.external import PORTS, SERVICES, TITLES, Service, default_key
from runbooks.externalfields import DATABASE, FIELDS, TLS, USER, read

Json = dict[str, Any]
EXTERNALIZE = "emergency-externalize"
"""The runbook, and the callback of its dialog."""
_ANSWERS = ("on", "off")
_LABELS: Mapping[str, str] = {
    "host": "Host",
    "port": "Port",
    "database": "Database",
    "user": "User",
    "tls": "TLS",
    "secret": "Name of the Secret with the password",
    "key": "Key inside the Secret",
}
_RUNS = 10


@dataclass(frozen=True)
class Sent:
    """What came of the dialog: problems by field, or the view to show now and the run that it has to be filled with yet."""

    problems: Mapping[str, str]
    view: Json | None = None
    run: str | None = None


class Externalizing:
    """Opens the dialog, and asks for the run with what comes back."""

    def __init__(
        self,
        *,
        config: Configuration,
        desk: Desk,
        presses: Presses,
        channels: Channels,
        emergencies: Emergencies,
        views: Views,
    ) -> None:
        self._config = config
        self._desk = desk
        self._presses = presses
        self._channels = channels
        self._emergencies = emergencies
        self._views = views

    async def ask(self, ask: Ask, *, trigger: str) -> bool:
        """Opens the dialog, filled with what was typed already. False when nothing is left to ask for.

        Raises ``UserMistake`` for what is wrong in what was typed, and names the nearest service.
        """
        service = _service(ask.inputs.get("service"), self._form())
        version = await self._version(ask.target)
        typed = {name: value for name, value in ask.inputs.items() if name != "service"}
        if typed.get("host"):
            _, problems = read(service, typed, version=version)
            if problems:
                said = " ".join(f"{field}: {why}" for field, why in problems.items())
                raise UserMistake(said, way_out="Leave the options out, and a dialog asks for each.")
            return False
        target = self._config.target(ask.target)
        assert target is not None  # noqa: S101 - the caller has found it
        view = dialog(service, target, _prefilled(service, typed, version), ids=_ids(service, ask))
        try:
            await self._views.open(trigger, view)
        except (Temporary, SlackRefused) as problem:
            whole = f"`{self._form(service)} --host HOST --secret NAME`"
            raise Temporary("Slack opens no dialog now.", way_out=f"Type it whole: {whole}.") from problem
        return True

    async def submitted(self, ids: Mapping[str, str], given: Mapping[str, str], *, user: str, trigger: str) -> Sent:
        """Asks for the run. Raises ``Refused`` when the person may not, or the dialog is none of ours."""
        service = _service(ids.get("mark"), self._form())
        target = self._config.target(ids.get("target", ""))
        if target is None:
            raise Refused("The target is no longer in the configuration.", way_out="Ask again.")
        await self._presses.require(user, Permission.EMERGENCY, target.name)
        typed = {name: given.get(name, "").strip() for name in FIELDS[service]}
        if "tls" in typed:
            typed["tls"] = _chosen(typed["tls"])
        _, problems = read(service, typed, version=await self._version(target.name))
        if problems:
            return Sent(problems)
        inputs = {"service": service, **{name: value for name, value in typed.items() if value}}
        mark = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:12]
        channel = ids["channel"]
        incident = await self._channels.incident(target, channel)
        ask = Ask(EXTERNALIZE, target.name, inputs, user, channel, f"{ids['key']}:{mark}", incident=incident)
        if ids.get("dry") == "true" or not incident:
            await self._desk.ask(replace(ask, dry_run=ids.get("dry") == "true"))
            return Sent({})
        view, run = await self._emergencies.asked(ask, trigger=trigger)
        return Sent({}, view, run)

    async def _version(self, target: str) -> str:
        """The chart's version as far as the journal knows it; only for what stands in the fields at first."""
        for run in await self._desk.runs(target, _RUNS):
            facts = run.plan.facts if run.plan else {}
            if found := facts.get("current_version"):
                return str(found)
        return ""

    def _form(self, service: str = "|".join(SERVICES)) -> str:
        return f"{self._config.slack.command} emergency externalize {service}"


def dialog(service: Service, target: Target, filled: Mapping[str, str], *, ids: str) -> Json:
    """The fields that the service has, with what is usual in them."""
    page = Page()
    page.section(f"*Use another {TITLES[service]} for {literal(target.name)}*")
    page.section("\n".join(confirming.place(target)))
    page.small(
        "First it is looked at from inside the cluster; nothing of the release changes by that. No password is typed here: "
        f"it is read from a Secret in {code(target.namespace)}."
    )
    fields = [_field(service, name, filled.get(name)) for name in FIELDS[service]]
    return modal.dialog(page, fields, callback=EXTERNALIZE, title=f"Other {TITLES[service]}", submit="Next", ids=ids)


def _field(service: Service, name: str, filled: str | None) -> Field:
    if name == "tls":
        return Field(name, "TLS", kind="choice", choices=_ANSWERS, initial=filled)
    hints = {
        "host": "As the pods of the cluster reach it, such as db.example.com. No URL, no user, no password.",
        "secret": "Only its name. It has to be in the release's namespace."
        + ("" if service == "postgres" else " Leave it empty where no password is asked for."),
        "key": "Empty: the one that this version of the chart looks for.",
    }
    optional = name == "key" or (name == "secret" and service != "postgres")
    return Field(name, _LABELS[name], hints.get(name, ""), initial=filled or None, longest=253, optional=optional)


def _prefilled(service: Service, typed: Mapping[str, str], version: str) -> dict[str, str]:
    usual = {
        "port": str(PORTS[service]),
        "database": DATABASE,
        "user": USER,
        "tls": _ANSWERS[0] if TLS[service] else _ANSWERS[1],
        "key": default_key(service, version) if version or service == "qdrant" else "",
    }
    clean, problems = {**usual, **typed}, read(service, {"host": "h", "secret": "s", **typed}, version=version)[1]
    return {name: value for name, value in clean.items() if name not in problems}


def _ids(service: Service, ask: Ask) -> str:
    known = {"mark": service, "target": ask.target, "channel": ask.channel, "key": ask.key}
    return json.dumps(known | ({"dry": "true"} if ask.dry_run else {}))


def _chosen(number: str) -> str:
    if not number.isdecimal() or int(number) >= len(_ANSWERS):
        raise Refused("This dialog belongs to an older version of the bot.", way_out="Open it again.")
    return _ANSWERS[int(number)]


def _service(named: str | None, form: str) -> Service:
    """The service that is meant. Raises ``UserMistake`` with the nearest, and all of them."""
    wanted = (named or "").strip().lower()
    for service in SERVICES:
        if service == wanted:
            return service
    there = f"There are {', '.join(f'`{one}`' for one in SERVICES)}: `{form}`."
    if not wanted:
        raise UserMistake("Which service is to be used from outside?", way_out=there)
    other = {"postgresql": "postgres", "pg": "postgres", "database": "postgres", "db": "postgres", "dragonfly": "redis"}
    other |= {"cache": "redis", "valkey": "redis", "vector": "qdrant", "vectors": "qdrant"}
    near = other.get(wanted) or nearest(wanted, SERVICES)
    meant = f"Did you mean `{near}`? " if near else ""
    raise UserMistake(f"There is no service {wanted[:40]!r} to use from outside.", way_out=meant + there)
