"""An emergency before it happens: what would go down, workload by workload, and what stops working then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from bot.components import needed_by
from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.errors import BotError
from bot.kube.cluster import Cluster
from bot.kube.holding import KINDS, Way
from runbooks.checks.findings import info, warning
from runbooks.components import Down, Member, Release, from_to, past_of, summed, told
from runbooks.reading import place_of
from runbooks.text import listed

Json = dict[str, Any]


class HoldPlan:
    """What `emergency disable` and `emergency scale-down` would take down: one component, or everything to its minimum.

    The input ``component`` names one; without it the input ``all`` says whether data stores go down too.
    """

    name: ClassVar[str] = "components.hold"

    async def check(self, context: PlanContext) -> CheckResult:
        """``holds`` is what will be done, workload by workload, and nothing else; ``stops`` is the same for people."""
        release = await Release.read(context)
        down = {one.member.subject: one for one in release.down(await past_of(context.past))}
        asked = context.run.inputs.get("component")
        everything = bool(context.run.inputs.get("all"))
        if asked is not None and (mistake := _unknown(release, str(asked))):
            return CheckResult((mistake,), {"holds": [], "stops": [], "permanent": {}})
        wanted = [str(asked)] if asked is not None else _minimised(release, everything=everything)
        goals = {name: 0 if asked is not None else _minimum(release, name) for name in wanted}
        rows = (_hold(release, one, goals[one.component]) for name in wanted for one in release.of(name))
        holds = [row for row in rows if row is not None]
        findings = [
            *_standing(release, wanted, goals, down),
            *_autoscaled(release, holds),
            *_led(release, holds),
            *_of_others(release, holds),
            *_dependents(release, wanted if asked is not None else []),
            *([] if asked is not None or everything else _left_alone(release)),
            *await _rights(context.clients.cluster, context.target.namespace, holds),
        ]
        if not holds:
            findings.append(_nothing(str(asked) if asked is not None else None))
        permanent = release.components[str(asked)].permanent if asked is not None else {}
        facts = {"holds": holds, "stops": _stops(release, holds, optional=asked is None), "permanent": permanent}
        return CheckResult(tuple(findings), facts, {"cluster": place_of(context.clients, context.target)})


def _unknown(release: Release, asked: str) -> Finding | None:
    if release.of(asked):
        return None
    there = f"There are {listed(release.present())}."
    if asked in release.components:
        return _coded("component.absent", f"The release has no {asked}: none of its workloads is there.", there)
    return _coded("component.unknown", f"There is no component {asked!r}.", there)


def _coded(code: str, text: str, way_out: str = "", subject: str = "") -> Finding:
    return Finding(Level.BLOCKER, text, way_out, code, subject)


def _minimised(release: Release, *, everything: bool) -> list[str]:
    return [name for name in release.present() if everything or not release.components[name].data]


def _minimum(release: Release, name: str) -> int:
    return release.components[name].minimum


def _hold(release: Release, member: Member, to: int) -> Json | None:
    """One row of ``holds``; None for what is there already. What is suspended or hibernated is so at a minimum of zero only."""
    seen = member.workload
    if seen.level <= to:
        return None
    hpa = release.seen.autoscalers.get(member.subject)
    row: Json = {
        "component": member.component,
        "subject": member.subject,
        "uid": seen.uid,
        "replicas": seen.level,
        "to": to,
        "version": seen.version,
    }
    if seen.note:
        row["note"] = seen.note
    if not (seen.annotated and seen.counted):
        row |= {"annotated": seen.annotated, "counted": seen.counted}
    if hpa is not None and hpa.pinned(to):
        row["hpa"] = asdict(hpa)
    return row


def _stops(release: Release, holds: Sequence[Json], *, optional: bool) -> list[Json]:
    found = []
    for name in dict.fromkeys(hold["component"] for hold in holds):
        rows = [hold for hold in holds if hold["component"] == name]
        parts = [from_to(release.seen.workloads[row["subject"]], row["replicas"], row["to"]) for row in rows]
        text = summed(parts, sum(row["replicas"] for row in rows), rows[0]["to"])
        found.append({"component": name, "text": text, "impact": _impact(release, name, rows), "optional": optional})
    return found


def _impact(release: Release, name: str, rows: Iterable[Json]) -> str:
    component = release.components[name]
    if all(row["to"] > 0 for row in rows):
        return f"Goes on with {component.minimum} instead of {max(row['replicas'] for row in rows)}."
    return component.stops or "Nobody has described what stops working without it."


def _standing(
    release: Release, wanted: Iterable[str], goals: Mapping[str, int], down: Mapping[str, Down]
) -> list[Finding]:
    """What is down already, and what is paused."""
    found = []
    for member in (one for name in wanted for one in release.of(name)):
        seen, held = member.workload, down.get(member.subject)
        if seen.level <= goals[member.component]:
            found += [info(f"{_already(member, held)}")] if seen.level == 0 or held else []
        elif seen.paused:
            found.append(info(f"The rollout of {member.subject} is paused; it is scaled all the same."))
    return found


def _already(member: Member, held: Down | None) -> str:
    if held is None:
        return f"{member.component} is down already: {member.subject} is at zero, and not by an emergency of this bot."
    return f"{member.component} is down already: {told(held)}"


def _autoscaled(release: Release, holds: Iterable[Json]) -> list[Finding]:
    found = []
    for row in holds:
        hpa = release.seen.autoscalers.get(row["subject"])
        if hpa is None:
            continue
        name, to = f"HorizontalPodAutoscaler/{hpa.name} ({hpa})", row["to"]
        pinned, keda = hpa.pinned(to), release.seen.keda.get(row["subject"])
        if keda is not None:
            found.append(_scaled_by_keda(row["subject"], keda, to))
        if pinned is None:
            found.append(info(f"{name} is inactive while {row['subject']} is at zero."))
            continue
        text = f"{name} would bring {row['subject']} back, so its bounds become {pinned} until it is restored."
        found.append(info(text))
    return found


def _scaled_by_keda(subject: str, name: str, to: int) -> Finding:
    """KEDA owns the autoscaler and sets it back; from zero it scales by itself, as soon as a trigger is active."""
    text = f"KEDA's ScaledObject/{name} scales {subject} and may bring it back, from zero too."
    key = "autoscaling.keda.sh/paused-replicas"
    way_out = (
        f'Pause it: `kubectl annotate scaledobject {name} {key}="{to}"`. '
        f"Before the restore take that away again: `kubectl annotate scaledobject {name} {key}-`."
    )
    return warning(text, way_out)


def _led(release: Release, holds: Iterable[Json]) -> list[Finding]:
    """Who else moves these workloads, and what cannot be known about that."""
    seen, taken = release.seen, {row["subject"] for row in holds}
    found = [
        info(f"Argo's {rollout} runs the pods of {subject}: it is scaled with it.")
        for subject, rollout in seen.rollouts.items()
        if rollout in taken
    ]
    found += [
        info(f"Flagger's {canary} is suspended, and {subject}-primary goes down with {subject}.")
        for subject, canary in seen.canaries.items()
        if canary in taken
    ]
    if seen.unseen:
        text = f"The bot may not list {listed(seen.unseen)}, so what these would do to the workloads is not known."
        found.append(warning(text, "Give its ServiceAccount the rights of the chart's Role."))
    return found


def _of_others(release: Release, holds: Iterable[Json]) -> list[Finding]:
    """A description may name what another release brought, and then that goes down too."""
    owned = [(row, release.seen.workloads[row["subject"]].release) for row in holds]
    return [
        warning(
            f"{row['subject']} belongs to the release {owner}; the description of {row['component']} names it.",
            "Correct `components` in the configuration if that is not meant.",
        )
        for row, owner in owned
        if owner not in ("", release.target.release)
    ]


def _dependents(release: Release, wanted: Sequence[str]) -> list[Finding]:
    there = set(release.present()) - set(wanted)
    pairs = ((name, [one for one in needed_by(release.components, name) if one in there]) for name in wanted)
    return [
        warning(f"{listed(others)} {'needs' if len(others) == 1 else 'need'} {name}, and will run without it.")
        for name, others in pairs
        if others
    ]


def _left_alone(release: Release) -> list[Finding]:
    stores = [name for name in release.present() if release.components[name].data]
    text = f"Left alone, for they hold data: {listed(stores)}. With `--all` they go down too; their volumes stay."
    return [info(text)] if stores else []


def _nothing(asked: str | None) -> Finding:
    if asked is None:
        return _coded(
            "components.minimal", "Everything is at its minimum already.", "`emergency restore` brings it back."
        )
    return _coded("component.down", f"{asked} is down already.", f"`emergency enable {asked}` brings it back.", asked)


async def _rights(cluster: Cluster, namespace: str, holds: Iterable[Json]) -> list[Finding]:
    """Whether the bot may do it, asked before anybody confirms. That it cannot be asked stops nobody."""
    kinds = sorted({str(row["subject"]).partition("/")[0] for row in holds})
    refs = [KINDS[kind] for kind in kinds]
    asked = [(ref, part) for ref in refs for part in (("", "scale") if ref.way is Way.SCALE else ("",))]
    try:
        resources = await asyncio.gather(*(cluster.discovery.resource(ref.api_version, ref.name) for ref, _ in asked))
        allowed = await asyncio.gather(
            *(
                cluster.can_i("patch", resource.plural, resource.group, namespace, subresource=part)
                for resource, (_, part) in zip(resources, asked, strict=True)
            )
        )
    except BotError as error:
        return [warning(f"Whether the bot may do this could not be asked: {error.message}", error.way_out)]
    found = []
    for resource, (_, part), yes in zip(resources, asked, allowed, strict=True):
        what = f"{resource.plural}/{part}" if part else resource.plural
        rule = f'{{apiGroups: ["{resource.group}"], resources: ["{what}"], verbs: ["patch"]}}'
        if not yes:
            text = f"The cluster does not allow the bot to patch {what} in namespace {namespace}."
            found.append(_coded("rbac", text, f"Grant {rule} by a Role there.", what))
    return found
