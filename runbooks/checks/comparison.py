"""The objects three ways (as applied, as they are, as they would be), told as findings and as a file for the thread.

Noise is folded into a sentence each. Every value goes through the plan's masking; live objects that may not be read are named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from bot.diff.drawn import Drawn, credentials
from bot.diff.masking import Fingerprint
from bot.diff.noise import Noise
from bot.diff.objects import UNREAD, Kind, Live, ObjectChange, Pair, autoscaled, compare_object, counts, pairs
from bot.diff.unified import drift_lines, field_lines, noise_lines, object_text
from bot.engine.contract import Finding, Level
from bot.errors import BotError
from bot.kube.cluster import Cluster
from bot.kube.findings import KubeFinding, unseen
from bot.kube.holding import ANNOTATION, HPA, Held
from bot.kube.loss_reading import read_live
from bot.kube.objects import annotations_of, ref_of
from bot.redaction import redact
from runbooks.checks.findings import info
from runbooks.checks.live import LiveObjects
from runbooks.checks.objects import Objects, told
from runbooks.text import counted, listed

MOST_FIELDS = 3
"""Of one object on the card; the file has them all."""
REPLACED, DRIFTED, REMOVED = "objects.replaced", "objects.drifted", "objects.removed"
RENEWED = "secrets.renewed"
MOST_RESTARTS = 6
SCALERS = ("HorizontalPodAutoscaler", "ScaledObject")
_NUMBERS = {"spec.replicas", "spec.minReplicas", "spec.maxReplicas"}
_AT_ONCE = 100
_UNDOES = (
    "The upgrade sets what the chart says and leaves what was only added; put what shall stay into the target's values."
)


Immutable: TypeAlias = Mapping[tuple[str, str], tuple[str, ...]]
"""Dotted paths by API version and kind."""


@dataclass(frozen=True)
class Comparison:
    """``numbers`` by kind of change and ``drifted``; ``text`` is empty when nothing differs."""

    findings: tuple[Finding, ...]
    numbers: Mapping[str, int]
    text: str = field(repr=False)


async def compared(
    cluster: Cluster,
    objects: Objects,
    *,
    namespace: str,
    fingerprint: Fingerprint,
    drawn: Drawn,
    immutable: Immutable | None = None,
    known: LiveObjects | None = None,
) -> Comparison:
    """Read and compare some at a time, and let go of the live ones before the next: with their managed fields thousands of
    them would be most of this process. What cannot be read is compared two ways and said.

    ``drawn`` is what the chart gives otherwise each time: folded, and a warning where it takes the place of a password.
    ``immutable`` are the fields of custom resources that their definitions let nobody change, ``known`` live objects that
    need not be read again.
    """
    matched = await asyncio.to_thread(pairs, objects.before, objects.after, namespace=namespace)
    reading = _Reading(cluster, namespace, known or {})
    scalers = await reading.live([pair for pair in matched if pair.ref.kind in SCALERS])
    scaled = autoscaled([*objects.before, *objects.after, *(obj for obj in scalers.values() if obj)])
    seen: list[tuple[ObjectChange, str]] = []
    held: set[str] = set()
    for first in range(0, len(matched), _AT_ONCE):
        some = matched[first : first + _AT_ONCE]
        live = await reading.live(some)
        held |= _held(live)
        seen += await asyncio.to_thread(_looked_at, some, live, scaled, drawn, immutable or {}, fingerprint)
    return await asyncio.to_thread(_summed_up, seen, reading.blind, fingerprint, held)


def _held(live: LiveObjects) -> set[str]:
    """``Kind/name`` of what an emergency holds down, and of the autoscalers whose bounds it set."""
    found = set()
    for ref, obj in live.items():
        if note := Held.read(annotations_of(obj or {}).get(ANNOTATION, "")):
            found |= {str(ref), *([f"{HPA[1]}/{note.pinned.name}"] if note.pinned else [])}
    return found


class _Reading:
    """Reads live objects until the API server does not answer; ``blind`` says what could not be read, each thing once."""

    def __init__(self, cluster: Cluster, namespace: str, known: LiveObjects) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._known = known
        self._over = False
        self.blind: list[KubeFinding] = []

    async def live(self, some: Sequence[Pair]) -> LiveObjects:
        """By reference; None is not there, and what is left out was not read."""
        unknown = [pair.new or pair.old or {} for pair in some if pair.ref not in self._known]
        if self._over:
            return self._known
        try:
            there = await read_live(self._cluster, unknown, self._namespace, managers=True)
        except BotError as error:
            self._over = True
            self.blind.append(unseen("the objects as they are now", error))
            return self._known
        self.blind += [one for one in there.blind if one not in self.blind]
        found = {ref_of(obj, self._namespace): obj for obj in there.objects}
        return {**self._known, **found, **dict.fromkeys(there.gone)}


def _looked_at(
    some: Sequence[Pair],
    live: LiveObjects,
    scaled: Collection[tuple[str, str]],
    drawn: Drawn,
    immutable: Immutable,
    fingerprint: Fingerprint,
) -> list[tuple[ObjectChange, str]]:
    """Each object's change, with its piece of the file; the piece is empty where nobody has to read it."""
    found = []
    for pair in some:
        ref = pair.ref
        change = compare_object(
            pair,
            live.get(ref, UNREAD),
            autoscaled=(ref.kind, ref.name) in scaled,
            generated=drawn.get(ref, ()),
            immutable=immutable.get((ref.api_version, ref.kind), ()),
        )
        found.append((change, "" if change.quiet else _piece(pair, change, fingerprint)))
    return found


