"""A service outside, looked at from inside the cluster and compared with the present one, before anything uses it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import BaseModel, TypeAdapter

from bot.engine.contract import Done, Facts, NotStarted, Outcome, Reconciled, Repeat, StepContext
from bot.errors import BotError, Evidence, Permanent, Temporary
from bot.kube.loss import KEEP
from bot.kube.objects import Json, ObjectRef, annotations_of
from bot.kube.probejob import ProbeSpec, SecretKey
from bot.probe.result import ProbeResult, Reason, Tls
from bot.services.cnpg import API
from runbooks import externalcompare
from runbooks.external import TITLES, Endpoint
from runbooks.steps.backup import RUN_LABEL
from runbooks.steps.common import Params, ReadingStep
from runbooks.text import listed

UNCHANGED = "Nothing of the release was changed."
_RESULT: TypeAdapter[ProbeResult] = TypeAdapter(ProbeResult)


class _Probing:
    """A look by a Job under the run's name: a crash finds that Job again, and another look changes nothing."""

    repeat: ClassVar[Repeat] = Repeat.SAFE
    timeout: ClassVar[timedelta] = timedelta(minutes=5)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = True
    params: ClassVar[type[BaseModel]] = Params

    async def reconcile(self, context: StepContext, params: Params, intent: Facts) -> Reconciled:
        """It may always be looked again; a Job that is under way is waited for by ``run``."""
        return NotStarted()


class ExternalTest(_Probing):
    """Looks at the plan's ``external``, with its Secret. Fails with the reason; the release is not touched either way."""

    name: ClassVar[str] = "external.test"
    title: ClassVar[str] = "Try it from inside the cluster"

    async def intend(self, context: StepContext, params: Params) -> Facts:
        """Where, and under which names."""
        return dict(context.plan["external"])

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """Raises ``Permanent`` with what the service, the Secret or the cluster has against it."""
        to = Endpoint.of(intent)
        context.progress(f"Connecting to {to}")
        try:
            seen = await context.clients.probes.run(
                _spec(to, tls=_tls(to)), name=f"probe-{context.run.id}-test", labels={RUN_LABEL: context.run.id}
            )
        except Temporary:
            raise
        except BotError as error:
            error.way_out = f"{error.way_out} {UNCHANGED}".strip()
            raise
        if seen.reason is not None:
            raise _failed(to, seen)
        return Outcome(externalcompare.described(seen), facts={"seen": _stored(seen)})


class ExternalPresent(_Probing):
    """Looks at what the release uses now in the same way. That it does not answer may be why somebody wants another one."""

    name: ClassVar[str] = "external.present"
    title: ClassVar[str] = "Look at the present one"

    async def intend(self, context: StepContext, params: Params) -> Facts:
        """Where, and under which names; nothing where the values name none."""
        return dict(context.plan["external_now"])

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """Never fails but for a cluster that is away: ``seen`` is missing then, and ``why`` tells the reason."""
        if not intent:
            return _unseen("The release's values name none.")
        now = Endpoint.of(intent)
        context.progress(f"Connecting to {now}")
        near = now.host if "." in now.host else f"{now.host}.{context.target.namespace}.svc"
        spec = _spec(Endpoint.of({**intent, "host": near}), tls="require" if now.tls else "prefer")
        try:
            name = f"probe-{context.run.id}-present"
            seen = await context.clients.probes.run(spec, name=name, labels={RUN_LABEL: context.run.id})
        except Temporary:
            raise
        except BotError as error:
            return _unseen(error.message)
        if seen.reason is not None:
            return _unseen(f"{now}: {_sentence(seen.said)}")
        return Outcome(externalcompare.described(seen), facts={"seen": _stored(seen)})


class CompareParams(Params):
    """The ids of the steps that looked."""

    outside: str = "test"
    present: str = "present"


