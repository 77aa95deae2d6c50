"""An upgrade that switches over to an external service, or that switches a bundled one off: what approvers have to know.

It looks at what a person supplied for this run; of any other upgrade it says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from bot.diff.values import computed
from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.helm.models import StoredRelease
from bot.settings import Target
from runbooks import external
from runbooks.external import SERVICES, TITLES, Endpoint, Service
from runbooks.reading import Reader
from runbooks.text import when

LOOKED = ("external.compare", "database.check")
"""The step kinds whose past says what was tested: a service outside, a database that was restored beside the old one."""
Tested = tuple[str, str, Mapping[str, Any]]
"""The run, when, and the step's facts."""


class ExternalParts:
    """What was tested, how one goes back, and what is still to be switched off."""

    name: ClassVar[str] = "external.parts"

    async def check(self, context: PlanContext) -> CheckResult:
        """``switch_off`` are the values of the second upgrade. Blocks what would leave the server without a service.

        ``away`` is what did not answer when it was tested: of that no backup can be made.
        """
        supplied, version = context.run.supplied, str(context.run.inputs.get("version") or "")
        over = [one for one in SERVICES if external.host_at(one, version) in supplied]
        off = [one for one in SERVICES if external.switch_off(version, one).keys() & supplied.keys()]
        if not over and not off:
            return CheckResult(facts={"away": []})
        reader = Reader(context)
        release, final, chart = await reader.release(), await reader.values(), await reader.given()
        values = computed(chart.defaults, final.values)
        findings: list[Finding] = []
        left: dict[str, Any] = {}
        names: list[str] = []
        away: list[str] = []
        for service in over:
            to = external.in_use(values, version, service, release=context.target.release)
            tested = await _tested(context, to) if to else None
            findings += _switched(context.target, release, service, to, tested)
            away += [service] if tested and tested[2].get("away") else []
            if values_off := external.switch_off(version, service) if external.stands(values, version, service) else {}:
                left |= values_off
                names.append(TITLES[service])
        for service in off:
            findings += _left_alone(release, values, version, service, context.target.release)
        facts: dict[str, Any] = {"away": away} | ({"switch_off": {"services": names, "values": left}} if left else {})
        return CheckResult(tuple(findings), facts)


def _switched(
    target: Target, release: StoredRelease, service: Service, to: Endpoint | None, tested: Tested | None
) -> list[Finding]:
    title = TITLES[service]
    if to is None:
        return []
    said = f", as run {tested[0]} tested it {tested[1]} ({tested[2].get('said') or title})" if tested else ""
    back = f"`rollback {release.revision}` goes back; what is written meanwhile stays on {to.host}."
    found = [_warning("external.switch", f"The server will use {to}{said}. {back}", _backed_up(target, to))]
    if tested is None:
        text = f"Nobody has tested {to} from inside the cluster."
        way_out = f"`emergency externalize {service}` does, and offers this upgrade then."
        return [*found, _warning("external.untested", text, way_out)]
    facts = tested[2]
    found += [_warning("external.tested", str(text)) for text in facts.get("warnings") or ()]
    if facts.get("away"):
        text = f"The present {title} did not answer then: no backup of it can be made before the switch, and none is tried."
        found.append(_warning("external.away", text))
    return found


def _backed_up(target: Target, to: Endpoint) -> str:
    """Our backups before an upgrade are of what is in the cluster; they would fail, or be of what nobody uses any more."""
    kinds = {"postgres": ("database", target.database.kind), "qdrant": ("vector_store", target.vector_store.kind)}
    section, kind = kinds.get(to.service, ("", "none"))
    if kind == "none":
        return ""
    instead = f"say `{section}: {{kind: none}}` in the target's configuration"
    return f"Once it is done, {instead}, and back {to.host} up where it is run."


async def _tested(context: PlanContext, to: Endpoint) -> Tested | None:
    """The newest test of this very place."""
    for one in await context.past(*LOOKED):
        outcome = one.step.outcome or {}
        facts = outcome.get("facts") or {}
        there = facts.get("endpoint")
        if one.step.ended_at and isinstance(there, Mapping) and Endpoint.of(there).same_place(to):
            return one.run, when(one.step.ended_at), facts
    return None


def _left_alone(
    release: StoredRelease, values: Mapping[str, Any], version: str, service: Service, name: str
) -> list[Finding]:
    """A part goes only when nothing points to it any more."""
    title = TITLES[service]
    if external.uses(values, version, service) and external.is_bundled(values, version, service):
        text = f"With these values the server still uses the bundled {title}, which would be gone."
        way_out = f"Switch over first (`emergency externalize {service}`); the two are separate upgrades."
        return [Finding(Level.BLOCKER, text, way_out, "external.pointing", service)]
    now = external.in_use(values, version, service, release=name)
    where = f", for the server uses {now}" if now else ""
    text = f"The bundled {title} is switched off{where}. `rollback {release.revision}` brings it back"
    data = "with the data that its claims keep." if service == "qdrant" else "empty: it keeps nothing on a volume."
    return [_warning("external.off", f"{text}, {data}")]


def _warning(code: str, text: str, way_out: str = "") -> Finding:
    return Finding(Level.WARNING, text, way_out, code)