def _piece(pair: Pair, change: ObjectChange, fingerprint: Fingerprint) -> str:
    head = [f"# {change.ref}: {_verdict(change)}", *(f"#   {line}" for line in field_lines(change, fingerprint))]
    head += [f"#   since it was applied: {line}" for line in drift_lines(change, fingerprint)]
    piece = "\n".join([*head, object_text(pair, change, fingerprint)]).rstrip("\n")
    return redact(piece)  # piece by piece: one search through megabytes would hold up the event loop


def _summed_up(
    seen: Sequence[tuple[ObjectChange, str]],
    blind: Sequence[KubeFinding],
    fingerprint: Fingerprint,
    held: Collection[str],
) -> Comparison:
    changes, pieces = [change for change, _ in seen], [piece for _, piece in seen if piece]
    numbers = counts(changes)
    numbers["removed"] -= sum(one.change is Kind.REMOVED and one.kept for one in changes)
    folded = noise_lines(changes)
    findings = (
        *told(blind),
        *(finding for change in changes for finding in _about(change, fingerprint, held)),
        *(finding for change in changes for finding in _renewed(change)),
        *_leaving(changes),
        info(_summary(numbers)),
        *map(info, filter(None, [_restarting(changes, most=MOST_RESTARTS)])),
        *(info(sentence) for sentence in folded),
    )
    about = filter(None, (_summary(numbers), _restarting(changes, most=len(changes)), *folded))
    head = [f"# {sentence}" for sentence in about]
    text = "\n".join([*head, *(f"\n{piece}" for piece in pieces)]) + "\n" if pieces else ""
    return Comparison(findings, numbers, text)


