"""What `emergency externalize` would do: which service is tried with whose password, and by which values it would be used.

Nothing of the other server is known here: it is asked from inside the cluster, by steps, after a person has said yes.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, ClassVar

from bot.diff.values import computed
from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.errors import BotError, Evidence
from bot.helm.models import Status, StoredRelease
from bot.kube.objects import Json, name_of
from runbooks import external
from runbooks.checks.findings import info
from runbooks.components import Release, past_of, told
from runbooks.databases import cluster_in_use, is_brought
from runbooks.external import COMPONENTS, TITLES, Endpoint, Service
from runbooks.externalcompare import plain
from runbooks.externalfields import FIELDS, read
from runbooks.reading import Reader, chart_version, place_of
from runbooks.text import listed


class ExternalService:
    """The endpoint that was typed, what the release uses now, and the values that switch over."""

    name: ClassVar[str] = "external.service"

    async def check(self, context: PlanContext) -> CheckResult:
        """``external`` is what will be tried. Binds to cluster, endpoint, Secret and the chart's version."""
        service: Service = context.run.inputs["service"]
        release = await _deployed(context)
        version = chart_version(release)
        given = {name: _text(context.run.inputs.get(name)) for name in FIELDS["postgres"]}
        to, problems = read(service, given, version=version)
        if to is None:
            return CheckResult(
                tuple(_blocker("external.field", f"{field}: {why}", subject=field) for field, why in problems.items())
            )
        values = computed(release.chart_values, release.config)
        now = external.in_use(values, version, service, release=context.target.release)
        blockers = [*_senseless(values, version, to, now), *_inexpressible(version, to)]
        blockers += [] if blockers else await _of_secret(context, version, to)
        keeps = await _kept(context, release, service) if external.is_bundled(values, version, service) else ""
        findings = (
            *blockers,
            *_sends(context, version, to),
            *_next(version, release, service, keeps),
            *_opal(values, now, service),
            *await _held(context, service),
        )
        facts = {
            "external": to.as_facts(),
            "external_now": now.as_facts() if now else {},
            "external_bundled": external.is_bundled(values, version, service),
            "external_keeps": keeps,
            "permanent": external.switch_over(version, to),
            "current_version": version,
            "external_revision": release.revision,
        }
        return CheckResult(findings, facts, _bindings(context, version, to), files=(_values(version, to),))


async def _deployed(context: PlanContext) -> StoredRelease:
    """The revision that runs; the newest where none is called deployed."""
    newest = await Reader(context).release()
    found = [one for one in await Reader(context).releases() if one.status is Status.DEPLOYED]
    return found[-1] if found else newest


def _bindings(context: PlanContext, version: str, to: Endpoint) -> dict[str, str]:
    login = f" {to.database} as {to.user}" if to.service == "postgres" else ""
    return {
        "cluster": place_of(context.clients, context.target),
        "external service": f"{to.service} {to.host}:{to.port}{login}, TLS {'on' if to.tls else 'off'}",
        "external secret": f"{to.secret} {to.key}" if to.secret else "none",
        "chart version": version,
    }


# -- what stands against it -----------------------------------------------------------------------------------


def _senseless(values: Json, version: str, to: Endpoint, now: Endpoint | None) -> list[Finding]:
    if not version:
        return [
            _blocker("external.version", "The release does not tell its chart's version, so its keys are not known.")
        ]
    if not external.uses(values, version, to.service):
        text = "The release keeps its vectors somewhere else and uses no Qdrant."
        return [
            _blocker("external.unused", text, "Look at `vectorBackend.type`, or from 0.6 on at `vectorStore.type`.")
        ]
    if now is not None and to.same_place(now) and to.secret == now.secret:
        return [_blocker("external.same", f"The release uses {to} already.", "Name another host.")]
    return []


def _inexpressible(version: str, to: Endpoint) -> list[Finding]:
    """What the values of this version cannot say."""
    found = []
    if to.tls and not external.takes_tls(to.service, version):
        text = f"Chart {version} has no value for TLS to {TITLES[to.service]}: the server would speak plainly to it."
        way_out = "Name an address that takes plain connections, with TLS off."
        found.append(_blocker("external.tls", text, way_out, "tls"))
    fixed = external.fixed_key(to.service, version)
    if to.secret and fixed and to.key != fixed:
        text = f"Chart {version} reads the key `{fixed}` of the Secret, and no value names another one."
        found.append(_blocker("external.key", text, f"Put it under `{fixed}`, and leave the field empty.", "key"))
    if not to.secret and external.needs_secret(to.service, version):
        text = f"Chart {version} always gives the server a password for {TITLES[to.service]}, and would make one up."
        found.append(_blocker("external.secret", text, "Name a Secret in the release's namespace.", "secret"))
    return found