class ExternalCompare(ReadingStep):
    """Says what differs, how the release is switched over, and how one goes back."""

    name: ClassVar[str] = "external.compare"
    title: ClassVar[str] = "Compare"
    timeout: ClassVar[timedelta] = timedelta(minutes=1)
    params: ClassVar[type[BaseModel]] = CompareParams

    async def run(self, context: StepContext, params: CompareParams, intent: Facts) -> Outcome:
        """A warning when there is something to look at; ``warnings`` are repeated by the plan of the switch-over."""
        to = Endpoint.of(context.plan["external"])
        new = _RESULT.validate_python(context.outcomes[params.outside]["seen"])
        present = context.outcomes.get(params.present) or {}
        old = _RESULT.validate_python(present["seen"]) if present.get("seen") else None
        why = str(present.get("why") or "")
        found = externalcompare.warnings(to, new, old, why=why)
        said = externalcompare.described(new)
        summary = f"{to} answers: {said}."
        if found:
            summary = f"{_capital(listed([one.short for one in found], most=4))}."
        told = (
            (Evidence("Look at this before you switch over", "\n\n".join(one.text for one in found)),) if found else ()
        )
        facts = {
            "endpoint": to.as_facts(),
            "said": said,
            "warnings": [one.text for one in found],
            "away": bool(context.plan["external_now"]) and old is None,
        }
        evidence = (*told, Evidence("Both sides", externalcompare.table(new, old)), _switch(context, to))
        return Outcome(summary, facts, evidence, warning=bool(found))


class ExternalKeep:
    """Annotates the bundled Cluster, so that the switch-over, which takes it out of the manifest, does not delete it."""

    name: ClassVar[str] = "external.keep"
    title: ClassVar[str] = "Keep the bundled database"
    repeat: ClassVar[Repeat] = Repeat.SAFE
    timeout: ClassVar[timedelta] = timedelta(minutes=2)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = True
    params: ClassVar[type[BaseModel]] = Params

    async def intend(self, context: StepContext, params: Params) -> Facts:
        """Which Cluster."""
        return {"cluster": str(context.plan["external_keeps"])}

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """Raises ``Permanent`` when it is not there any more."""
        name = str(intent["cluster"])
        found = await _cluster(context, name)
        if found is None:
            raise Permanent(f"Cluster {name} is not there any more.", way_out=f"Ask again. {UNCHANGED}")
        if not _is_kept(found):
            ref = ObjectRef(API, "Cluster", name, context.target.namespace)
            await context.clients.cluster.patch(ref, {"metadata": {"annotations": {KEEP: "keep"}}})
        return _kept(context, name)

    async def reconcile(self, context: StepContext, params: Params, intent: Facts) -> Reconciled:
        """By the annotation."""
        found = await _cluster(context, str(intent["cluster"]))
        return Done(_kept(context, str(intent["cluster"]))) if found is not None and _is_kept(found) else NotStarted()


# -- the look ---------------------------------------------------------------------------------------------------


def _spec(to: Endpoint, *, tls: Tls) -> ProbeSpec:
    secret = SecretKey(to.secret, to.key) if to.secret else None
    return ProbeSpec(
        kind=to.service, host=to.host, port=to.port, database=to.database, user=to.user, tls=tls, secret=secret
    )


def _tls(to: Endpoint) -> Tls:
    """What the switch-over sets as well."""
    return "require" if to.tls else "disable"