def _about(change: ObjectChange, fingerprint: Fingerprint, held: Collection[str]) -> Iterable[Finding]:
    """What a person has to know of one object: it cannot be changed, or somebody changed it.

    What becomes of the numbers that an emergency set is the check ``held.down``'s to say.
    """
    name = str(change.ref)
    if change.change is Kind.REPLACED:
        text = f"{name} cannot be changed in place: {listed(change.replaced)} would need it deleted and created again."
        way_out = "Keep the old value, or plan to delete and recreate the object; what it holds goes with it."
        yield Finding(Level.WARNING, text, way_out, REPLACED, name)
    if change.live is Live.MISSING and change.change is not Kind.CREATED:
        then = "nothing is left to remove" if change.change is Kind.REMOVED else "the upgrade creates it anew"
        yield Finding(Level.WARNING, f"{name} was deleted by somebody: {then}.", "", DRIFTED, name)
    elif change.drift and name in held and {one.path for one in change.drift} <= _NUMBERS:
        yield Finding(Level.INFO, f"{name} has the numbers that an emergency gave it.", "", DRIFTED, name)
    elif change.drift:
        lines = drift_lines(change, fingerprint)
        more = f"; and {len(lines) - MOST_FIELDS} more in manifests.diff" if len(lines) > MOST_FIELDS else ""
        text = redact(f"{name} was changed since it was applied: {'; '.join(lines[:MOST_FIELDS])}{more}.")
        yield Finding(Level.WARNING, text, "" if change.change is Kind.REMOVED else _UNDOES, DRIFTED, name)


def _renewed(change: ObjectChange) -> Iterable[Finding]:
    """A password that is there and that the upgrade replaces by another one, because the chart draws it each time."""
    keys = credentials(change.ref, [one.steps for one in change.noise if one.why is Noise.GENERATED])
    if not keys or change.live is Live.MISSING:
        return
    name = str(change.ref)
    them = "it" if len(keys) == 1 else "them"
    text = f"{name}: the upgrade replaces {listed(keys)}, because the chart draws {them} anew at every rendering."
    way_out = (
        "What was set up with the old one (a database's user, a token) refuses the new one: fix it in the target's values, or "
        "name a Secret of your own, if the chart takes one."
    )
    yield Finding(Level.WARNING, text, way_out, RENEWED, name)


def _leaving(changes: Iterable[ObjectChange]) -> Iterable[Finding]:
    """What the upgrade deletes; whether data goes with it is the check ``data.loss``'s to say."""
    leaving = [one for one in changes if one.change is Kind.REMOVED and one.live is not Live.MISSING]
    gone = [str(one.ref) for one in leaving if not one.kept]
    kept = [str(one.ref) for one in leaving if one.kept]
    if gone:
        text = f"{counted(len(gone), 'object')} would be deleted: {listed(gone)}{_where(gone)}."
        yield Finding(Level.WARNING, text, "", REMOVED)
    if kept:
        one = len(kept) == 1
        verb, them = ("leaves", "it") if one else ("leave", "them")
        yield info(f"{listed(kept)} {verb} the release and the cluster keeps {them}{_where(kept)}.")


def _where(names: Sequence[str]) -> str:
    """Where the rest of a list is that ``listed`` cuts."""
    return ", all of them in manifests.diff" if listed(names) != listed(names, most=len(names)) else ""


def _restarting(changes: Iterable[ObjectChange], *, most: int) -> str:
    """Whose pods are replaced, be it only for a checksum: the part of noise that everybody notices. Empty when nobody's."""
    names = [str(one.ref) for one in changes if one.restarts_pods]
    if not names:
        return ""
    rest = f" and {len(names) - most} more, in manifests.diff" if len(names) > most else ""
    return f"Restarts the pods of {counted(len(names), 'workload')}: {', '.join(names[:most])}{rest}."


def _verdict(change: ObjectChange) -> str:
    if change.change is Kind.UNCHANGED:
        return "the upgrade changes nothing"
    if change.change is Kind.REMOVED and change.kept:
        return "leaves the release, stays in the cluster"
    said = str(change.change) if change.change is not Kind.REPLACED else "cannot be changed in place"
    return f"{said}, restarts its pods" if change.restarts_pods else said


def _summary(numbers: Mapping[str, int]) -> str:
    words = (Kind.CREATED, Kind.CHANGED, Kind.REPLACED, Kind.REMOVED, "drifted")
    parts = [f"{numbers[word]} {word}" for word in map(str, words) if numbers[word]]
    return f"Objects: {', '.join(parts) or 'none changed'}."
