"""Redaction: the one place through which everything goes before it is stored or shown.

Two forms: ``redact`` for text that others wrote (logs, errors, diffs), by the shapes of known secrets; ``redact_values`` for
structured values, by the names of their keys as well. What is hidden becomes ``MASK``; that something changed stays visible.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

MASK = "[redacted]"
_NAMES = (
    r"passw(?:or)?d|passphrase|(?-i:(?<![a-z])pass|Pass|PASS)(?![A-Za-z])|"
    r"secret|token|api[-_]?key|private[-_]?key|credential|access[-_]?key|auth[-_]?key"
)
_SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)
# Names that only point to a secret, or say that one is used.
_POINTER = re.compile(
    r"(existingsecret|secretname|secretref|secretkeyref|secretkey|passwordkey|tokenkey|apikeykey|usernamekey|"
    r"automountserviceaccounttoken|secrets?enabled|tokenttl|tokenexpir\w*|maxtokens?)$",
    re.IGNORECASE,
)
_SHAPES = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{8,}|\bxapp-[A-Za-z0-9-]{8,}|\bxwfp-[A-Za-z0-9-]{8,}"),  # Slack
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"),  # JWT
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),  # AWS access key id
    re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b"),  # Google API key
    re.compile(r"\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{30,}\b|\bgithub_pat_[A-Za-z0-9_]{30,}\b"),
    re.compile(r"\bsk-[A-Za-z0-9_-]{20,}\b|\bglpat-[A-Za-z0-9_-]{16,}\b|\bhvs\.[A-Za-z0-9_-]{20,}\b"),
)
_URL_PASSWORD = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)(?P<password>[^\s@/]+)@", re.IGNORECASE)
_BEARER = re.compile(r"(?P<kind>\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{8,}")
# The two lines of a container's environment variable, in YAML (with a diff's marks) or JSON.
_ENVIRONMENT = re.compile(
    r"(?P<name>\bname[\"']?:[ \t]*[\"']?(?P<called>[\w.-]+)[\"']?,?[ \t]*\n[-+ \t]*[\"']?value[\"']?:[ \t]*)(?P<value>[^\n]+)"
)
_ASSIGNED = re.compile(
    rf"(?P<name>[\w.-]*(?:{_NAMES})[\w.-]*[\"']?)(?P<sep>\s*[:=]\s*)(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s,;\"'{{}}\[\]]+)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """``text`` without the secrets that can be recognised in it: known token shapes, passwords in URLs, ``password: …``."""
    for shape in _SHAPES:
        text = shape.sub(MASK, text)
    text = _URL_PASSWORD.sub(rf"\g<scheme>{MASK}@", text)
    text = _BEARER.sub(rf"\g<kind>{MASK}", text)
    text = _ENVIRONMENT.sub(lambda m: f"{m['name']}{MASK}" if secret_name(m["called"]) else m[0], text)
    return _ASSIGNED.sub(_assigned, text)


def redact_values(value: Any, *, name: str = "") -> Any:
    """A copy of ``value`` in which every scalar under a secret's name, and every recognisable secret, is hidden.

    A Kubernetes Secret loses all of its ``data`` and ``stringData``.
    """
    if isinstance(value, Mapping):
        hide = value.get("kind") == "Secret"
        if "value" in value and secret_name(str(value.get("name", ""))):  # an environment variable
            value = {**value, "value": MASK}
        return {
            key: dict.fromkeys(item, MASK)
            if hide and key in ("data", "stringData") and isinstance(item, Mapping)
            else redact_values(item, name=str(key))
            for key, item in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [redact_values(item, name=name) for item in value]
    if value not in (None, "", True, False) and secret_name(name):
        return MASK
    return redact(value) if isinstance(value, str) else value


def secret_name(name: str) -> bool:
    """Whether a key of this name holds a secret, rather than pointing to one."""
    bare = re.sub(r"[^A-Za-z0-9]", "", name)
    return bool(_SECRET_NAME.search(name)) and not _POINTER.search(bare)


def _assigned(match: re.Match[str]) -> str:
    value = match["value"].strip("\"'")
    if (
        not secret_name(match["name"].strip("\"'"))
        or value.lower() in ("", "null", "true", "false", "none")
        or value == MASK
    ):
        return match[0]
    return f"{match['name']}{match['sep']}{MASK}"
