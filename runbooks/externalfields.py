"""What a person says about an external service, field by field: read, or refused with the reason and the field's name. Pure.

Passwords never come this way. What looks like one, or like an address with one in it, is refused and not repeated.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping

from bot.redaction import redact
from runbooks.external import PORTS, Endpoint, Service, default_key

FIELDS: Mapping[str, tuple[str, ...]] = {
    "postgres": ("host", "port", "database", "user", "tls", "secret", "key"),
    "redis": ("host", "port", "tls", "secret", "key"),
    "qdrant": ("host", "port", "secret", "key"),
}
"""What each service has; the rest is not asked for."""
DATABASE = USER = "aeterna"
TLS: Mapping[str, bool] = {"postgres": True, "redis": False, "qdrant": False}
"""What is meant where nobody says it."""
REFUSED = (
    "This looks like a password, and passwords are never typed into Slack. Put it into a Secret in the release's namespace; "
    "only that Secret's name and key belong here. If it is a real password, change it: others may have seen it."
)
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_SECRET = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}")
_PORT = re.compile(r"[0-9]{1,5}")
_DRAWN = re.compile(r"[0-9a-f]{20,}|(?=[^-.]*[0-9][^-.]*[0-9][^-.]*[0-9])[a-z0-9]{20,}")
_SAYS_SO = re.compile(r"pass|key|secret|token|auth|cred", re.IGNORECASE)
_ON, _OFF = ("on", "true", "yes", "1"), ("off", "false", "no", "0")


class Wrong(ValueError):
    """What was given for one field cannot be taken; the text says why, and never repeats what looks secret."""


def read(
    service: Service, given: Mapping[str, str | None], *, version: str = ""
) -> tuple[Endpoint | None, dict[str, str]]:
    """The endpoint, or what is wrong by field. What is left empty is as usual for this version of the chart."""
    found: dict[str, str] = {}
    problems: dict[str, str] = {}
    for field in FIELDS[service]:
        try:
            found[field] = _READERS[field]((given.get(field) or "").strip())
        except Wrong as wrong:
            problems[field] = str(wrong)
    for field in ("database", "user", "tls"):
        if field not in FIELDS[service] and (given.get(field) or "").strip() not in ("", *_OFF):
            problems[field] = f"The chart has no such setting for {service}."
    if service == "postgres" and not found.get("secret") and "secret" not in problems:
        problems |= {"secret": "The name of the Secret with the password is missing."}
    if problems:
        return None, problems
    postgres, secret = service == "postgres", found["secret"]
    tls = found.get("tls", "")
    return (
        Endpoint(
            service,
            found["host"],
            int(found["port"] or PORTS[service]),
            (found["database"] or DATABASE) if postgres else "",
            (found["user"] or USER) if postgres else "",
            tls == "on" if tls else TLS[service],
            secret,
            (found["key"] or default_key(service, version)) if secret else "",
        ),
        {},
    )


def looks_secret(text: str) -> bool:
    """Whether nobody would call a user or a database so: known shapes, or letters of both cases, digits and signs mixed."""
    if redact(text) != text:
        return True
    kinds = [
        any(one.islower() for one in text),
        any(one.isupper() for one in text),
        any(one.isdigit() for one in text),
        any(not one.isalnum() and one not in "-._" for one in text),
    ]
    return len(text) >= 8 and sum(kinds) >= 3


def _host(text: str) -> str:
    if not text:
        raise Wrong("The host is missing.")
    if "@" in text or redact(text) != text:
        raise Wrong(f"This has a user or a password in it; only the host's name belongs here. {REFUSED}")
    if "://" in text or "/" in text:
        raise Wrong("This is a URL; only the host's name belongs here, and the port in its own field.")
    if address := _address(text):
        return address
    if ":" in text:
        raise Wrong("The port has its own field; only the host's name belongs here.")
    name = text.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise Wrong("This is no host name: letters, digits, dashes and dots, such as db.example.com.")
    if looks_secret(name) and len(labels) == 1:
        raise Wrong(REFUSED)
    if name.lower() == "localhost" or name.lower().endswith(".localhost"):
        raise Wrong("Inside the cluster localhost is the pod itself; a name that the pods can resolve belongs here.")
    return name.lower()


def _address(text: str) -> str | None:
    """An IPv4 address that can be a server's; None for what is no address at all."""
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    if address.version == 6:
        raise Wrong("The chart writes host and port with a colon between them: give an IPv6 address a name.")
    if address.is_loopback or address.is_unspecified:
        raise Wrong("Inside the cluster this is the pod itself; an address that the pods can reach belongs here.")
    if address.is_link_local or address.is_multicast or address.is_reserved:
        raise Wrong("No server has this address: it is link-local, multicast or reserved.")
    return str(address)


def _port(text: str) -> str:
    if text and (not _PORT.fullmatch(text) or not 0 < int(text) < 65_536):
        raise Wrong("A port is a number from 1 to 65535.")
    return text


def _word(what: str) -> Callable[[str], str]:
    def read_word(text: str) -> str:
        if "://" in text or "@" in text or looks_secret(text):
            raise Wrong(REFUSED)
        if len(text.encode()) > 63 or not text.isprintable() or any(sign in text for sign in "'\"\\`$;"):
            raise Wrong(
                f"PostgreSQL's {what} have up to 63 bytes, and none with quotes or signs of a shell is taken here."
            )
        return text

    return read_word


def _tls(text: str) -> str:
    if text.lower() in _ON:
        return "on"
    if text.lower() in _OFF:
        return "off"
    if text:
        raise Wrong("TLS is on or off.")
    return ""


def _secret(text: str) -> str:
    if not text:
        return ""
    if redact(text) != text or "@" in text or _DRAWN.fullmatch(text) or (looks_secret(text) and text != text.lower()):
        raise Wrong(REFUSED)
    if not _SECRET.fullmatch(text):
        raise Wrong("A Secret's name has small letters, digits, dashes and dots. Never put the password itself here.")
    return text


def _key(text: str) -> str:
    if not text:
        return ""
    drawn = _DRAWN.fullmatch(text.lower()) or (len(text) >= 16 and looks_secret(text) and not _SAYS_SO.search(text))
    if redact(text) != text or "@" in text or drawn:
        raise Wrong(REFUSED)
    if not _KEY.fullmatch(text):
        raise Wrong(
            "A key inside a Secret has letters, digits, dashes, dots and underscores. Never put the password itself here."
        )
    return text


_READERS: Mapping[str, Callable[[str], str]] = {
    "host": _host,
    "port": _port,
    "database": _word("names of databases"),
    "user": _word("names of users"),
    "tls": _tls,
    "secret": _secret,
    "key": _key,
}
