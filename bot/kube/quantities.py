"""Kubernetes quantities and resource lists: reading them, adding them up, showing them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import TypeAlias

from bot.kube.objects import Json

Amounts: TypeAlias = dict[str, Decimal]

NOTHING = Decimal(0)
_BINARY = {suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}
_SUFFIXES = {
    **_BINARY,
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
}
_LONGEST_FIRST = sorted(_SUFFIXES, key=len, reverse=True)


def quantity(text: object) -> Decimal:
    """A quantity (``100m``, ``256Mi``, ``1e3``) as a number of its base unit; zero for what is none.

    What is no quantity is refused by the API server's dry run, with its field; it is not reported twice.
    """
    said = str(text).strip()
    try:
        for suffix in _LONGEST_FIRST:
            if said.endswith(suffix):
                return Decimal(said.removesuffix(suffix)) * _SUFFIXES[suffix]
        return Decimal(said)
    except InvalidOperation:
        return NOTHING


def amounts(said: Mapping[str, object] | None) -> Amounts:
    """Every quantity of a resource list."""
    return {key: quantity(value) for key, value in (said or {}).items()}


def total(lists: Iterable[Mapping[str, Decimal]]) -> Amounts:
    """Resource lists added up."""
    added: Amounts = {}
    for one in lists:
        for key, value in one.items():
            added[key] = added.get(key, NOTHING) + value
    return added


def times(each: Mapping[str, Decimal], count: int) -> Amounts:
    """A resource list ``count`` times."""
    return {key: value * count for key, value in each.items()}


def fits(asked: Mapping[str, Decimal], room: Mapping[str, Decimal]) -> bool:
    """Whether ``room`` has all that is asked; a resource that it does not name it has not."""
    return all(room.get(key, NOTHING) >= value for key, value in asked.items())


def share(text: object, of: int, *, up: bool) -> int:
    """A count or a percentage (``25%``) of a number of pods, rounded as Kubernetes rounds that field."""
    said = str(text)
    if not said.endswith("%"):
        return int(quantity(said))
    exact = quantity(said.removesuffix("%")) * of / 100
    return int(exact.to_integral_value(ROUND_CEILING if up else ROUND_FLOOR))


def requests_of(pod_spec: Json) -> Amounts:
    """What the scheduler counts for a pod: all containers, or its largest init container, and overhead."""
    return _of_pod(pod_spec, "requests")


def limits_of(pod_spec: Json) -> Amounts:
    """As ``requests_of``, for limits; a resource that some container does not limit counts by the others."""
    return _of_pod(pod_spec, "limits")


def of_container(container: Json, part: str) -> Amounts:
    """A container's ``requests`` (a limit without a request is the request, as the API server defaults it) or
    ``limits``.
    """
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    return amounts(limits if part == "limits" else {**limits, **(resources.get("requests") or {})})


def shown(resource: str, value: Decimal) -> str:
    """An amount for a person: ``1.5 GiB`` of memory, ``250m`` of cpu, ``3`` of anything else."""
    if "memory" in resource or "storage" in resource:
        for suffix in ("Ti", "Gi", "Mi", "Ki"):
            if abs(value) >= _BINARY[suffix]:
                return f"{_plain((value / _BINARY[suffix]).quantize(Decimal('0.1')))} {suffix}B"
        return f"{_plain(value)} B"
    if resource.endswith("cpu") and NOTHING < abs(value) < 1:
        return f"{_plain(value * 1000)}m"
    return _plain(value)


def shown_list(asked: Mapping[str, Decimal]) -> str:
    """``64 of cpu, 128 MiB of memory``."""
    return ", ".join(f"{shown(key, value)} of {key}" for key, value in sorted(asked.items()) if value)


def _of_pod(pod_spec: Json, part: str) -> Amounts:
    running = total(of_container(container, part) for container in pod_spec.get("containers") or [])
    for container in pod_spec.get("initContainers") or []:
        asked = of_container(container, part)
        if container.get("restartPolicy") == "Always":
            running = total([running, asked])
        else:
            running = {key: max(running.get(key, NOTHING), asked.get(key, NOTHING)) for key in {*running, *asked}}
    return total([running, amounts(pod_spec.get("overhead"))])


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"
