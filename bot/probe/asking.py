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
CONNECT_SECONDS = 5.0
"""For the name and the connection: what drops packets is known as such after this."""
ANSWER_SECONDS = 8.0
"""For connection, login and the first answer together."""
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


async def reached(asked: Question) -> Address:
    """Where the name leads, and somebody listens. Raises ``Unanswered``: the libraries that ask put it in many ways."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(asked.host, asked.port, happy_eyeballs_delay=0.3)
    except (OSError, UnicodeError) as error:
        raise Unanswered(Reason.NO_ANSWER, _why_not(asked, error)) from error
    ip, port, *_ = writer.get_extra_info("peername")
    writer.close()
    return Address(str(ip), int(port))


def _why_not(asked: Question, error: OSError | UnicodeError) -> str:
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"There is no address for the name {asked.host} in the cluster."
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return f"{asked.place} does not answer: no connection came about within {CONNECT_SECONDS:.0f} s."
    if isinstance(error, ConnectionRefusedError):
        return f"{asked.place} refuses the connection: nothing listens there."
    if error.errno in _NO_ROUTE:
        return f"There is no way to the network of {asked.place}."
    return f"{asked.place} cannot be reached: {said(asked, str(error))}"


def late(asked: Question) -> Unanswered:
    """A connection came about, and nothing else."""
    return Unanswered(
        Reason.NO_ANSWER,
        f"{asked.place} takes connections and does not answer within {ANSWER_SECONDS:.0f} s.{_hint(asked)}",
    )


def broke_off(asked: Question) -> Unanswered:
    """A connection came about and ended without a word."""
    return Unanswered(Reason.NO_ANSWER, f"{asked.place} ended the connection without an answer.{_hint(asked)}")


def _hint(asked: Question) -> str:
    """Silence is how many servers take TLS where they expect none, and the other way round."""
    return " Does it speak TLS there?" if asked.encrypted else " Does it want TLS?"


def no_tls(asked: Question, why: str) -> Unanswered:
    return Unanswered(Reason.TLS, f"No TLS connection with {asked.place} came about: {said(asked, why)}")


def said(asked: Question, text: str) -> str:
    """What a server or a library said: one sentence on one line, of a readable length, without the password."""
    plain = " ".join(text.split()).rstrip(".")
    if len(asked.password) >= 3:
        plain = plain.replace(asked.password, MASK)
    plain = redact(plain)
    if len(plain) > LONGEST:
        return plain[: LONGEST - 1] + "…"
    return plain if plain.endswith(("?", "!")) else f"{plain}."


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
