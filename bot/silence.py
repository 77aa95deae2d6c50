"""Why no answer came over HTTP, in words and with a way out. The library's own text is for logs, never for a person."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import aiohttp

_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}


@dataclass(frozen=True)
class Silence:
    """``reason`` goes on from "… cannot be reached: "; neither part ends with a full stop of its own."""

    reason: str
    way_out: str


def silence(error: BaseException) -> Silence:
    """What an error of ``aiohttp`` or of the socket below it means."""
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return Silence("the proxy on the way to it refuses", "Check the proxy in HTTPS_PROXY or in the kubeconfig")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Silence(f"there is no address for the name {error.host}", "Check the name, and the DNS of this machine")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        found = str(getattr(error.certificate_error, "verify_message", "") or "it cannot be verified")
        return Silence(f"its certificate is not trusted ({found})", "Check the address and the certificate authority")
    if isinstance(error, aiohttp.ClientSSLError):
        return Silence("no TLS connection came about", "Check the address, its port and the certificates")
    if isinstance(error, aiohttp.InvalidURL | aiohttp.TooManyRedirects):
        return Silence("its address leads nowhere", "Check the address")
    if isinstance(error, TimeoutError):
        connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
        late = "no connection came about in time" if connecting else "no answer came in time"
        return Silence(late, "Look whether it is overloaded, or whether a firewall stands between")
    return _of_the_socket(error)


def _of_the_socket(error: BaseException) -> Silence:
    below = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    code = below.errno if isinstance(below, OSError) else None
    if isinstance(below, ConnectionRefusedError) or code == errno.ECONNREFUSED:
        return Silence("the connection is refused", "Look whether it runs, and whether address and port are right")
    if code in _UNREACHABLE:
        return Silence("there is no way to its network", "Check the network and the address")
    return Silence("the connection broke off", "Try again; if it happens again, look at its own log")
