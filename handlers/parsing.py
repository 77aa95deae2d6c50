"""The command line as people type it, on phones too: words, options, a target. Pure.

A phone turns ``--`` into a dash and quotes into curly ones; both are read as they were meant.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from rapidfuzz import fuzz, process

from bot.errors import UserMistake
from bot.slack import limits

_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "‚": "'", "\u00a0": " "})
_DASHES = re.compile(r"(?<!\S)[-‐‑‒–—―−]{1,3}(?=[A-Za-z])")
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))
_NEAR = 60.0
_NONE: Mapping[str, Collection[str]] = {}
PARTS = ("values", "schema", "manifests")
"""What ``diff`` can show alone."""


@dataclass(frozen=True)
class CommandLine:
    """``word`` is what to do, lower-case; ``rest`` the text after it as it was typed (for a reason to reject)."""

    word: str
    arguments: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    rest: str = ""


def parse(text: str, known: Mapping[str, Collection[str]] = _NONE) -> CommandLine:
    """Reads a command line; an empty one asks for help. Raises ``UserMistake`` with the right form.

    ``known`` gives for each word the options that are flags, without a value. The first two words are one (``emergency
    disable`` is ``emergency-disable``) when that is known.
    """
    if len(text) > limits.COMMAND:
        raise UserMistake(
            f"That command has {len(text):,} characters; I read at most {limits.COMMAND:,}.",
            way_out="Put long texts into a values file of the target, not into a command.",
        )
    for entity, sign in _ENTITIES:
        text = text.replace(entity, sign)
    text = _DASHES.sub("--", text.translate(_QUOTES)).strip()
    word, _, rest = text.partition(" ")
    if not word:
        return CommandLine("help")
    word = word.lower()
    second, _, further = rest.strip().partition(" ")
    if (joined := f"{word}-{second.lower()}") in known:
        word, rest = joined, further
    flags = known.get(word, ())
    arguments: list[str] = []
    options: dict[str, str] = {}
    tokens = iter(_split(rest))
    for token in tokens:
        if token.startswith("--") and len(token) > 2:
            _option(token[2:], tokens, options, flags)
        else:
            arguments.append(token)
    target = options.pop("target", None)
    return CommandLine(word, tuple(arguments), options, target, rest.strip())


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    found = process.extractOne(word[:40], list(known), scorer=fuzz.ratio, score_cutoff=_NEAR)
    return str(found[0]) if found else None


def part_of_diff(text: str) -> str:
    """``values``, ``schema`` or ``manifests``. Raises ``UserMistake`` with the nearest one."""
    part = text.lower()
    if part in PARTS:
        return part
    near = nearest(part, PARTS)
    meant = f"Did you mean `{near}`? " if near else ""
    raise UserMistake(
        f"{text[:40]!r} is no part that can be compared.",
        way_out=f"{meant}There are `values`, `schema` and `manifests`.",
    )


def _split(text: str) -> list[str]:
    """Words; an apostrophe inside a sentence is no quotation mark."""
    try:
        return shlex.split(text)
    except ValueError:
        reader = shlex.shlex(text, posix=True, punctuation_chars=False)
        reader.whitespace_split, reader.quotes, reader.escape, reader.commenters = True, '"', "", ""
        try:
            return list(reader)
        except ValueError as error:
            raise UserMistake("A quotation mark is not closed.", way_out='Write "like this".') from error


def _option(token: str, tokens: Iterable[str], options: dict[str, str], flags: Collection[str]) -> None:
    name, equals, value = token.partition("=")
    name = name.lower()
    if not equals and name in flags:
        value = "true"
    elif not equals:
        found = next(iter(tokens), None)
        if found is None or found.startswith("--"):
            raise UserMistake(f"--{name} needs a value.", way_out=f"Write --{name} VALUE.")
        value = found
    if name in options:
        raise UserMistake(f"--{name} is there twice.", way_out="Name it once.")
    options[name] = value
