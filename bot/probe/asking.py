"""What the three ways of asking have in common: the question, the name's address, time, and why no answer came."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bot.probe.result import LONGEST, Reason, Tls
from bot.redaction import MASK, redact

PASSWORD = "PROBE_PASSWORD"  # noqa: S105 - the variable's name
ANSWER_SECONDS = 8.0
"""For the name, the connection and the login together: what drops packets is known as such after this."""
COUNT_SECONDS = 15.0
"""For all counting; what is left then is estimated."""
_ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")
_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL}


@dataclass(frozen=True)
class Question:
    """Whom to ask. ``database`` is Redis' number as text; empty is the server's default, for the user too."""

    host: str
    port: int
    database: str = ""
    user: str = ""
    tls: Tls = "prefer"
    password: str = field(default="", repr=False)

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def encrypted(self) -> bool:
        """For what cannot ask whether the server would like TLS."""
        return self.tls in ("require", "verify-ca", "verify-full")


class Address(NamedTuple):
    """Where a name leads."""

    ip: str
    port: int


class Unanswered(Exception):
    """There is nothing to tell, for a reason that a person can act on. ``said`` is one sentence without a secret."""

    def __init__(self, reason: Reason, said: str) -> None:
        super().__init__(said)
        self.reason = reason
        self.said = said


async def addresses(asked: Question) -> list[Address]:
    """Where the name leads, at least one. Raises ``Unanswered``: that a name has no address is worth its own sentence."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(asked.host, asked.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = f"There is no address for the name {asked.host} in the cluster."
        raise Unanswered(Reason.NO_ANSWER, why) from error
    return list(dict.fromkeys(Address(str(one[4][0]), int(one[4][1])) for one in found))


def not_reached(asked: Question, error: OSError) -> Unanswered:
    """What a failed connection means."""
    if isinstance(error, ssl.SSLError):
        return no_tls(asked, str(getattr(error, "reason", None) or error))
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return late(asked)
    if isinstance(error, ConnectionRefusedError) or error.errno == errno.ECONNREFUSED:
        return Unanswered(Reason.NO_ANSWER, f"{asked.place} refuses the connection: nothing listens there.")
    if isinstance(error, socket.gaierror):
        return Unanswered(Reason.NO_ANSWER, f"There is no address for the name {asked.host} in the cluster.")
    if error.errno in _NO_ROUTE:
        return Unanswered(Reason.NO_ANSWER, f"There is no way to the network of {asked.place}.")
    return broke_off(asked)


def late(asked: Question) -> Unanswered:
    return Unanswered(Reason.NO_ANSWER, f"{asked.place} does not answer within {ANSWER_SECONDS:.0f} s.")


def broke_off(asked: Question) -> Unanswered:
    """A connection came about and ended without a word, which is how a server that expects TLS often takes plain bytes."""
    hint = "" if asked.encrypted else " Does it want TLS?"
    return Unanswered(Reason.NO_ANSWER, f"{asked.place} ended the connection without an answer.{hint}")


def no_tls(asked: Question, why: str) -> Unanswered:
    return Unanswered(Reason.TLS, f"No TLS connection with {asked.place} came about: {spoken(asked, why)}.")


def spoken(asked: Question, text: str) -> str:
    """What a server or a library said: one line, of a readable length, without the password."""
    plain = " ".join(text.split()).rstrip(".")
    if len(asked.password) >= 3:
        plain = plain.replace(asked.password, MASK)
    plain = redact(plain)
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"


def roots() -> str | None:
    """The file with the authorities that this image trusts: the libraries bring TLS of their own, which knows other places."""
    found = ssl.get_default_verify_paths()
    for place in (found.cafile, found.openssl_cafile, str(_ROOTS)):
        if place and Path(place).is_file():
            return place
    return None


def tls_context(asked: Question) -> ssl.SSLContext:
    """As libpq means the mode."""
    context = ssl.create_default_context(cafile=roots())
    if asked.tls != "verify-full":
        context.check_hostname = False
    if asked.tls == "require":
        context.verify_mode = ssl.CERT_NONE
    return context