def _failed(to: Endpoint, seen: ProbeResult) -> Permanent:
    """What it is about, why, and what can be done."""
    said = _sentence(seen.said)
    whose = f"key {to.key} of Secret {to.secret}" if to.secret else "no password at all"
    login = f"{to.user} with {whose}" if to.user else whose
    text, way_out = {
        Reason.NO_ANSWER: (
            f"{to} does not answer the cluster: {said}",
            "Look at name and port, and whether firewall and NetworkPolicy let the namespace out.",
        ),
        Reason.WRONG_PASSWORD: (
            f"{to} refuses {login}: {said}",
            "Put the right password into the Secret, or name the right user, Secret or key.",
        ),
        Reason.NO_DATABASE: (
            f"{to} has no database {to.database}: {said}",
            "Create it and copy the data, or name the right one.",
        ),
        Reason.TLS: (
            f"{to} and the cluster do not agree on TLS, which is {'on' if to.tls else 'off'}: {said}",
            "Turn TLS the other way, or put its certificate right.",
        ),
        Reason.FORBIDDEN: (
            f"{to} does not let {login} in: {said}",
            "Give the user its rights there, or let the cluster's addresses in.",
        ),
        Reason.OTHER: (f"{to} could not be looked at: {said}", "Look at its own log."),
        None: (said, ""),
    }[seen.reason]
    return Permanent(text, way_out=f"{way_out} Then ask again. {UNCHANGED}")


def _unseen(why: str) -> Outcome:
    return Outcome(f"Not looked at: {why}", facts={"why": why}, warning=True)


def _stored(seen: ProbeResult) -> Json:
    stored: Json = _RESULT.dump_python(seen, mode="json")
    return stored


# -- what is said ------------------------------------------------------------------------------------------------


def _switch(context: StepContext, to: Endpoint) -> Evidence:
    """By the button of the card; by hand where the bot is not to do it."""
    plan, target = context.plan, context.target
    values: Mapping[str, Any] = plan["permanent"]
    version = plan["current_version"]
    settings = [f"--set-json '{path}={json.dumps(value)}'" for path, value in values.items()]
    lines = [
        f"Switch over, on this run's card, asks for an upgrade to {version} with these values, planned and approved as always:",
        "",
        *(f"{path}: {json.dumps(value)}" for path, value in values.items()),
        "",
        "A file of the target's `values` that names one of these keys has to say the same: files win over what the release",
        "has, so the next upgrade would switch back.",
        "",
        "By hand it is:",
        "",
        f"helm upgrade {target.release} CHART --version {version} -n {target.namespace} --reset-then-reuse-values \\",
        "  " + " \\\n  ".join(settings),
        "",
        f"The way back is `/aeterna rollback {plan['external_revision']}`; what was written meanwhile stays on {to.host}.",
        _afterwards(plan, to),
    ]
    return Evidence("Switching the release over", "\n".join(lines))


def _afterwards(plan: Facts, to: Endpoint) -> str:
    title = TITLES[to.service]
    if plan["external_keeps"]:
        return (
            f"Cluster {plan['external_keeps']} runs on beside it, out of the release, until a person decommissions it."
        )
    if plan["external_bundled"]:
        return (
            f"The bundled {title} runs on until the card of that upgrade is told to switch it off, once it is verified."
        )
    return f"The chart brings no {title}, so nothing is left to switch off."


def _kept(context: StepContext, name: str) -> Outcome:
    namespace = context.target.namespace
    text = (
        f"Cluster/{name} leaves the release with the switch-over and stays in the cluster: it runs on, with its data, and is not "
        "written to any more. The chart's ScheduledBackup for it, where there is one, goes. By hand, when nobody needs it:\n\n"
        f"kubectl annotate cluster {name} -n {namespace} cnpg.io/hibernation=on    # stops it, keeps its volumes\n"
        f"kubectl delete cluster {name} -n {namespace}                             # for good, its volumes too\n\n"
        "Whatever runs CloudNativePG's operator (`cnpg.enabled` up to 0.2) stays on until then."
    )
    summary = f"Cluster {name} keeps its data: annotated {KEEP}=keep, it stays when the release is switched over."
    return Outcome(summary, facts={"cluster": name}, evidence=(Evidence("The bundled database", text),))


async def _cluster(context: StepContext, name: str) -> Json | None:
    return await context.clients.cluster.get(API, "Cluster", name, context.target.namespace)


def _is_kept(cluster: Json) -> bool:
    return annotations_of(cluster).get(KEEP) == "keep"


def _sentence(text: str) -> str:
    text = text.strip() or "it does not say why"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