async def _of_secret(context: PlanContext, version: str, to: Endpoint) -> list[Finding]:
    """Whether the Secret has what is wanted. Of what stands in it only the user's name is looked at."""
    if not to.secret:
        return []
    namespace = context.target.namespace
    secret = await context.clients.cluster.get("v1", "Secret", to.secret, namespace)
    if secret is None:
        make = f"`kubectl create secret generic {to.secret} -n {namespace} --from-file={to.key}=FILE`"
        text = f"There is no Secret `{to.secret}` in namespace {namespace}."
        return [_blocker("external.secret", text, f"Make it ({make}), or correct the name.", "secret")]
    data = secret.get("data") or {}
    if to.key not in data:
        has = f"It has {listed([f'`{one}`' for one in sorted(data)])}." if data else "It is empty."
        text = f"Secret `{to.secret}` has no key `{to.key}`."
        return [_blocker("external.key", text, f"{has} Name the right one.", "key")]
    if not external.user_in_secret(to.service, version):
        return []
    user = _decoded(data.get("username"))
    if user == to.user:
        return []
    said = f"`{user}`" if user else "none"
    text = (
        f"Up to 0.5 the server's user is the key `username` of the Secret: `{to.secret}` has {said}, not `{to.user}`."
    )
    return [_blocker("external.user", text, f"Put `{to.user}` under `username` in it, or correct the user.", "user")]


# -- what is good to know -------------------------------------------------------------------------------------


def _sends(context: PlanContext, version: str, to: Endpoint) -> list[Finding]:
    where = f"to {to.host}, port {to.port}"
    found = []
    if to.secret:
        text = f"The password under `{to.key}` of Secret `{to.secret}` is sent {where}, by a Job in {context.target.namespace}."
        found.append(_warning("external.sends", text, "Say yes only if this host is yours."))
    else:
        found.append(info(f"A Job in {context.target.namespace} connects {where}, without a password."))
    if not to.tls:
        own = "keep to a network of your own."
        way_out = (
            f"Turn TLS on, or {own}"
            if external.takes_tls(to.service, version)
            else f"The chart has no value for it: {own}"
        )
        found.append(_warning("external.plain", plain(to), way_out))
    return found


def _next(version: str, release: StoredRelease, service: Service, keeps: str) -> list[Finding]:
    """What is offered afterwards, and what becomes of what is bundled."""
    title = TITLES[service]
    found = [
        info(
            f"Nothing of the release changes. When the test is through, the card offers Switch over: an upgrade to {version}, "
            f"planned and approved first. From there `rollback {release.revision}` goes back; what was written meanwhile stays "
            "on the new server."
        )
    ]
    if keeps:
        text = (
            f"The value that turns the server to another PostgreSQL takes Cluster/{keeps} out of the chart's manifest: the two "
            "cannot be done apart. So after the test it is annotated `helm.sh/resource-policy: keep`, and runs on with its data."
        )
        found.append(info(text))
    elif external.bundles(version) and external.switch_off(version, service):
        found.append(info(f"The bundled {title} runs on until a second approved upgrade switches it off."))
    elif not external.bundles(version):
        found.append(info(f"Chart {version} brings no {title}: there is nothing to switch off afterwards."))
    return found


def _opal(values: Json, now: Endpoint | None, service: Service) -> list[Finding]:
    """OPAL talks through a Redis that another value names."""
    uri = ((((values.get("opal") or {}).get("server") or {}).get("redis")) or {}).get("pubsubUri") or ""
    if service != "redis" or now is None or now.host not in str(uri):
        return []
    text = "`opal.server.redis.pubsubUri` names the present Redis as well, and is not changed with it."
    return [_warning("external.opal", text, "Set it in the target's values before the present one is switched off.")]


async def _held(context: PlanContext, service: Service) -> list[Finding]:
    try:
        release, past = await Release.read(context), await past_of(context.past)
    except BotError as error:
        return [
            _warning("external.held", f"What an emergency holds down could not be read: {error.message}", error.way_out)
        ]
    component = COMPONENTS[service]
    return [
        info(f"{component} is held down: {told(one)} It cannot be compared with while it is.")
        for one in release.down(past)
        if one.member.component == component and not one.back
    ]


async def _kept(context: PlanContext, release: StoredRelease, service: Service) -> str:
    """The Cluster that the switch-over would take out of the manifest."""
    if service != "postgres":
        return ""
    found = await cluster_in_use(context.clients.cluster, context.target, release)
    return name_of(found) if found is not None and is_brought(found, context.target) else ""


def _values(version: str, to: Endpoint) -> Evidence:
    lines = [f"{path}: {_shown(value)}" for path, value in external.switch_over(version, to).items()]
    return Evidence(f"Values for chart {version}", "\n".join(lines))


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def _decoded(text: Any) -> str:
    try:
        return base64.b64decode(str(text or ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _blocker(code: str, text: str, way_out: str = "", subject: str = "") -> Finding:
    return Finding(Level.BLOCKER, text, way_out or "Correct it and ask again.", code, subject)


def _warning(code: str, text: str, way_out: str = "") -> Finding:
    return Finding(Level.WARNING, text, way_out, code)
