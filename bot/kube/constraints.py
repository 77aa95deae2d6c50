"""Version constraints as Helm reads them in a chart's ``kubeVersion`` and dependencies (Masterminds/semver v3.5).

Helm 4 strips a server's suffix before it compares (``v1.33.4-gke.12`` is 1.33.4); Helm 3 compares the whole, and then
a constraint that names no pre-release (``-0``) refuses such a server.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from semver import Version

from bot.errors import UserMistake

_LONGEST = 512
_NUMBERS = r"v?([0-9]+|[xX*])(?:\.([0-9]+|[xX*]))?(?:\.([0-9]+|[xX*]))?"
_WORD = rf"{_NUMBERS}(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
_PLAIN = re.sub(r"\((?!\?)", "(?:", _WORD)
_OPERATOR = r"!=|>=|=>|<=|=<|~>|=|>|<|~|\^|"
_ONE = re.compile(rf"\s*({_OPERATOR})\s*{_WORD}\s*$")
_FIND = re.compile(rf"(?:{_OPERATOR})\s*{_PLAIN}")
_GROUP = re.compile(rf"\s*(?:{_OPERATOR})\s*{_PLAIN}\s*(?:(?:\s+|,\s*)(?:{_OPERATOR})\s*{_PLAIN}\s*)*$")
# Masterminds lets a bar into a number, so a range right behind "||" without a space is not understood; nor is it here.
_RANGE = re.compile(rf"\s*((?:\|+(?=[0-9xX*]))?{_PLAIN})\s+-\s+({_PLAIN})\s*")
_SERVER = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True)
class _Constraint:
    """One comparison. ``parts`` is how many numbers were given; the rest is "any" (``1.x``, ``1``)."""

    operator: str
    version: Version
    parts: int


def allows(constraint: str, version: str) -> bool:
    """Whether ``version`` satisfies ``constraint``. Raises UserMistake when either is not understood."""
    groups, wanted = _parsed(constraint), _version(version)
    for group in groups:
        if wanted.prerelease and not any(one.version.prerelease for one in group):
            continue
        if all(_CHECKS[one.operator](wanted, one) for one in group):
            return True
    return False


def normalised(server_version: str) -> str:
    """A server's version as Helm 4 compares it: three numbers, ``1.33.4``. Raises UserMistake for none."""
    match = _SERVER.match(server_version.strip())
    if match is None:
        raise UserMistake(f"`{server_version[:80]}` is not a Kubernetes version.")
    return f"{int(match[1])}.{int(match[2])}.{int(match[3] or 0)}"


def _version(text: str) -> Version:
    cleaned = text.strip().removeprefix("v")
    try:
        return Version.parse(cleaned, optional_minor_and_patch=True)
    except ValueError as error:
        raise UserMistake(f"`{text[:80]}` is not a version.") from error


def _parsed(text: str) -> list[list[_Constraint]]:
    if len(text) > _LONGEST:
        raise UserMistake(f"The version constraint is longer than {_LONGEST} characters.")
    rewritten = _RANGE.sub(lambda match: f">= {match[1]}, <= {match[2]} ", text)
    groups = []
    for part in rewritten.split("||"):
        if _GROUP.match(part) is None:
            raise UserMistake(
                f"`{text}` is not a version constraint that Helm understands.", way_out="Correct it in Chart.yaml."
            )
        groups.append([_one(found) for found in _FIND.findall(part) if found.strip()])
    return groups


def _one(text: str) -> _Constraint:
    match = _ONE.match(text)
    if match is None:
        raise UserMistake(f"`{text}` is not a version constraint that Helm understands.")
    operator, *numbers, prerelease = match.groups()
    known: list[int] = []
    for number in numbers:
        if number is None or not number.isdecimal():
            break
        known.append(int(number))
    major, minor, patch = [*known, 0, 0, 0][:3]
    return _Constraint(operator, Version(major, minor, patch, prerelease=prerelease), len(known))


def _not_equal(version: Version, one: _Constraint) -> bool:
    con = one.version
    if one.parts in (0, 3):
        return version.compare(con) != 0
    if version.major != con.major:
        return True
    if one.parts < 2:
        return False
    return version.minor != con.minor or version.prerelease != con.prerelease


def _greater(version: Version, one: _Constraint) -> bool:
    con = one.version
    if one.parts == 3:
        return version.compare(con) > 0
    if version.major != con.major:
        return version.major > con.major
    if one.parts == 0:
        return version.compare(con) > 0
    return one.parts == 2 and version.minor > con.minor


def _at_most(version: Version, one: _Constraint) -> bool:
    con = one.version
    if one.parts == 3:
        return version.compare(con) <= 0
    if version.major != con.major:
        return version.major < con.major
    return one.parts == 1 or version.minor <= con.minor


def _tilde(version: Version, one: _Constraint) -> bool:
    con = one.version
    if version.compare(con) < 0:
        return False
    if (con.major, con.minor, con.patch) == (0, 0, 0) and one.parts in (0, 3):
        return True
    return version.major == con.major and (version.minor == con.minor or one.parts < 2)


def _equal(version: Version, one: _Constraint) -> bool:
    return version.compare(one.version) == 0 if one.parts == 3 else _tilde(version, one)


def _caret(version: Version, one: _Constraint) -> bool:
    con = one.version
    if version.compare(con) < 0:
        return False
    if con.major > 0 or one.parts == 1:
        return version.major == con.major
    if version.major > 0:
        return False
    if con.minor > 0 or one.parts == 2:
        return version.minor == con.minor
    return version.minor == 0 and version.patch == con.patch


_Check: TypeAlias = Callable[[Version, _Constraint], bool]
_CHECKS: dict[str, _Check] = {
    "": _equal,
    "=": _equal,
    "!=": _not_equal,
    ">": _greater,
    "<": lambda version, one: version.compare(one.version) < 0,
    ">=": lambda version, one: version.compare(one.version) >= 0,
    "=>": lambda version, one: version.compare(one.version) >= 0,
    "<=": _at_most,
    "=<": _at_most,
    "~": _tilde,
    "~>": _tilde,
    "^": _caret,
}
