"""Custom resource definitions: what of them changes, what Helm leaves to a person, and whose objects are concerned.

That Helm deletes objects with a definition is judged by ``data.loss``; here it is only told.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bot.diff.crds import About, CrdChange, Place, Sides, VersionState, compare_crd, differ
from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.errors import BotError, Evidence
from bot.helm.charts import ChartSource
from bot.redaction import redact
from bot.settings import Target
from runbooks.checks.definitions import Users, definitions_of, users_of
from runbooks.checks.findings import info
from runbooks.checks.objects import told, without_objects
from runbooks.reading import Reader
from runbooks.text import counted, listed

WHAT = "Custom resource definitions"
MOST = 6
"""Findings of one definition on the card."""
ROOM = 280
"""Characters for the definitions in one sentence; a card takes 400 of it."""
_LEVELS = {
    About.STORED: Level.BLOCKER,
    About.FIXED: Level.BLOCKER,
    About.LEAVES: Level.WARNING,
    About.UNSERVED: Level.WARNING,
    About.FIELD: Level.WARNING,
    About.STAYS: Level.INFO,
}
_WAYS_OUT = {
    About.FIXED: "Keep the old definition, or plan to move every object to a kind of another name.",
    About.LEAVES: "Annotate it in the cluster first: `kubectl annotate crd {name} helm.sh/resource-policy=keep`.",
    About.UNSERVED: "Whoever still asks for that version must be changed first.",
    About.FIELD: "Take it out of these objects, or set its successor, before the definition changes.",
}


@dataclass(frozen=True)
class _Looked:
    """One definition that differs, and who uses it."""

    change: CrdChange
    users: Users


class CustomResourceDefinitions:
    """Compares the two charts' definitions with the cluster's. A chart without any has nothing to be told."""

    name: ClassVar[str] = "crds"

    async def check(self, context: PlanContext) -> CheckResult:
        """``definitions_behind`` names those that a person has to apply before the upgrade."""
        try:
            found = await definitions_of(context)
            looked = await asyncio.gather(*(_look(context, side) for side in found.sides if differ(side)))
        except BotError as error:
            return without_objects(WHAT, error)
        if not found.sides:
            return CheckResult()
        changes = [one.change for one in looked]
        behind = [said.text for change in changes for said in change.said if said.about is About.BEHIND]
        refused = any(said.about is About.STORED for change in changes for said in change.said)
        unseen = dict.fromkeys((*found.unseen, *(finding for one in looked for finding in one.users.unseen)))
        text = "\n\n".join(_written_out(one) for one in looked)
        return CheckResult(
            findings=(
                *(finding for change in changes for finding in _findings(change)),
                *(_apply(behind, await self._command(context), refused=refused) if behind else ()),
                *told(unseen),
                info(_summary(found.sides, looked)),
            ),
            facts={"definitions_behind": sorted({one.name for one in changes if _is_behind(one)})},
            files=(Evidence("crds.diff", redact(text) + "\n"),) if text else (),
        )

    @staticmethod
    async def _command(context: PlanContext) -> str:
        chart = await Reader(context).chart()
        return apply_command(context.clients.repository.source, chart.version, context.target)


async def _look(context: PlanContext, side: Sides) -> _Looked:
    """Comparing large schemas takes a moment, so in a thread."""
    crd = side.live or side.old
    cluster, namespace = context.clients.cluster, context.target.namespace
    users = await users_of(cluster, crd, namespace) if crd else Users()
    return _Looked(await asyncio.to_thread(compare_crd, side, in_use=users.objects), users)


def apply_command(source: ChartSource, version: str, target: Target) -> str:
    """What a person types to bring the chart's ``crds/`` into the cluster. Forced, since the fields belong to Helm so far;
    server-side, since large definitions do not fit into the annotation of the other way.
    """
    if source.repo:
        chart = ["helm", "show", "crds", source.name, "--repo", redact(source.repo), "--version", version]
    elif source.oci:
        chart = ["helm", "show", "crds", source.oci, "--version", version]
    else:
        chart = ["helm", "show", "crds", str(source.path)]
    context = ["--context", target.cluster.context] if target.cluster.context else []
    apply = ["kubectl", "apply", *context, "--server-side", "--force-conflicts", "-f", "-"]
    return f"{shlex.join(chart)} | {shlex.join(apply)}"


def _findings(change: CrdChange) -> Iterable[Finding]:
    mine = [said for said in change.said if said.about in _LEVELS]
    for said in mine[:MOST]:
        way_out = _WAYS_OUT.get(said.about, "").format(name=change.name)
        way_out = _store_anew(change) if said.about is About.STORED else way_out
        yield Finding(_LEVELS[said.about], redact(said.text), way_out, str(said.about), change.name)
    if rest := len(mine[MOST:]):
        yield Finding(Level.WARNING, f"{change.name}: {counted(rest, 'more finding')}, in crds.diff in the thread.")


def _store_anew(change: CrdChange) -> str:
    """How objects get out of a version that goes: by one that both definitions serve, or by hand."""
    both = [one.name for one in change.versions if one.served_live and one.served_new]
    if not both:
        return (
            f"No version is served by both, so nothing converts them: export them (`kubectl get {change.name} -A -o yaml`), "
            "delete them and write them anew after the upgrade, or go by a version of the chart that has both."
        )
    patch = f'{{"status":{{"storedVersions":["{both[-1]}"]}}}}'
    return (
        f"Make {both[-1]} the stored version, store them anew (`kubectl get {change.name} -A -o yaml | kubectl replace -f -`), "
        f"then `kubectl patch crd {change.name} --subresource=status --type=merge -p '{patch}'`."
    )


def _apply(behind: Sequence[str], command: str, *, refused: bool) -> Iterable[Finding]:
    """All of them in one finding, for one command applies all of them. ``refused``: not as long as a version is stored."""
    shown = list(behind[:1])
    for one in behind[1:]:
        if sum(map(len, shown)) + len(one) > ROOM:
            break
        shown.append(one)
    more = f"; {len(behind) - len(shown)} more, in crds.diff in the thread" if len(behind) > len(shown) else ""
    text = f"Helm does not upgrade a chart's crds/ folder: {'; '.join(shown)}{more}."
    first = ", once the objects are stored in another version" if refused else ""
    yield Finding(Level.WARNING, redact(text), f"Before the upgrade{first}: `{command}`", str(About.BEHIND))


def _is_behind(change: CrdChange) -> bool:
    return any(said.about is About.BEHIND for said in change.said)


def _summary(all_sides: Sequence[Sides], looked: Sequence[_Looked]) -> str:
    parts = []
    if looked:
        parts.append(
            f"{len(looked)} of {counted(len(all_sides), 'definition')} {'differs' if len(looked) == 1 else 'differ'}"
        )
    else:
        parts.append(f"{counted(len(all_sides), 'definition')}, none of which changes")
    used = [f"{_count(one)} of {one.change.kind}" for one in looked if one.users.objects]
    return f"{WHAT}: {parts[0]}" + (f"; {listed(used)}" if used else "") + "."


def _count(one: _Looked) -> str:
    if one.users.unseen:
        return "its objects could not be listed"
    number = counted(len(one.users.objects), "object")
    return number if one.users.everywhere else f"{number} in this namespace (others could not be listed)"


def _written_out(one: _Looked) -> str:
    """Everything about one definition: who serves which version, then every field."""
    change = one.change
    place = "crds/, which Helm does not upgrade" if change.place is Place.FOLDER else "the templates"
    lines = [f"{change.name} ({change.kind}), in {place}; {_count(one)}"]
    for version in change.versions:
        states = [f"{side} {_state(state)}" for side, state in _states(version)]
        stored = "; objects may be stored in it" if version.stored else ""
        lines.append(f"  {version.name}: {', '.join(states)}{stored}")
    lines += [f"  ! {said.text}" for said in change.said]
    for found in change.fields:
        sign = "-" if found.change.breaking else "+"
        lines.append(f"  {sign} {found.version}: {found.change.sentence}")
        lines += [f"      set by {user.namespace + '/' if user.namespace else ''}{user.name}" for user in found.users]
    if change.others:
        lines.append(f"    and {counted(change.others, 'difference')} that take nothing away")
    return "\n".join(lines)


def _states(version: VersionState) -> list[tuple[str, bool | None]]:
    return [
        ("old chart", version.served_old),
        ("cluster", version.served_live),
        ("new chart", version.served_new),
    ]


def _state(served: bool | None) -> str:
    return "does not know it" if served is None else "serves it" if served else "knows it"
