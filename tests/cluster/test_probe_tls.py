"""The probe's ways with TLS, against a real Redis behind a small terminator (its build knows no TLS itself). No cluster."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from bot.probe import redis
from bot.probe.asking import Question, Unanswered
from bot.probe.result import Reason, Tls
from dev.redis import RedisServer
from dev.toolchain import Toolchain

OWN, OTHER = "127.0.0.1", "other.example"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(toolchain: Toolchain) -> Iterator[int]:
    with RedisServer(toolchain) as port:
        yield port


@pytest.fixture
async def port(request: pytest.FixtureRequest, authority: trustme.CA, server: int) -> AsyncIterator[int]:
    """Where the Redis answers over TLS, with a certificate for the name that the test asks for."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(request.param).configure_cert(context)
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, before = await asyncio.open_connection("127.0.0.1", server)
        await asyncio.gather(_pass_on(reader, before), _pass_on(behind, writer))

    async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(serve(reader, writer)))

    listening = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=context)
    yield int(listening.sockets[0].getsockname()[1])
    listening.close()
    for one in connections:
        one.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


@pytest.mark.parametrize(
    ("port", "tls", "known", "reason"),
    [
        (OWN, "require", False, None),
        (OTHER, "require", False, None),
        (OWN, "verify-full", True, None),
        (OWN, "verify-full", False, Reason.TLS),
        (OTHER, "verify-full", True, Reason.TLS),
        (OTHER, "verify-ca", True, None),
        (OTHER, "verify-ca", False, Reason.TLS),
        (OWN, "prefer", False, Reason.NO_ANSWER),
    ],
    indirect=["port"],
)
async def test_a_certificate_is_verified_as_far_as_the_mode_says(
    port: int,
    tls: Tls,
    known: bool,
    reason: Reason | None,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if known:
        authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    asked = Question(host="127.0.0.1", port=port, tls=tls)
    if reason is None:
        assert (await redis.look(asked)).product == "Redis"
        return
    with pytest.raises(Unanswered) as failure:
        await redis.look(asked)
    assert failure.value.reason is reason
    assert "TLS" in failure.value.said
